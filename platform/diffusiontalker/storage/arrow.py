"""File systems for pyarrow, and so for Ray Train: S3 with the same retries and errors, and a disk
on which files are replaced as a whole."""

import io
import os
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from diffusiontalker.errors import UserError
from diffusiontalker.storage.faults import explain
from diffusiontalker.storage.locations import is_remote, s3
from diffusiontalker.storage.retries import attempt

T = TypeVar("T")


def for_arrow(path: Path) -> tuple[Any, str]:
    """A pyarrow file system and the path on it, for Ray Train's ``storage_filesystem``.

    In S3 with the retries and errors of this package. On a disk, a reader sees the whole file or
    none: Ray Train overwrites its list of checkpoints, and a kill would leave a part of it.
    """
    import pyarrow.fs as arrow

    if not is_remote(path):
        return arrow.PyFileSystem(arrow.FSSpecHandler(_local_files())), str(path)
    files = _RetryingFiles(path, s3(path).fs)
    return arrow.PyFileSystem(arrow.FSSpecHandler(files)), s3(path).path


def _local_files() -> Any:
    """fsspec's local files, of which those that are written replace the old ones when closed."""
    from fsspec.implementations.local import LocalFileSystem

    return _ReplacingFiles(LocalFileSystem())


class _ReplacingFiles:
    """A local file system, as pyarrow's handler for those of fsspec uses it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # asked while the object is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def open(self, path: str, mode: str) -> Any:
        """A file to be read, or one that replaces another when it is closed."""
        return _Replacement(path) if mode == "wb" else self.inner.open(path, mode=mode)


class _WholeWrites(io.FileIO):
    """A file whose writes are whole or raise: a system's write stops where a disk becomes full, and
    pyarrow does not look at how much was written."""

    failed = False

    def write(self, data: Any) -> int:
        """Write all of ``data``. Raises OSError."""
        left = memoryview(data).cast("B")
        size, self.failed = len(left), True
        while left:
            left = left[super().write(left) :]
        self.failed = False
        return size


class _Replacement(_WholeWrites):
    """A file under another name until it is closed; one that is never closed, or of which a write
    has failed, replaces nothing."""

    def __init__(self, path: str) -> None:
        self.path, self.partial = path, f"{path}.{uuid.uuid4().hex}.tmp"
        super().__init__(self.partial, "wb")

    def close(self) -> None:
        """Replace the file, once; pyarrow closes it after an error, too."""
        if self.closed:
            return
        super().close()
        if self.failed:
            os.unlink(self.partial)
        else:
            os.replace(self.partial, self.path)

    def __del__(self) -> None:
        """Of a file that nobody has closed."""
        self.failed = True
        self.close()


class _Retrying:
    """A file system of S3, or an open file, each of whose methods is retried as by ``attempt``."""

    def __init__(self, root: Path, inner: Any) -> None:
        self.root, self.inner = root, inner

    def __getattr__(self, name: str) -> Any:
        if name in ("root", "inner") or name.startswith(
            "__"
        ):  # asked while the object is unpickled
            raise AttributeError(name)
        found = getattr(self.inner, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., T], *args: Any, **options: Any) -> T:
        try:
            return attempt(self.root, lambda: method(*args, **options))
        except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError):
            raise  # an answer, not a fault
        except Exception as error:
            line = explain("use", self.root, error)
            if line is None:
                raise
            raise UserError(line) from error


class _RetryingFiles(_Retrying):
    """The file system, as pyarrow's handler for those of fsspec uses it."""

    def isfile(self, path: str) -> bool:
        """Not the file system's own: that takes an unreachable server for a missing file."""
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, path: str, mode: str) -> Any:
        """A file to be read in parts, or one that is uploaded when it is closed."""
        if mode == "wb":
            return _Upload(self, path)
        return _Retrying(self.root, self._call(self.inner.open, path, mode=mode))


class _Upload(_WholeWrites):
    """A temporary file that is uploaded to S3 when it is closed, with retries."""

    def __init__(self, files: _RetryingFiles, path: str) -> None:
        handle, self.local = tempfile.mkstemp(prefix="diffusiontalker-")
        super().__init__(handle, "wb")
        self.files, self.path = files, path

    def close(self) -> None:
        """Upload the file, once."""
        if not self.closed:
            super().close()
            try:
                if not self.failed:
                    self.files.put_file(self.local, self.path)
            finally:
                os.unlink(self.local)
