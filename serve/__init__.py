"""The HTTP server: recordings and live streams of speech in, blendshapes out, on Ray Serve.

- ``app``: the Ray Serve deployment; ``api``: the FastAPI application of one replica
- ``routes``: the endpoints; ``websocket``: a session of ``WS /v1/stream``
- ``http``: query parameters, request bodies, response formats, problem details
- ``admission``: keys, origins, rates, capacity; ``scheduling``: threads, batches, cancellation
- ``models``: the students, saved identities, and conditioning on identity and emotion
- ``middleware``: ASGI middleware, most of it in front of Ray Serve
"""
