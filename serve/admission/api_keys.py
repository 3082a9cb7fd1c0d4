"""API keys: read from the environment, found in a request, compared by digest."""

import hashlib
import os

from starlette.datastructures import Headers

from diffusiontalker.errors import UserError

VARIABLE = "DIFFUSIONTALKER_API_KEYS"
"""Environment variable of the keys: ``name=key`` pairs, with commas between them."""
MIN_KEY_LENGTH = 16
SUBPROTOCOL, KEY_SUBPROTOCOL = "diffusiontalker.v1", "key."
"""WebSocket subprotocols: ours, and the prefix with which a browser, which cannot set headers,
sends a key."""


def from_environment() -> dict[str, str]:
    """``parse`` of the environment variable. Raises UserError."""
    return parse(os.environ.get(VARIABLE, ""))


def parse(text: str) -> dict[str, str]:
    """Names of keys by the digests of the keys. Raises UserError, which never holds a key."""
    found = {}
    for number, pair in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, _, key = pair.partition("=")
        if not name.strip() or len(key.strip()) < MIN_KEY_LENGTH:
            raise UserError(
                f"{VARIABLE}: entry {number} is not name=key with a key of {MIN_KEY_LENGTH} "
                "characters or more"
            )
        found[digest(key.strip())] = name.strip()
    return found


def key_of(headers: Headers) -> str | None:
    """The key of a request: ``Authorization: Bearer``, or a WebSocket's subprotocol."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_SUBPROTOCOL):
            return protocol.strip().removeprefix(KEY_SUBPROTOCOL)
    return None


def digest(text: str) -> str:
    """Hash (32 hexadecimal digits of SHA-256) under which a key or an address is stored."""
    # Keys are looked up by digest, so that no comparison's time tells how much of one was right.
    return hashlib.sha256(text.encode()).hexdigest()[:32]
