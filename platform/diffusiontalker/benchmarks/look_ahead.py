"""Cost of a shorter look-ahead: a teacher and its students are trained for several values."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import config
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.delivery import LOOK_AHEAD
from diffusiontalker.pipeline.evaluation import evaluate_all
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.pipeline.training import train_all
from diffusiontalker.stage_keys import look_ahead_key
from diffusiontalker.summary.run import LookAhead, LookAheadRow

VALUES: tuple[float | None, ...] = (0.0, 40.0, 80.0, 160.0, None)
"""Milliseconds; None: the whole recording."""
FIGURES = ("mbe", "lbe", "energy_score", "spread_upper")
FIELDS = {"split", "steps", *FIGURES}


def run(settings: Settings, values: Sequence[float | None] = VALUES) -> list[LookAheadRow]:
    """Distil a student for each look-ahead, measure it, and write ``look_ahead.json`` into the
    run's folder, from where the run's report takes it.

    Corpus, features and finished stages of the run are reused; an interrupted run resumes.

    Raises:
        UserError: as ``pipeline.distill.distill``.
    """
    if not settings.diffusion.rounds or settings.model.student.frozen_features:
        raise UserError(
            "look-ahead is that of a student which takes log-mel alone: name diffusion.rounds, and "
            "set model.student.frozen_features=false"
        )
    Run(settings).describe()  # from here on the folder is a run's
    rows: list[LookAheadRow] = []
    for ms in values:
        changes = {"model.shared.look_ahead_ms": ms}
        name = "the whole recording" if ms is None else f"{ms:g} ms"
        print(f"look-ahead   {name}", flush=True)
        one = Run(config.changed(settings, changes, "look-ahead"))
        data = prepare_data(one)
        models = train_all(one, data)
        rows += [
            LookAheadRow(look_ahead_ms=ms, **row.model_dump(include=FIELDS))
            for row in evaluate_all(one, data, models).rows
            if row.name == models[-1].name
        ]
        key = look_ahead_key(settings, corpus_content(data))
        LookAhead(key=key, rows=tuple(rows)).write(one.root / LOOK_AHEAD)
    return rows


def table(rows: Sequence[LookAheadRow]) -> Table:
    """One line per look-ahead and split."""
    out = Table(title="What look-ahead costs", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Split", "Look-ahead"):
        out.add_column(heading)
    for heading in FIGURES:
        out.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: row.split):
        ms = row.look_ahead_ms
        values = (getattr(row, key) for key in FIGURES)
        figures = ("–" if value is None else f"{value:.3f}" for value in values)
        out.add_row(row.split, "all" if ms is None else f"{ms:g} ms", *figures)
    return out
