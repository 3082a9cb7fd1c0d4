"""The length of a body that a request's headers declare."""

from starlette.datastructures import Headers


def declares_more_than(max_bytes: int, headers: Headers) -> bool:
    """Whether ``Content-Length`` is above ``max_bytes``."""
    length = headers.get("content-length", "").lstrip("0")
    if not (length.isascii() and length.isdigit()):
        return False
    # int() refuses numbers of thousands of digits.
    return len(length) > len(str(max_bytes)) or int(length) > max_bytes
