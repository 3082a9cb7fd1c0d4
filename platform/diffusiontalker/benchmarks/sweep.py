"""A sweep beside its alternatives: what Optuna finds beyond chance, and what pruning saves."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import config, storage
from diffusiontalker.config import SweepBenchmarkSettings, SweepSettings
from diffusiontalker.environment import machine
from diffusiontalker.training.progress import clock
from diffusiontalker.tuning import space
from diffusiontalker.tuning import sweep as tuning
from diffusiontalker.tuning.trial_store import Records

Json = dict[str, Any]


def variants(settings: SweepBenchmarkSettings) -> dict[str, SweepSettings]:
    """The sweep as it is, and what differs in one respect each; all on one corpus. Raises
    UserError."""
    root = storage.location(settings.out) / "sweep"
    base = str(root / "base")
    own = config.load_as(config.SweepSettings, settings.sweep, [f"changes.output={base}"])
    told = {} if settings.trials is None else {"trials": settings.trials}

    def one(name: str, **other: str) -> SweepSettings:
        return config.changed(own, {"output": str(root / name), **told, **other}, name)

    found = {
        "as configured": one("configured"),
        "random search": one("random", search="random"),
        "no pruning": one("whole", pruning="none"),
    }
    for sweep in found.values():
        tuning.begin(sweep)
    return found


def run(settings: SweepBenchmarkSettings) -> Json:
    """Run all variants, or what a killed benchmark has left, and write ``sweep.json``. Raises
    UserError."""
    report: Json = {"machine": machine(("ray", "optuna")), "sweep": settings.sweep, "variants": {}}
    for name, sweep in variants(settings).items():
        print(f"variant      {name}", flush=True)
        report["variants"][name] = row(sweep, tuning.run(sweep))
    storage.write_json(storage.location(settings.out) / "sweep.json", report)
    return report


def row(sweep: SweepSettings, known: Records) -> Json:
    """What one sweep found and cost."""
    base = space.base_of(sweep)
    whole = space.epochs_in_all(base, space.stages_of(sweep, base))
    epochs = sum(len(trial.curve) for trial in known.trials)
    first = sweep.objectives[0]
    best, confirmed = known.best(sweep.objectives), known.confirmations(sweep.objectives)
    assert best is not None
    return {
        "objective": first,
        "default": known.trials[0].value(first),
        "best": best.value(first),
        "best_number": best.number,
        "confirmed": [one.best[first] / one.default[first] - 1 for one in confirmed],
        "states": {s: len(known.in_state(s)) for s in ("done", "pruned", "failed")},
        "seconds": known.wall_seconds,
        "not_training": known.idle,
        "epochs": epochs,
        "epochs_of_all": whole * len(known.trials),
    }


def table(report: Json) -> Table:
    """One line per variant."""
    rows: dict[str, Json] = report["variants"]
    out = Table(title=f"Sweeps of {report['sweep']}", title_justify="left", box=SIMPLE_HEAD)
    out.add_column("Variant")
    objective = next(iter(rows.values()))["objective"]
    for heading in (f"Best {objective}", "Against base", "Other seeds", "Trial", "Epochs", "Took"):
        out.add_column(heading, justify="right")
    out.add_column("Not training", justify="right")
    for name, one in rows.items():
        out.add_row(
            name,
            f"{one['best']:.4f}",
            f"{one['best'] / one['default'] - 1:+.1%}",
            ", ".join(f"{share:+.1%}" for share in one["confirmed"]) or "–",
            str(one["best_number"]),
            f"{one['epochs']} of {one['epochs_of_all']}",
            clock(one["seconds"]),
            f"{one['not_training']:.0%}",
        )
    return out
