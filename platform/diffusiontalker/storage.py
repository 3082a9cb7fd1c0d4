"""Where files live: local folders and ``s3://`` alike, whole files, retries, clear errors.

A location is a ``pathlib.Path``, or for ``s3://`` an object with the same methods (universal
pathlib over s3fs). Credentials come from the environment as every AWS tool reads them
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, a profile, a role of the machine), and
``AWS_ENDPOINT_URL`` names any other server that speaks S3. What touches S3 is imported only when
such a location is used.
"""

import codecs
import importlib
import io
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from diffusiontalker.errors import UserError, needs_extra

PATIENCE = "DIFFUSIONTALKER_S3_PATIENCE_SECONDS"
"""Environment variable: how long to try again while an S3 server does not answer."""
DEFAULT_PATIENCE = 120.0
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
T = TypeVar("T")
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
        importlib.import_module("s3fs")  # the driver behind the path; its absence is said here
        from upath import UPath
    except ImportError as error:
        raise needs_extra(f"{text}: S3", "s3") from error
    return cast(Path, UPath(text, **_OPTIONS))


def is_remote(path: Path) -> bool:
    """Whether a location lies in S3."""
    return not isinstance(path, Path)


def is_bucket(path: Path) -> bool:
    """Whether a location is a bucket in S3 without a prefix in it."""
    return is_remote(path) and "/" not in str(_s3(path).path).strip("/")


def _s3(path: Path) -> Any:
    """The same remote location, with what a local path lacks: ``fs`` and ``path``."""
    return path


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
    with _explained("write", path):
        if is_remote(path):
            # An object appears when its upload is complete.
            attempt(path, lambda: _s3(path).fs.pipe_file(_s3(path).path, data))
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
    """Whether a file is there. Raises UserError if that cannot be known."""
    if not is_remote(path):
        return path.is_file()
    with _explained("read", path):
        try:
            # Not path.is_file(): that takes a refusal for an absence.
            found = attempt(path, lambda: _s3(path).fs.info(_s3(path).path))
        except FileNotFoundError:
            return False
        return bool(found["type"] == "file")


def make_folder(path: Path) -> None:
    """Make a local folder, or check that the bucket is there and answers.

    Raises:
        UserError: not writable; no such bucket, wrong credentials, no server.
    """
    with _explained("write", path):
        if is_remote(path):
            # Short patience: at the start a wrong address is likelier than a server that restarts.
            _check_bucket(path, patience=5)
        else:
            path.mkdir(parents=True, exist_ok=True)


def empty_folder(path: Path) -> None:
    """Make a folder, and remove every file below it. Raises UserError."""
    make_folder(path)
    for name in files(path):
        remove(path / name)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its name relative to the folder; sorted.

    Raises:
        UserError: no such folder, or it cannot be read. An empty S3 prefix counts as missing.
    """
    found = files(folder)
    if not found:
        with _explained("read", folder):
            if is_remote(folder):
                _check_bucket(folder)
            if is_remote(folder) or not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
    return found


def files(folder: Path) -> dict[str, int]:
    """``sizes``, but nothing where nothing is. Raises UserError."""
    with _explained("read", folder):
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
    """What S3 tells of every object below a prefix, by its name relative to that; sorted.

    Raises UserError.
    """
    root: str = _s3(folder).path.rstrip("/")
    found = explained("read", folder, lambda: _s3(folder).fs.find(root, detail=True))
    return {
        name[len(root) + 1 :]: info
        for name, info in sorted(found.items())
        # Some tools and servers keep an empty object where they think of a folder.
        if info["type"] == "file" and len(name) > len(root) and not name.endswith("/")
    }


def _unreadable(error: OSError) -> None:
    """Raise what ``os.walk`` would pass over: a folder that is there but cannot be read."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from error


def _check_bucket(path: Path, patience: float | None = None) -> None:
    """Raise FileNotFoundError unless the bucket is there."""
    bucket, _, prefix = _s3(path).path.partition("/")
    # A listing, because the simpler question "is there such a bucket" is often forbidden.
    request = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": 1}
    attempt(path, lambda: _s3(path).fs.call_s3("list_objects_v2", **request), patience)


def open_input(path: Path) -> Any:
    """A seekable binary file for reading parts; use within ``attempt``, as a context manager."""
    if is_remote(path):
        return _s3(path).fs.open(_s3(path).path, "rb", cache_type="none")
    return path.open("rb")


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


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises UserError."""
    with _explained("remove", path):
        if is_remote(path):
            try:
                attempt(path, lambda: _s3(path).fs.rm_file(_s3(path).path))
            except FileNotFoundError:
                return
        else:
            path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there. Raises UserError."""
    if is_remote(path):
        for name in files(path):
            remove(path / name)
    elif path.is_dir():
        with _explained("remove", path):
            shutil.rmtree(path)


