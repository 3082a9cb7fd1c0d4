"""The HTTP server: recordings and live streams of speech in, blendshapes out, on Ray Serve.

- ``app``: the Ray Serve deployment; ``api``: the FastAPI application of one replica
- ``routes``: the endpoints; ``websocket``: a session of ``WS /v1/stream``
- ``conditioning``: identity and emotion of a request; ``service``: what the routes share
- ``models``: the students, and saved identities
- ``scheduling``: threads, batches, cancellation; ``admission``: keys, origins, rates, capacity
- ``middleware``: ASGI middleware, most of it in front of Ray Serve
- ``http``: query parameters, response formats, problem details

Imports point down this list; the contract in pyproject.toml checks it.
"""
