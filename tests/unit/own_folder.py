"""A folder of a user's own: its listing, labels and recordings, and files in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tests.sources_made import RATE, speech

from diffusiontalker.config import SourceSettings
from diffusiontalker.corpus.sources import Recording, TakeListing, open_source


def listed(root: Path, **options: Any) -> TakeListing:
    return open_source(SourceSettings(kind="folder", root=str(root), options=options)).takes()


def labels(root: Path, **options: Any) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {t.id: (t.identity, t.emotion, t.split) for t in listed(root, **options).takes}


def read(root: Path, name: str = "one", **options: Any) -> Recording:
    source = open_source(SourceSettings(kind="folder", root=str(root), options=options))
    return source.read(next(take for take in source.takes().takes if take.id == name))


def with_sound(root: Path, name: str, content: str | bytes = "") -> Path:
    """A file of coefficients, written as it stands, beside half a second of audio."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    soundfile.write(path.with_suffix(".wav"), speech(0.5), RATE)
    return path


def table(columns: Mapping[str, np.ndarray]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"
