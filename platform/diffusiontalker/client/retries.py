"""Retry policy: which requests are sent again, after exponential backoff, up to a deadline."""

import random
from typing import Any

import tenacity

from diffusiontalker.client.types import UnavailableError

ATTEMPTS = 6
_backoff = tenacity.wait_exponential_jitter(multiplier=0.25, max=8, jitter=0.5)


def policy(deadline: float, idempotent: bool = True) -> dict[str, Any]:
    """Arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying`` alike.

    The last ``UnavailableError`` is raised when ``deadline`` seconds would pass or ``ATTEMPTS`` are
    used up. A request that is not idempotent is repeated only if it was not processed.
    """

    def is_retried(error: BaseException) -> bool:
        return isinstance(error, UnavailableError) and (idempotent or error.not_processed)

    return {
        "retry": tenacity.retry_if_exception(is_retried),
        "wait": _wait,
        "stop": tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(deadline),
        "reraise": True,
    }


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the server asks, with jitter so that not all clients return at once."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, UnavailableError) and error.retry_after is not None:
        return error.retry_after + random.uniform(0, 0.25)
    return _backoff(state)
