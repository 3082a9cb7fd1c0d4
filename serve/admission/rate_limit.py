"""Requests a minute of each caller, counted by each replica, or in one Redis for all of them."""

import asyncio
import logging
import os
from time import monotonic
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from diffusiontalker.errors import UserError
from serve.settings import LimitSettings

PASSWORD = "DIFFUSIONTALKER_REDIS_PASSWORD"
"""Environment variable of the password of ``limits.storage``, if it needs one."""
IN_MEMORY = "memory://"
STORAGE_TIMEOUT, STORAGE_RETRY = 1.0, 5.0
"""Seconds that the shared storage may take, and that it is not asked after a failure."""
logger = logging.getLogger("ray.serve")


class RateLimiter:
    """A sliding window over requests. While the shared storage fails, this replica counts alone:
    serving is worth more than an exact count."""

    def __init__(self, limits: LimitSettings) -> None:
        """Raises UserError: the storage is unknown, or its package is missing."""
        self.per_minute = limits.requests_per_minute
        self._rate = RateLimitItemPerMinute(self.per_minute)
        self._shared, self._local = _limiter(limits.storage), _limiter(IN_MEMORY)
        self._failed_until = 0.0
        """When the shared storage is asked again; 0: it answered the last time."""

    async def allow(self, caller: str) -> bool:
        """Count a request of ``Caller.id``; whether it is within the rate."""
        if monotonic() < self._failed_until:
            return await self._local.hit(self._rate, caller)
        try:
            async with asyncio.timeout(STORAGE_TIMEOUT):
                allowed = await self._shared.hit(self._rate, caller)
        except StorageError as error:
            reason = str(error.storage_error)
        except TimeoutError:
            reason = f"no answer in {STORAGE_TIMEOUT:g} s"
        else:
            self._failed_until = 0.0
            return allowed
        if not self._failed_until:
            logger.warning(
                "limits.storage: %s; until it answers, each replica counts for itself", reason
            )
        self._failed_until = monotonic() + STORAGE_RETRY
        return await self._local.hit(self._rate, caller)


def _limiter(uri: str) -> SlidingWindowCounterRateLimiter:
    options: dict[str, Any] = {}
    if uri != IN_MEMORY:
        options = {"implementation": "redispy", "wrap_exceptions": True}
        if password := os.environ.get(PASSWORD):
            options["password"] = password
    try:
        return SlidingWindowCounterRateLimiter(storage_from_string(f"async+{uri}", **options))
    except Exception as error:
        # Addresses may hold passwords, and the error repeats the address in whole or in part.
        reason = "cannot be used" if "@" in uri else str(error)
        raise UserError(
            f"limits.storage: {reason}; give {IN_MEMORY}, or redis://host:port after pip install "
            "redis"
        ) from None
