"""The endpoints: each module has a ``router``, which ``serve.api`` includes."""