def for_arrow(path: Path) -> tuple[Any, str]:
    """A pyarrow file system and the path on it, for Ray Train's ``storage_filesystem``.

    In S3 it is as patient as the rest of this module, and raises the same errors.
    """
    import pyarrow.fs as arrow

    if not is_remote(path):
        return arrow.LocalFileSystem(), str(path)
    files = _PatientFiles(path, _s3(path).fs)
    return arrow.PyFileSystem(arrow.FSSpecHandler(files)), _s3(path).path


class _Patient:
    """A file system of S3, or an open file, whose every method is tried again as by ``attempt``."""

    def __init__(self, root: Path, inner: Any) -> None:
        self.root, self.inner = root, inner

    def __getattr__(self, name: str) -> Any:
        if name in ("root", "inner") or name.startswith("__"):  # asked before there is an object
            raise AttributeError(name)
        found = getattr(self.inner, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., T], *args: Any, **options: Any) -> T:
        try:
            return attempt(self.root, lambda: method(*args, **options))
        except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError):
            raise  # an answer to the question
        except Exception as error:
            said = _explain("use", self.root, error)
            if said is None:
                raise
            raise UserError(said) from error


class _PatientFiles(_Patient):
    """The file system, as pyarrow's handler for those of fsspec uses it."""

    def isfile(self, path: str) -> bool:
        """Not the file system's own: that takes a server that is away for an absence."""
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, path: str, mode: str) -> Any:
        """A file to be read in parts, or one that is sent when it is closed."""
        if mode == "wb":
            return _Upload(self, path)
        return _Patient(self.root, self._call(self.inner.open, path, mode=mode))


class _Upload(io.FileIO):
    """A temporary file that goes to S3 when it is closed, again and again until it is there."""

    def __init__(self, files: _PatientFiles, path: str) -> None:
        handle, self.local = tempfile.mkstemp(prefix="diffusiontalker-")
        super().__init__(handle, "wb")
        self.files, self.path = files, path

    def close(self) -> None:
        """Send the file, once."""
        if not self.closed:
            super().close()
            try:
                self.files.put_file(self.local, self.path)
            finally:
                os.unlink(self.local)


def explained(verb: str, path: Path, call: Callable[[], T]) -> T:
    """``attempt``, with what went wrong as a ``UserError`` that says ``cannot {verb} {path}``."""
    with _explained(verb, path):
        return attempt(path, call)


def attempt(path: Path, call: Callable[[], T], patience: float | None = None) -> T:
    """``call()``, tried again while an S3 server is away: ``patience`` seconds in all.

    Local files are tried once. What will not mend itself (missing, forbidden) is raised at once.
    """
    if not is_remote(path):
        return call()
    import tenacity

    if patience is None:
        patience = _patience()
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_passing),
        wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=10),
        stop=tenacity.stop_after_delay(patience),
        reraise=True,
    )
    return retrying(call)


def _patience() -> float:
    text = os.environ.get(PATIENCE) or str(DEFAULT_PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{PATIENCE}={text}: write a number of seconds, such as 120")
    return seconds


def may_pass(error: BaseException) -> bool:
    """Whether a ``UserError`` says that an S3 server was away: nothing of the file itself."""
    return error.__cause__ is not None and _passing(error.__cause__)


def _passing(error: BaseException) -> bool:
    """Whether a fault of S3 may be gone when one tries again."""
    import aiohttp
    import botocore.exceptions as boto

    lasting = (
        FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError,
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ParamValidationError,
        boto.ProfileNotFound,
    )  # fmt: skip
    away = (OSError, TimeoutError, boto.BotoCoreError, boto.ClientError, aiohttp.ClientError)
    return isinstance(error, away) and not isinstance(error, lasting)


@contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = _explain(verb, path, error)
        if said is None:
            raise
        raise UserError(said) from error


def _explain(verb: str, path: Path, error: BaseException) -> str | None:
    """One line for a fault of a disk or of S3; None if the error is neither's."""
    if not is_remote(path):
        if not isinstance(error, OSError):
            return None
        return f"cannot {verb} {path}: {error.strerror or error}"
    import botocore.exceptions as boto

    bucket = _s3(path).path.split("/")[0]
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
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
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
    if _passing(error) or isinstance(error, OSError | boto.BotoCoreError):
        return (
            f"cannot {verb} {path}: {server} does not answer as it should ({reason}); check "
            "AWS_ENDPOINT_URL and the server, then run the same again"
        )
    return None
