"""Who may ask, and how often: API keys, web pages of other origins and names, counts per key."""

import asyncio
import hashlib
import ipaddress
import logging
import os
from dataclasses import dataclass
from time import monotonic
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string
from serve.problems import Problem
from serve.settings import ServeSettings
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from diffusiontalker.errors import UserError

VARIABLE = "DIFFUSIONTALKER_API_KEYS"
"""Environment variable of the keys: ``name=key`` pairs, with commas between them."""
PASSWORD = "DIFFUSIONTALKER_REDIS_PASSWORD"
"""Environment variable of the password of ``limits.storage``, if it wants one."""
OWN = "memory://"
PATIENCE, PAUSE = 1.0, 5.0
"""Seconds that the storage of the counts may take, and how long it is left alone if it failed."""
SHORTEST_KEY = 16
PROTOCOL, KEY_PROTOCOL = "diffusiontalker.v1", "key."
"""WebSocket subprotocols: ours, and how a browser, which cannot set headers, sends a key."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    """Of the key, as the operator calls it; "anyone" without keys."""
    bucket: str
    """What counts are kept under: of the key, or of the address; never either in the clear."""

    @property
    def owner(self) -> str:
        """Whose identities are seen: each key has its own."""
        return "anyone" if self.name == "anyone" else self.bucket


class Access:
    """The door of a replica."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the keys from the environment.

        Raises:
            UserError: a key without a name, one that is too short, or a storage that is unknown.
        """
        self._names = keys_from(os.environ.get(VARIABLE, ""))
        self._origins = settings.cors_origins
        self._hosts = settings.allowed_hosts
        per_minute = settings.limits.requests_per_minute
        self._rate = RateLimitItemPerMinute(per_minute)
        self._shared, self._own = _limiter(settings.limits.storage), _limiter(OWN)
        self._away_until = 0.0
        """When the storage is asked again; 0: it answered the last time."""

    @property
    def open(self) -> bool:
        """Whether anyone may ask."""
        return not self._names

    async def admit(self, connection: HTTPConnection) -> Caller:
        """The caller of a request or a stream.

        Raises:
            Problem: 401 without a right key, 403 for a page of another origin, 421 for another
                server's name, 429 too often.
        """
        self.check_host(connection)
        self.check_origin(connection)
        caller = self._caller(connection)
        if not await self._hit(caller.bucket):
            raise Problem(
                429, f"more than {self._rate.amount} requests a minute; try again in a while",
                retry_after=5,
            )  # fmt: skip
        return caller

    async def _hit(self, bucket: str) -> bool:
        """Count a request, and tell whether it is within the rate. Where the storage is out of
        reach this replica counts for itself: the server is worth more than its counts."""
        if monotonic() < self._away_until:
            return await self._own.hit(self._rate, bucket)
        try:
            async with asyncio.timeout(PATIENCE):
                within = await self._shared.hit(self._rate, bucket)
        except StorageError as error:
            why = str(error.storage_error)
        except TimeoutError:
            why = f"silent for {PATIENCE:g} s"
        else:
            self._away_until = 0.0
            return within
        if not self._away_until:
            logger.warning(
                "limits.storage: %s; until it answers, each replica counts for itself", why
            )
        self._away_until = monotonic() + PAUSE
        return await self._own.hit(self._rate, bucket)

    def check_host(self, connection: HTTPConnection) -> None:
        """Without keys the server is for its own machine and network. A page from elsewhere gets
        there, with an ``Origin`` that looks like the server's own, by a name that leads to its own
        server first and then to this one (DNS rebinding); an address leads nowhere else. A key,
        which no such page has, is worth more than a name. Raises Problem."""
        if not self.open or "*" in self._hosts:
            return
        name = _name_of(connection.headers.get("host", ""))
        if not (_is_local(name) or name in self._hosts):
            raise Problem(
                421, f"this server is not known as {name[:200]}; its operator can add that to "
                "allowed_hosts, or set keys", "Host",
            )  # fmt: skip

    def check_origin(self, connection: HTTPConnection) -> None:
        """A browser tells which page asks: only our own may do more than look, and those in
        ``cors_origins``. Raises Problem."""
        origin = connection.headers.get("origin")
        if origin is None or connection.scope.get("method") in SAFE_METHODS:
            return
        same = origin.partition("://")[2] == connection.headers.get("host")
        if not same and origin not in self._origins:
            raise Problem(
                403, f"pages of {origin[:200]} may not call this server; its operator can allow "
                "them with cors_origins", "Origin",
            )  # fmt: skip

    def _caller(self, connection: HTTPConnection) -> Caller:
        if self.open:
            address = connection.client.host if connection.client else "unknown"
            return Caller("anyone", digest(address))
        given = key_of(connection.headers)
        if given is None:
            raise Problem(401, "give an API key: Authorization: Bearer KEY", "Authorization")
        bucket = digest(given)
        if bucket not in self._names:
            raise Problem(401, "this API key is not known", "Authorization")
        return Caller(self._names[bucket], bucket)


def _name_of(host: str) -> str:
    """``host:port`` without its port, as names are compared."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.strip("[]").rstrip(".").lower()


def _is_local(name: str) -> bool:
    """Whether it is an address, a name of this machine's own, or none (no browser sends none)."""
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _limiter(uri: str) -> SlidingWindowCounterRateLimiter:
    options: dict[str, Any] = {}
    if uri != OWN:
        options = {"implementation": "redispy", "wrap_exceptions": True}
        if password := os.environ.get(PASSWORD):
            options["password"] = password
    try:
        return SlidingWindowCounterRateLimiter(storage_from_string(f"async+{uri}", **options))
    except Exception as error:
        # People put passwords into an address, which the error repeats, in whole or in part.
        said = "cannot be used" if "@" in uri else str(error)
        raise UserError(
            f"limits.storage: {said}; give {OWN}, or redis://host:port after pip install redis"
        ) from None


def keys_from(text: str) -> dict[str, str]:
    """Names of keys by the digests of the keys. Raises UserError, which never holds a key."""
    found = {}
    for number, pair in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, _, key = pair.partition("=")
        if not name.strip() or len(key.strip()) < SHORTEST_KEY:
            raise UserError(
                f"{VARIABLE}: entry {number} is not name=key with a key of {SHORTEST_KEY} "
                "characters or more"
            )
        found[digest(key.strip())] = name.strip()
    return found


def key_of(headers: Headers) -> str | None:
    """The key that a request carries, in the header or as a WebSocket's subprotocol."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return protocol.strip().removeprefix(KEY_PROTOCOL)
    return None


def digest(text: str) -> str:
    """What a key or an address is known by."""
    # Looked up by digest, so that no comparison's time tells how much of a key was right.
    return hashlib.sha256(text.encode()).hexdigest()[:32]
