"""Requests and responses: query parameters, formats, problem details."""
