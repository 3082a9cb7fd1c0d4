"""Data sets that shards are made from: one module for each; ``open_source`` selects by kind."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from diffusiontalker import config, storage
from diffusiontalker.corpus.data_folder import FileInfo
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.errors import UserError

KINDS = {
    "beat": "diffusiontalker.corpus.sources.beat:Beat",
    "3d-etf": "diffusiontalker.corpus.sources.etf:Etf",
    "vocaset": "diffusiontalker.corpus.sources.vocaset:Vocaset",
    "folder": "diffusiontalker.corpus.sources.folder:Folder",
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
    changes: dict[str, Any] = {}
    if settings.root:
        changes["root"] = str(storage.location(settings.root))
    module, colon, name = settings.kind.partition(":")
    if module.endswith(".py"):
        changes["kind"] = f"{Path(module).absolute()}{colon}{name}"
    paths = {
        key: str(storage.location(value))
        for key, value in settings.options.items()
        if key in _class(settings.kind).paths and isinstance(value, str)
    }
    return settings.model_copy(update={**changes, "options": settings.options | paths})


def source_code(source: Source) -> dict[str, FileInfo]:
    """The files, by path, that define a source class outside of this package. Their stamp is a hash
    of the content, not a time: code is small, and often copied."""
    included = (__name__.partition(".")[0], "abc", "builtins")
    names = {cls.__module__ for cls in type(source).__mro__}
    modules = [sys.modules.get(name) for name in names if name.partition(".")[0] not in included]
    paths = sorted(path for module in modules if (path := getattr(module, "__file__", None)))
    contents = {path: storage.read_bytes(Path(path)) for path in paths}
    return {
        path: FileInfo(len(content), hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    }


def _class(kind: str) -> type[Source]:
    target = KINDS.get(kind, kind)
    module, colon, name = target.partition(":")
    if not colon:
        raise UserError(
            f"source.kind {kind!r}: known are {', '.join(KINDS)}, and your own as "
            "path/to/file.py:Class"
        )
    try:
        found = getattr(_module(module), name)
    except (ImportError, OSError, AttributeError, SyntaxError) as error:
        raise UserError(f"source.kind {kind!r}: cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise UserError(f"source.kind {kind!r}: is not a Source")
    return found


def _module(name: str) -> ModuleType:
    """A module by its name, or a Python file by its path."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(f"diffusiontalker_source_{Path(name).stem}", name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
