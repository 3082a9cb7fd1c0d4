"""A live stream over a WebSocket."""
