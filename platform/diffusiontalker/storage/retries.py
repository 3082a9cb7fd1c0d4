"""Retries while an S3 server is away.

By hand over fsspec: s3fs retries five times within 1.5 s and not at all where nothing accepts the
connection, and a server takes a minute or two to restart.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffusiontalker.errors import UserError
from diffusiontalker.storage.locations import is_remote

PATIENCE = "DIFFUSIONTALKER_S3_PATIENCE_SECONDS"
"""Environment variable: seconds of retries while an S3 server does not answer."""
DEFAULT_PATIENCE = 120.0
T = TypeVar("T")


def attempt(path: Path, call: Callable[[], T], patience: float | None = None) -> T:
    """``call()``, retried while an S3 server is away, for ``patience`` seconds in all.

    Local files are tried once. What no retry mends (missing, forbidden) is raised at once.
    """
    if not is_remote(path):
        return call()
    import tenacity

    if patience is None:
        patience = _patience()
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(transient),
        wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=10),
        stop=tenacity.stop_after_delay(patience),
        reraise=True,
    )
    return retrying(call)


def transient(error: BaseException) -> bool:
    """Whether a fault of S3 may be gone at the next attempt."""
    import aiohttp
    import botocore.exceptions as boto

    lasting = (
        FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError,
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ParamValidationError,
        boto.ProfileNotFound,
    )  # fmt: skip
    away = (OSError, TimeoutError, boto.BotoCoreError, boto.ClientError, aiohttp.ClientError)
    return isinstance(error, away) and not isinstance(error, lasting)


def _patience() -> float:
    text = os.environ.get(PATIENCE) or str(DEFAULT_PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{PATIENCE}={text}: write a number of seconds, such as 120")
    return seconds
