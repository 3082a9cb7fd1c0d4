"""A sweep against random search and against no pruning."""

from typing import Any

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import config, storage
from diffusiontalker.config import SweepBenchmarkSettings, SweepSettings
from diffusiontalker.environment import machine
from diffusiontalker.report.sweep.trials import relative_change
from diffusiontalker.report.wording import DASH
from diffusiontalker.summary.durations import clock
from diffusiontalker.summary.run import Figure
from diffusiontalker.tuning import space
from diffusiontalker.tuning import sweep as tuning
from diffusiontalker.tuning.trial_store import TrialStore


class Comparison(BaseModel):
    """The result and the cost of one sweep."""

    objective: str
    default: Figure
    best: Figure
    best_number: int
    confirmed: list[float | None]
    """Relative change from the default to the best, by further seed."""
    states: dict[str, int]
    seconds: float
    not_training: float | None
    """Share of the slots' time."""
    epochs: int
    epochs_of_all: int
    """Without pruning."""


class Report(BaseModel):
    """``sweep.json`` of the benchmark."""

    machine: dict[str, Any]
    sweep: str
    """The configuration."""
    variants: dict[str, Comparison]


def variants(settings: SweepBenchmarkSettings) -> dict[str, SweepSettings]:
    """The sweep as configured, and variants that differ in one setting; all on one corpus. Raises
    UserError."""
    root = storage.location(settings.out) / "sweep"
    base = str(root / "base")
    own = config.load_as(config.SweepSettings, settings.sweep, [f"changes.output={base}"])
    trials = {} if settings.trials is None else {"trials": settings.trials}

    def one(name: str, **other: str) -> SweepSettings:
        return config.changed(own, {"output": str(root / name), **trials, **other}, name)

    found = {
        "as configured": one("configured"),
        "random search": one("random", search="random"),
        "no pruning": one("whole", pruning="none"),
    }
    for sweep in found.values():
        tuning.begin(sweep)
    return found


def run(settings: SweepBenchmarkSettings) -> Report:
    """Run the variants, or what is left of them, and write ``sweep.json``. Raises UserError."""
    rows = {}
    for name, sweep in variants(settings).items():
        print(f"variant      {name}", flush=True)
        rows[name] = row(sweep, tuning.run(sweep))
    report = Report(machine=machine(("ray", "optuna")), sweep=settings.sweep, variants=rows)
    storage.write_json(
        storage.location(settings.out) / "sweep.json", report.model_dump(mode="json")
    )
    return report


def row(sweep: SweepSettings, store: TrialStore) -> Comparison:
    """The result and the cost of one sweep."""
    base = space.base_of(sweep)
    whole = space.epochs_in_all(base, space.stages_of(sweep, base))
    first = sweep.objectives[0]
    best, confirmed = store.best(sweep.objectives), store.confirmations(sweep.objectives)
    assert best is not None
    return Comparison(
        objective=first,
        default=store.trials[0].result(first),
        best=best.result(first),
        best_number=best.number,
        confirmed=[relative_change(one.default[first], one.best[first]) for one in confirmed],
        states={state: len(store.in_state(state)) for state in ("done", "pruned", "failed")},
        seconds=store.wall_seconds,
        not_training=store.idle_share,
        epochs=sum(len(trial.curve) for trial in store.trials),
        epochs_of_all=whole * len(store.trials),
    )


def table(report: Report) -> Table:
    """One line per variant."""
    rows = report.variants
    out = Table(title=f"Sweeps of {report.sweep}", title_justify="left", box=SIMPLE_HEAD)
    out.add_column("Variant")
    objective = next(iter(rows.values())).objective
    for heading in (f"Best {objective}", "Against base", "Other seeds", "Trial", "Epochs", "Took"):
        out.add_column(heading, justify="right")
    out.add_column("Not training", justify="right")
    for name, one in rows.items():
        out.add_row(
            name,
            _shown(one.best, "{:.4f}"),
            _shown(relative_change(one.default, one.best), "{:+.1%}"),
            ", ".join(_shown(change, "{:+.1%}") for change in one.confirmed) or DASH,
            str(one.best_number),
            f"{one.epochs} of {one.epochs_of_all}",
            clock(one.seconds),
            _shown(one.not_training, "{:.0%}"),
        )
    return out


def _shown(value: float | None, form: str) -> str:
    return DASH if value is None else form.format(value)
