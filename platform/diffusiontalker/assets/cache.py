"""The folder of fetched and converted files, shared by all runs of a user on a machine."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

from diffusiontalker.errors import UserError

VARIABLE = "DIFFUSIONTALKER_CACHE"


def cache() -> Path:
    """``DIFFUSIONTALKER_CACHE``, or ``diffusiontalker`` in the user's cache (XDG); made by need.

    Raises:
        UserError: the user has no home folder, as may be in a container.
    """
    named, user = os.environ.get(VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if named:
            return Path(named).expanduser().absolute()
        home = Path(user) if Path(user).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise UserError(
            f"the user has no home folder here; set {VARIABLE} to a folder for fetched files"
        ) from error
    return home / "diffusiontalker"


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made once: it is there with all its files, or not at all. Other
    processes of the machine wait until it is made.

    Args:
        name: of the folder; a fingerprint of its content belongs into it.
        make: writes the files into the folder that it is given, on the first call.

    Raises:
        UserError: the cache cannot be written; or raised by ``make``.
    """
    folder = cache() / name
    if folder.is_dir():
        return folder
    with temporary_folder() as fresh, FileLock(cache() / f".{name}.lock"):
        if not folder.is_dir():
            make(fresh)
            fresh.chmod(0o755)  # mkdtemp's is the user's alone, and a cache may be shared
            move(fresh, folder)
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder on the cache's file system. Raises UserError."""
    with writing():
        cache().mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=".partial-", dir=cache()))
    try:
        with writing():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, unless another machine that shares the cache has made the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        if not target.exists():
            raise


@contextmanager
def writing() -> Iterator[None]:
    """Turn an operating system's error, such as a full disk, into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or cache()}: {error.strerror or error}; {VARIABLE} "
            "names another folder for fetched files"
        ) from error
