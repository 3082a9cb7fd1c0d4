"""Single files, read and written whole."""

import codecs
import json
import uuid
from pathlib import Path
from typing import Any

from diffusiontalker.errors import UserError
from diffusiontalker.storage.faults import explained, explaining
from diffusiontalker.storage.locations import is_remote, s3
from diffusiontalker.storage.retries import attempt

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The whole file, unless it has more than ``limit`` bytes.

    Raises:
        UserError: missing, too large, not readable, or the S3 server does not answer.
    """
    if limit is not None:
        size = explained("read", path, lambda: int(path.stat().st_size))
        if size > limit:
            raise UserError(f"{path}: {size} bytes, but at most {limit} are read; is it the file?")
    return explained("read", path, path.read_bytes)


def read_text(path: Path) -> str:
    """The whole file as UTF-8, with or without a byte-order mark, or as UTF-16 with one, as Excel
    writes "Unicode text". Raises UserError."""
    content = read_bytes(path)
    try:
        return content.decode("utf-16" if content[:2] in UTF16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; is it the right file?") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged, it is no JSON; delete it and run again") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write so that a reader sees the whole file or none.

    Raises:
        UserError: the folder is missing or not writable, the disk is full, or the S3 server refuses
            or does not answer.
    """
    with explaining("write", path):
        if is_remote(path):
            # An object appears when its upload is complete.
            attempt(path, lambda: s3(path).fs.pipe_file(s3(path).path, data))
            return
        if not path.parent.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON, whole or not at all. Raises UserError."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def is_file(path: Path) -> bool:
    """Whether a file exists. Raises UserError if that cannot be found out."""
    if not is_remote(path):
        return path.is_file()
    with explaining("read", path):
        try:
            # Not path.is_file(): that takes a refusal for a missing file.
            found = attempt(path, lambda: s3(path).fs.info(s3(path).path))
        except FileNotFoundError:
            return False
        return bool(found["type"] == "file")


def open_input(path: Path) -> Any:
    """A seekable binary file for reading parts, as a context manager within ``explained``."""
    if is_remote(path):
        return s3(path).fs.open(s3(path).path, "rb", cache_type="none")
    return path.open("rb")


def remove(path: Path) -> None:
    """Remove a file, if it exists. Raises UserError."""
    with explaining("remove", path):
        if is_remote(path):
            try:
                attempt(path, lambda: s3(path).fs.rm_file(s3(path).path))
            except FileNotFoundError:
                return
        else:
            path.unlink(missing_ok=True)
