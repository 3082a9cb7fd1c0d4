"""The files of a user's data set: symbolic links are followed, unreadable entries reported.

(``storage.files`` lists what this project writes, and follows no link, as it is used to delete.)
"""

import errno
import heapq
import os
import stat
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from diffusiontalker import storage
from diffusiontalker.errors import UserError

LOST = "which is not there"
"""Part of the reason of every dead link."""


@dataclass(frozen=True)
class FileInfo:
    """Size and version of a file, without its content."""

    bytes: int
    stamp: str
    """Changes with the content: the modification time, or the ETag in S3."""


@dataclass(frozen=True)
class FolderListing:
    """The files of a data set."""

    files: dict[str, FileInfo] = field(default_factory=dict)
    """By name relative to the root; sorted."""
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Names of entries that cannot be read as files, and why."""


def list_files(root: Path) -> FolderListing:
    """All files below a folder or an S3 prefix.

    Raises:
        UserError: no such folder, or one in it that cannot be read.
    """
    if not storage.is_remote(root):
        return _list_local(root)
    found = storage.objects(root)
    if not found:
        storage.sizes(root)  # raises the error that explains it
    return FolderListing(
        {
            name: FileInfo(int(info["size"]), str(info.get("ETag", "")))
            for name, info in found.items()
        }
    )


def file_info(path: Path) -> FileInfo:
    """One file, or a folder of files as if it were one. Raises UserError."""
    if not storage.is_file(path):
        files = list_files(path).files
        stamps = "; ".join(f"{name} {info.bytes} {info.stamp}" for name, info in files.items())
        return FileInfo(sum(info.bytes for info in files.values()), stamps)
    if storage.is_remote(path):
        return list_files(path.parent).files[path.name]
    status = storage.explained("read", path, path.stat)
    return FileInfo(status.st_size, str(status.st_mtime_ns))


def _list_local(root: Path) -> FolderListing:
    if not storage.explained("read", root, root.is_dir):
        raise UserError(f"{root}: no such folder")
    files: dict[str, FileInfo] = {}
    left_out: list[tuple[str, str]] = []
    visited: dict[tuple[int, int], str] = {}
    # Linked folders are visited after the others, and hidden ones last, so that a folder that can
    # be reached in two ways gets its plain name. (A link may lead into .git/annex or .dvc/cache.)
    queue = [(False, False, "")]
    while queue:
        hidden, linked, where = heapq.heappop(queue)
        folder = root / where
        status = storage.explained("read", folder, folder.stat)
        inode = status.st_dev, status.st_ino
        if inode in visited:
            left_out.append((where, f"the same folder as {visited[inode] or '.'}"))
            continue
        visited[inode] = where
        for entry in storage.explained("read", folder, partial(_entries, folder)):
            name = f"{where}/{entry.name}" if where else entry.name
            link = entry.is_symlink()
            found = _status(entry)
            if (shown := name.encode("utf-8", "replace").decode()) != name:
                left_out.append(
                    (shown, "its name is not UTF-8, which no table can hold: rename it")
                )
            elif isinstance(found, str):
                left_out.append((name, found))
            elif stat.S_ISREG(found.st_mode):
                files[name] = FileInfo(found.st_size, str(found.st_mtime_ns))
            elif not stat.S_ISDIR(found.st_mode):
                left_out.append((name, "neither a file nor a folder"))
            elif link and root.resolve().is_relative_to(Path(entry.path).resolve()):
                left_out.append((name, "a link to a folder that holds this data set: not followed"))
            else:
                hide = hidden or entry.name.startswith(".")
                heapq.heappush(queue, (hide, linked or link, name))
    return FolderListing(dict(sorted(files.items())), sorted(left_out))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _status(entry: os.DirEntry[str]) -> os.stat_result | str:
    """The status of an entry, or why it has none. Raises UserError if access is denied."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads in a circle"
        if isinstance(error, FileNotFoundError) and entry.is_symlink():
            return (
                f"a link to {os.readlink(entry.path)}, {LOST}; fetch it (git lfs pull, "
                "git annex get, dvc pull), or remove the link"
            )
        raise UserError(f"cannot read {entry.path}: {error.strerror or error}") from error
