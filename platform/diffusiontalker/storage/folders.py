"""Folders, and prefixes in S3."""

import os
import shutil
from pathlib import Path
from typing import Any

from diffusiontalker.errors import UserError
from diffusiontalker.storage.faults import explained, explaining
from diffusiontalker.storage.locations import is_remote, s3
from diffusiontalker.storage.read_write import read_bytes, remove, write_bytes
from diffusiontalker.storage.retries import attempt


def make_folder(path: Path) -> None:
    """Make a local folder, or check that the bucket is there and answers.

    Raises:
        UserError: not writable; no such bucket, wrong credentials, no server.
    """
    with explaining("write", path):
        if is_remote(path):
            # Few retries: at the start a wrong address is likelier than a server that restarts.
            _check_bucket(path, patience=5)
        else:
            path.mkdir(parents=True, exist_ok=True)


def empty_folder(path: Path) -> None:
    """Make a folder, and remove every file below it. Raises UserError."""
    make_folder(path)
    for name in files(path):
        remove(path / name)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there. Raises UserError."""
    if is_remote(path):
        for name in files(path):
            remove(path / name)
    elif path.is_dir():
        with explaining("remove", path):
            shutil.rmtree(path)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its name relative to the folder; sorted.

    Raises:
        UserError: no such folder, or it cannot be read. An empty S3 prefix counts as missing.
    """
    found = files(folder)
    if not found:
        with explaining("read", folder):
            if is_remote(folder):
                _check_bucket(folder)
            if is_remote(folder) or not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
    return found


def files(folder: Path) -> dict[str, int]:
    """``sizes``, but empty where the folder is missing. Raises UserError."""
    with explaining("read", folder):
        if is_remote(folder):
            listed = {name: int(info["size"]) for name, info in objects(folder).items()}
        else:
            walk = os.walk(folder, onerror=_unreadable)
            paths = [Path(where) / name for where, _, names in walk for name in names]
            listed = {
                path.relative_to(folder).as_posix(): path.stat().st_size
                for path in paths
                if path.is_file()
            }
    return dict(sorted(listed.items()))


def objects(folder: Path) -> dict[str, dict[str, Any]]:
    """S3's metadata of every object below a prefix, by its name relative to that; sorted.

    Raises UserError.
    """
    root: str = s3(folder).path.rstrip("/")
    found = explained("read", folder, lambda: s3(folder).fs.find(root, detail=True))
    return {
        name[len(root) + 1 :]: info
        for name, info in sorted(found.items())
        # Some tools and servers keep an empty object as the mark of a folder.
        if info["type"] == "file" and len(name) > len(root) and not name.endswith("/")
    }


def fetch(folder: Path, to: Path) -> None:
    """Copy the files directly in ``folder`` into the local folder ``to``. Raises UserError."""
    for name in sizes(folder):
        if "/" not in name:
            write_bytes(to / name, read_bytes(folder / name))


def store(folder: Path, to: Path) -> None:
    """Copy all files of the local ``folder`` below ``to``. Raises UserError."""
    for name in sizes(folder):
        target = to / name
        if not is_remote(to):
            make_folder(target.parent)
        write_bytes(target, read_bytes(folder / name))


def _check_bucket(path: Path, patience: float | None = None) -> None:
    """Raise FileNotFoundError unless the bucket is there."""
    bucket, _, prefix = s3(path).path.partition("/")
    # A listing, because HeadBucket is often forbidden.
    request = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": 1}
    attempt(path, lambda: s3(path).fs.call_s3("list_objects_v2", **request), patience)


def _unreadable(error: OSError) -> None:
    """Raise what ``os.walk`` would ignore: a folder that exists but cannot be read."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from error
