"""Retry policy: which requests are sent again, after exponential backoff, up to a deadline."""

import random
from typing import Any

import tenacity

from diffusiontalker.client.types import UnavailableError

ATTEMPTS = 6
"""Without a connection: there may be no server at that address."""
_backoff = tenacity.wait_exponential_jitter(multiplier=0.25, max=8, jitter=0.5)


def policy(deadline: float, idempotent: bool = True, answered: bool = False) -> dict[str, Any]:
    """Arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying`` alike, for one request.

    The last ``UnavailableError`` is raised when ``deadline`` seconds would pass; already after
    ``ATTEMPTS`` where none was connected, and the server has not ``answered`` before: a server that
    restarts is waited for, one that is not there is not. A request that is not idempotent is
    repeated only if it was not processed.
    """
    known, is_late = answered, tenacity.stop_before_delay(deadline)

    def is_retried(error: BaseException) -> bool:
        return isinstance(error, UnavailableError) and (idempotent or error.not_processed)

    def is_absent(state: tenacity.RetryCallState) -> bool:
        nonlocal known
        error = state.outcome.exception() if state.outcome else None
        known = known or (isinstance(error, UnavailableError) and error.connected)
        return not known and state.attempt_number >= ATTEMPTS

    return {
        "retry": tenacity.retry_if_exception(is_retried),
        "wait": _wait,
        "stop": lambda state: is_absent(state) or is_late(state),
        "reraise": True,
    }


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the server asks, with jitter so that not all clients return at once."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, UnavailableError) and error.retry_after is not None:
        return error.retry_after + random.uniform(0, 0.25)
    return _backoff(state)
