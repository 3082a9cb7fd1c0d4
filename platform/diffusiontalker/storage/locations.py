"""Locations: local paths and ``s3://bucket/key``."""

import importlib
from pathlib import Path
from typing import Any, cast

from diffusiontalker.errors import UserError, needs_extra

_OPTIONS: dict[str, Any] = {
    # A listing kept in memory would not show what another worker has written since.
    "use_listings_cache": False,
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"max_attempts": 2, "mode": "standard"},
        # Servers other than Amazon's do not all know the newer checksums.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    },
}


def location(text: str | Path) -> Path:
    """A local path, made absolute, or an ``s3://bucket/key``.

    Raises:
        UserError: another scheme, no bucket, or the extra ``s3`` is needed.
    """
    if not isinstance(text, str):
        return text if is_remote(text) else text.absolute()
    scheme, separator, rest = text.partition("://")
    if not separator:
        try:
            return Path(text).expanduser().absolute()
        except RuntimeError as error:
            raise UserError(f"{text}: there is no such user's folder; write ./{text}") from error
    if scheme != "s3":
        raise UserError(f"{text}: {scheme}:// is not known; give a local path or s3://bucket/...")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise UserError(f"{text}: names no bucket; write s3://bucket/prefix")
    if ".." in key.split("/"):
        raise UserError(f"{text}: '..' has no meaning in S3; write the prefix itself")
    try:
        importlib.import_module("s3fs")  # the driver of UPath, which would fail later
        from upath import UPath
    except ImportError as error:
        raise needs_extra(f"{text}: S3", "s3") from error
    return cast(Path, UPath(text, **_OPTIONS))


def is_remote(path: Path) -> bool:
    """Whether a location lies in S3."""
    return not isinstance(path, Path)


def is_bucket(path: Path) -> bool:
    """Whether a location is a bucket in S3 without a prefix in it."""
    return is_remote(path) and "/" not in str(s3(path).path).strip("/")


def s3(path: Path) -> Any:
    """The same remote location, with what a local path lacks: ``fs`` and ``path``."""
    return path
