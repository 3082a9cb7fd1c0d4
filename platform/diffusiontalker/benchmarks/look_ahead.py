"""What hearing less of the future costs: a teacher and its students for several look-aheads."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import config, pipeline, storage
from diffusiontalker.config import Settings
from diffusiontalker.stage_keys import look_ahead_key

VALUES: tuple[float | None, ...] = (0.0, 40.0, 80.0, 160.0, None)
"""Milliseconds; None: the whole recording."""
FIGURES = ("mbe", "lbe", "energy_score", "spread_upper")
Json = dict[str, Any]


def run(settings: Settings, values: Sequence[float | None] = VALUES) -> list[Json]:
    """Distil a student for each look-ahead, measure it, and write ``look_ahead.json`` into the
    run's folder, from where the run's report takes it.

    Corpus and features are those of the run, and so is what was trained there already. A killed one
    goes on where it was.

    Raises:
        UserError: as ``pipeline.distill``.
    """
    pipeline.Run(settings).describe()  # from here on the folder is a run's
    rows: list[Json] = []
    for ms in values:
        changes = {"model.shared.look_ahead_ms": ms}
        name = "the whole recording" if ms is None else f"{ms:g} ms"
        print(f"look-ahead   {name}", flush=True)
        one = pipeline.Run(config.changed(settings, changes, "look-ahead"))
        data = pipeline.prepare_data(one)
        models = pipeline.train_all(one, data)
        summary = pipeline.evaluate_all(one, data, models)
        rows += [
            {"look_ahead_ms": ms, **{key: row[key] for key in ("split", "steps", *FIGURES)}}
            for row in summary["rows"]
            if row["name"] == models[-1][0]
        ]
        found = {"key": look_ahead_key(settings, pipeline.identity(data)), "rows": rows}
        storage.write_json(one.root / pipeline.LOOK_AHEAD, found)
    return rows


def table(rows: Sequence[Json]) -> Table:
    """One line per look-ahead and split."""
    out = Table(title="What look-ahead costs", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Split", "Look-ahead"):
        out.add_column(heading)
    for heading in FIGURES:
        out.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: row["split"]):
        ms = row["look_ahead_ms"]
        figures = ("–" if row[key] is None else f"{row[key]:.3f}" for key in FIGURES)
        out.add_row(row["split"], "all" if ms is None else f"{ms:g} ms", *figures)
    return out
