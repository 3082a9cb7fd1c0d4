"""Faults of a disk or of S3 as one line for the user."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from diffusiontalker.errors import UserError
from diffusiontalker.storage.locations import is_remote, s3
from diffusiontalker.storage.retries import attempt, transient

T = TypeVar("T")
NO_ANSWER = "does not answer as it should"
"""In the message of a fault that may pass: pickled, an error loses its cause."""


def explained(verb: str, path: Path, call: Callable[[], T]) -> T:
    """``attempt``, whose faults become a ``UserError`` that begins ``cannot {verb} {path}``."""
    with explaining(verb, path):
        return attempt(path, call)


@contextmanager
def explaining(verb: str, path: Path) -> Iterator[None]:
    """Turn faults of a disk or of S3 into a ``UserError``; others are raised as they are."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = explain(verb, path, error)
        if line is None:
            raise
        raise UserError(line) from error


def may_pass(error: BaseException) -> bool:
    """Whether a ``UserError`` comes of a transient fault of S3 rather than of the file itself."""
    return error.__cause__ is not None and transient(error.__cause__)


def explain(verb: str, path: Path, error: BaseException) -> str | None:
    """One line for a fault of a disk or of S3; None if the error is neither's."""
    if not is_remote(path):
        if not isinstance(error, OSError):
            return None
        return f"cannot {verb} {path}: {error.strerror or error}"
    import botocore.exceptions as boto

    bucket = s3(path).path.split("/")[0]
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    server = next((os.environ[name] for name in names if os.environ.get(name)), "Amazon S3")
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, ValueError) and "Invalid endpoint" in reason:
        return (
            f"cannot {verb} {path}: AWS_ENDPOINT_URL {server!r} is not an address; write it as "
            "http://host:port"
        )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return (
            f"cannot {verb} {path}: no credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, on every node"
        )
    if isinstance(error, PermissionError):
        return (
            f"cannot {verb} {path}: {server} refuses ({reason}); check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and the bucket's permissions"
        )
    if isinstance(error, FileNotFoundError):
        absent = "NoSuchBucket" in repr(error.__cause__) or "bucket does not exist" in reason
        if absent or verb == "write":  # writing needs nothing else
            return (
                f"cannot {verb} {path}: {server} has no bucket {bucket!r}; make it first, or check "
                "AWS_ENDPOINT_URL"
            )
        return f"cannot {verb} {path}: no such file on {server}"
    if transient(error) or isinstance(error, OSError | boto.BotoCoreError):
        return (
            f"cannot {verb} {path}: {server} {NO_ANSWER} ({reason}); check "
            "AWS_ENDPOINT_URL and the server, then run the same again"
        )
    return None
