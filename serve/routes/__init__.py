"""The endpoints: modules with a ``router``, which ``serve.api`` includes, and what they share."""
