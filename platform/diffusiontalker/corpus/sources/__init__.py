"""Data sets that shards are made from: one module for each; ``open_source`` selects by kind."""

import hashlib
import sys
from pathlib import Path
from typing import Any

from diffusiontalker import config, storage
from diffusiontalker.corpus.data_folder import FileInfo
from diffusiontalker.corpus.plugins import load_class, with_absolute_path
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.errors import UserError

KINDS = {
    "beat": "diffusiontalker.corpus.sources.beat:Beat",
    "3d-etf": "diffusiontalker.corpus.sources.etf:Etf",
    "vocaset": "diffusiontalker.corpus.sources.vocaset:Vocaset",
    "folder": "diffusiontalker.corpus.sources.folder:Folder",
    "speech": "diffusiontalker.corpus.sources.speech:Speech",
}
"""The data sets included; any other is given as ``path/to/file.py:Class`` or
``package.module:Class``."""

__all__ = [
    "KINDS", "Recording", "Source", "Take", "TakeListing", "open_source", "source_code",
    "with_absolute_paths",
]  # fmt: skip


def open_source(settings: config.SourceSettings) -> Source:
    """The source that ``settings`` describe, with its options checked.

    Raises:
        UserError: no such kind, an option it does not have, or no such folder.
    """
    kind = _class(settings.kind)
    if not settings.root:
        raise UserError("source.root is needed; give it in the file, or as source.root=...")
    root: Path = storage.location(settings.root)
    return kind(root, config.check(kind.Options, settings.options, "source.options"))


def with_absolute_paths(settings: config.SourceSettings) -> config.SourceSettings:
    """The same settings with absolute paths: workers have other working directories. Raises
    UserError."""
    changes: dict[str, Any] = {"kind": with_absolute_path(settings.kind)}
    if settings.root:
        changes["root"] = str(storage.location(settings.root))
    source, options = _class(settings.kind), dict(settings.options)
    for key, value in settings.options.items():
        if key in source.paths and isinstance(value, str):
            options[key] = str(storage.location(value))
        if key in source.plugins and isinstance(value, str):
            options[key] = with_absolute_path(value)
    return settings.model_copy(update={**changes, "options": options})


def source_code(source: Source) -> dict[str, FileInfo]:
    """The files, by path, that define a source's classes outside of this package. Their stamp is a
    hash of the content, not a time: code is small, and often copied."""
    included = (__name__.partition(".")[0], "abc", "builtins")
    classes = (type(source), *source.plugin_classes())
    names = {base.__module__ for cls in classes for base in cls.__mro__}
    modules = [sys.modules.get(name) for name in names if name.partition(".")[0] not in included]
    paths = sorted(path for module in modules if (path := getattr(module, "__file__", None)))
    contents = {path: storage.read_bytes(Path(path)) for path in paths}
    return {
        path: FileInfo(len(content), hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    }


def _class(kind: str) -> type[Source]:
    # Source is abstract, which a type variable's argument must not be for mypy.
    return load_class("source.kind", kind, KINDS, Source)  # type: ignore[type-abstract]
