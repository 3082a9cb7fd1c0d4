"""A small set in the layout of ``tests/own_source.py``, and its settings, source and takes."""

from pathlib import Path

from tests.sets import KIND, write_set

from diffusiontalker import config
from diffusiontalker.config import DataSettings
from diffusiontalker.corpus.ingest.batches import PlannedTake
from diffusiontalker.corpus.sources import Source, open_source


def write_own_set(folder: Path) -> Path:
    """The set in a folder of its own, with a file of no take."""
    root = write_set(folder / "set")
    (root / "notes.txt").write_text("mine")
    return root


def settings(root: Path, *overrides: str) -> DataSettings:
    keys = [f"source.kind={KIND}", f"source.root={root}", f"output={root.parent / 'out'}"]
    return config.load_data(None, [*keys, *overrides])


def source_of(root: Path) -> Source:
    return open_source(settings(root).source)


def items(root: Path) -> list[PlannedTake]:
    return [PlannedTake(take, "train") for take in source_of(root).takes().takes]
