"""The user's mistake within what Ray raises."""

import re

from diffusiontalker.errors import UserError

FULL = "No space left on device"
"""The system's message for a full disk, whichever library wrote."""
_IN_TRACEBACK = re.compile(r"diffusiontalker\.errors\.UserError: (.+)")
"""A ``UserError`` at the end of a traceback."""
_RETRIES = re.compile(r"\s+Failed to [\w ]+ after \d+/\d+ attempts .*", re.DOTALL)
"""What Ray Data appends to the message of an error."""


def user_error(error: BaseException) -> UserError | None:
    """The ``UserError`` that caused what Ray raised, or one for a full disk; None if neither did.

    Ray passes most errors on as objects, and some, of nested workers, as the text of a traceback.
    """
    chain = _chain(error)
    lines = [str(e) for e in chain if isinstance(e, UserError) and not hasattr(e, "cause")]
    # A traceback ends with the outermost error.
    lines += [text for e in chain for text in reversed(_IN_TRACEBACK.findall(str(e)))]
    if lines:
        return UserError(_RETRIES.sub("", lines[0]))
    if any(FULL in str(e) for e in chain):
        return UserError(f"the disk is full: {FULL.lower()}; free some, then run the same again")
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and its causes, each once."""
    pending = [error]
    found: list[BaseException] = []
    while pending:
        one = pending.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        # RayTaskError, ray.train's ControllerError and its WorkerGroupError keep it in attributes.
        inner = [one.__cause__, one.__context__, getattr(one, "cause", None)]
        inner.append(getattr(one, "controller_failure", None))
        inner += list(getattr(one, "worker_failures", {}).values())
        pending.extend(e for e in inner if isinstance(e, BaseException))
    return found
