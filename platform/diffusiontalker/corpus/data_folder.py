"""The files of a data set as its owner keeps them: links are followed, and what cannot be reached
is named. (``storage.files`` lists what this project writes, and follows no link: it also deletes.)
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
"""In the reason of every link to nothing."""


@dataclass(frozen=True)
class File:
    """What a listing tells of a file."""

    bytes: int
    stamp: str
    """Changes with the content: the time it was modified, or the ETag in S3."""


@dataclass(frozen=True)
class Tree:
    """A data set's files."""

    files: dict[str, File] = field(default_factory=dict)
    """By their names relative to the root; sorted."""
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Names that are no file one could read, and why."""


def look(root: Path) -> Tree:
    """All files below a folder or an S3 prefix.

    Raises:
        UserError: no such folder, or one in it that cannot be read.
    """
    if not storage.is_remote(root):
        return _local(root)
    found = storage.objects(root)
    if not found:
        storage.sizes(root)  # says why
    return Tree(
        {name: File(int(info["size"]), str(info.get("ETag", ""))) for name, info in found.items()}
    )


def file(path: Path) -> File:
    """One file, or a folder of files as if it were one. Raises UserError."""
    if not storage.is_file(path):
        files = look(path).files
        stamps = "; ".join(f"{name} {of.bytes} {of.stamp}" for name, of in files.items())
        return File(sum(of.bytes for of in files.values()), stamps)
    if storage.is_remote(path):
        return look(path.parent).files[path.name]
    status = storage.explained("read", path, path.stat)
    return File(status.st_size, str(status.st_mtime_ns))


def _local(root: Path) -> Tree:
    if not storage.explained("read", root, root.is_dir):
        raise UserError(f"{root}: no such folder")
    files: dict[str, File] = {}
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[int, int], str] = {}
    # Folders by links come after the others, and hidden ones last: of two ways to one folder the
    # plain one counts. (A link may lead into .git/annex or .dvc/cache.)
    queue = [(False, False, "")]
    while queue:
        hidden, linked, where = heapq.heappop(queue)
        folder = root / where
        status = storage.explained("read", folder, folder.stat)
        place = status.st_dev, status.st_ino
        if place in seen:
            left_out.append((where, f"the same folder as {seen[place] or '.'}"))
            continue
        seen[place] = where
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
                files[name] = File(found.st_size, str(found.st_mtime_ns))
            elif not stat.S_ISDIR(found.st_mode):
                left_out.append((name, "neither a file nor a folder"))
            elif link and root.resolve().is_relative_to(Path(entry.path).resolve()):
                left_out.append((name, "a link to a folder that holds this data set: not followed"))
            else:
                hide = hidden or entry.name.startswith(".")
                heapq.heappush(queue, (hide, linked or link, name))
    return Tree(dict(sorted(files.items())), sorted(left_out))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _status(entry: os.DirEntry[str]) -> os.stat_result | str:
    """What an entry is, or why that cannot be known. Raises UserError if it is forbidden."""
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
