"""``comparison.json``: the papers' tables with measured figures, the source of every format."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from diffusiontalker import storage
from diffusiontalker.summary.run import Figure

COMPARISON = "comparison.json"
"""Its name in the output folder."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Estimate(_Part):
    """One metric of one row."""

    mean: Figure = None
    """Over the seeds."""
    spread: Figure = None
    """Standard deviation over the seeds; None for a single one."""
    published: Figure = None
    """By the paper, on its own data and hardware."""
    p: Figure = None
    """Of a paired test per clip against the table's reference (Wilcoxon's signed ranks on errors
    averaged over seeds, corrected for all tests of the table by Benjamini and Hochberg)."""


class ComparedRow(_Part):
    """One model, floor or group of clips."""

    name: str
    steps: int | None = None
    """Sampling steps."""
    seeds: int = 0
    """Trainings of it that were measured; 0: it is not trained."""
    clips: int | None = None
    """Clips of a group; None: those of the table."""
    figures: dict[str, Estimate]
    """By the key of a column."""


class ComparedTable(_Part):
    """One table on one split."""

    key: str
    title: str
    split: str
    clips: int | None
    reference: str | None
    """The row that others are tested against."""
    columns: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


class Comparison(_Part):
    """All of it."""

    paper: str
    preset: str
    seeds: int
    tables: tuple[ComparedTable, ...]
    corpus: dict[str, JsonValue] = {}
    environment: dict[str, JsonValue] = {}
    settings: dict[str, JsonValue] = {}
    seconds: dict[str, float] = {}
    """Wall seconds of each variant's stages, of all its seeds; stages that variants share count in
    each."""

    def write(self, folder: Path) -> None:
        """Write ``comparison.json`` into a folder. Raises UserError."""
        storage.write_json(folder / COMPARISON, self.model_dump(mode="json"))
