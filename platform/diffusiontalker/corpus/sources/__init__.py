"""Where recordings come from. One file per data set; ``open_source`` finds it by its kind."""

import importlib
from pathlib import Path

from diffusiontalker import config, storage
from diffusiontalker.corpus.sources.base import Listing, Recording, Source, Take
from diffusiontalker.errors import UserError

KINDS = {
    "beat": "diffusiontalker.corpus.sources.beat:Beat",
    "3d-etf": "diffusiontalker.corpus.sources.etf:Etf",
    "vocaset": "diffusiontalker.corpus.sources.vocaset:Vocaset",
    "folder": "diffusiontalker.corpus.sources.folder:Folder",
}
"""The data sets that ship; any other is named as ``package.module:Class``."""

__all__ = ["KINDS", "Listing", "Recording", "Source", "Take", "open_source"]


def open_source(settings: config.SourceSettings) -> Source:
    """The source that ``settings`` describe, with its options checked.

    Raises:
        UserError: no such kind, an option it does not have, or no such folder.
    """
    target = KINDS.get(settings.kind, settings.kind)
    module, colon, name = target.partition(":")
    if not colon:
        raise UserError(
            f"source.kind {settings.kind!r}: known are {', '.join(KINDS)}, and your own as "
            "package.module:Class"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"source.kind {settings.kind!r}: cannot be imported ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, Source)):
        raise UserError(f"source.kind {settings.kind!r}: is not a Source")
    root: Path = storage.location(settings.root)
    return kind(root, config.check(kind.Options, settings.options, "source.options"))
