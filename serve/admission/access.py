"""Access control: host names, origins of web pages, API keys, and the rate limit."""

import ipaddress
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from serve.admission import api_keys
from serve.admission.rate_limit import RateLimiter
from serve.http.problems import Problem
from serve.settings import ServeSettings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ANONYMOUS = "anyone"


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    name: str
    """The operator's name of the API key; ``ANONYMOUS`` without keys."""
    id: str
    """Digest of the API key, or of the address: what counts are kept under."""

    @property
    def owner(self) -> str:
        """Whose saved identities are visible: each key has its own."""
        return ANONYMOUS if self.name == ANONYMOUS else self.id


class AccessControl:
    """Decides for one replica which requests and streams are accepted."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the keys from the environment.

        Raises:
            UserError: a key without a name, one that is too short, or a storage that is unknown.
        """
        self._key_names = api_keys.from_environment()
        self._origins = settings.cors_origins
        self._hosts = settings.allowed_hosts
        self._rate_limiter = RateLimiter(settings.limits)

    @property
    def without_keys(self) -> bool:
        """Whether requests need no key."""
        return not self._key_names

    async def authorize(self, connection: HTTPConnection) -> Caller:
        """The caller of a request or a WebSocket.

        Raises:
            Problem: 401 without a valid key, 403 for a page of another origin, 421 for another
                server's name, 429 above the rate limit.
        """
        self._check_host(connection)
        self._check_origin(connection)
        caller = self._authenticate(connection)
        if not await self._rate_limiter.allow(caller.id):
            raise Problem(
                429, f"more than {self._rate_limiter.per_minute} requests a minute; try again soon",
                retry_after=5,
            )  # fmt: skip
        return caller

    def _check_host(self, connection: HTTPConnection) -> None:
        """Against DNS rebinding: a foreign page can point its own name at this server and then
        pass as the server's own page. So a server without keys answers only under addresses, which
        no page can point elsewhere, and listed names. With keys any name will do, as a foreign page
        has no key. Raises Problem."""
        if not self.without_keys or "*" in self._hosts:
            return
        name = _host_name(connection.headers.get("host", ""))
        if not (_is_local(name) or name in self._hosts):
            raise Problem(
                421, f"this server is not known as {name[:200]}; its operator can add that to "
                "allowed_hosts, or set keys", "Host",
            )  # fmt: skip

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Browsers send the origin of the page: only our own and those in ``cors_origins`` may use
        other methods than ``SAFE_METHODS``. Raises Problem."""
        origin = connection.headers.get("origin")
        if origin is None or connection.scope.get("method") in SAFE_METHODS:
            return
        same = origin.partition("://")[2] == connection.headers.get("host")
        if not same and origin not in self._origins:
            raise Problem(
                403, f"pages of {origin[:200]} may not call this server; its operator can allow "
                "them with cors_origins", "Origin",
            )  # fmt: skip

    def _authenticate(self, connection: HTTPConnection) -> Caller:
        if self.without_keys:
            address = connection.client.host if connection.client else "unknown"
            return Caller(ANONYMOUS, api_keys.digest(address))
        key = api_keys.key_of(connection.headers)
        if key is None:
            raise Problem(401, "give an API key: Authorization: Bearer KEY", "Authorization")
        key_id = api_keys.digest(key)
        if key_id not in self._key_names:
            raise Problem(401, "this API key is not known", "Authorization")
        return Caller(self._key_names[key_id], key_id)


def _host_name(host: str) -> str:
    """A ``Host`` header without its port, in lower case."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.strip("[]").rstrip(".").lower()


def _is_local(name: str) -> bool:
    """Whether it is an IP address, localhost, or empty (every browser sends a host)."""
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
