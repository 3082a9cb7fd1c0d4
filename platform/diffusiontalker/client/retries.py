"""When a request is sent again: what may mend itself, after a wait that grows, up to a deadline."""

import random
from typing import Any

import tenacity

from diffusiontalker.client.contract import UnavailableError

ATTEMPTS = 6
_backoff = tenacity.wait_exponential_jitter(multiplier=0.25, max=8, jitter=0.5)


def policy(deadline: float, idempotent: bool = True) -> dict[str, Any]:
    """Settings for ``tenacity.Retrying`` and ``tenacity.AsyncRetrying`` alike.

    The last ``UnavailableError`` is raised when ``deadline`` seconds would pass or ``ATTEMPTS`` are
    used up. A request that is not idempotent is sent again only where it was not heard.
    """

    def again(error: BaseException) -> bool:
        return isinstance(error, UnavailableError) and (idempotent or error.unheard)

    return {
        "retry": tenacity.retry_if_exception(again),
        "wait": _wait,
        "stop": tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(deadline),
        "reraise": True,
    }


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the server asks, and a little more so that not all come back at once."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, UnavailableError) and error.after is not None:
        return error.after + random.uniform(0, 0.25)
    return _backoff(state)
