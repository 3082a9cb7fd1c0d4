"""Requests and responses: query parameters, bodies, formats, problem details."""
