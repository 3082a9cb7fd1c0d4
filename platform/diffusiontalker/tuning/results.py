"""What a sweep writes at its end: the page, the summary, and the winner's configuration."""

import math
from pathlib import Path
from statistics import fmean

from rich.console import Console

from diffusiontalker import config, storage
from diffusiontalker.config import Settings, SweepSettings, to_yaml
from diffusiontalker.report.sweep.page import write_sweep
from diffusiontalker.summary.durations import clock
from diffusiontalker.summary.sweep import Finalist, SweepSummary, Trial
from diffusiontalker.tuning import progress, space, study
from diffusiontalker.tuning.trial_store import TrialStore

BEST = "best.yaml"
PAGE = "sweep.html"
SUMMARY = "sweep.json"


def write_results(sweep: SweepSettings, base: Settings, store: TrialStore, folder: Path) -> None:
    """Write ``BEST``, ``SUMMARY``, ``PAGE`` and the study. Raises UserError."""
    summary = summarise(sweep, base, store, importance=True)
    best = store.best(sweep.objectives)
    assert best is not None
    winner = winning_yaml(sweep, best, store)
    storage.write_bytes(folder / BEST, winner.encode())
    storage.write_json(folder / SUMMARY, summary.model_dump(mode="json"))
    write_sweep(folder / PAGE, summary, winner)
    study.StudyFile(sweep, folder).update(store)


def winning_yaml(sweep: SweepSettings, best: Trial, store: TrialStore) -> str:
    """The base's settings with those of the winner, as YAML for ``jobs/distill.py --config``.

    Without the sweep's changes: they make trials short, and the winner is to be trained in full.
    Its output is a folder of its own, so that nothing of the base's run is replaced.
    """
    own = {"output": str(storage.location(sweep.output) / "best")}
    settings = config.changed(config.load(sweep.base), {**best.params, **own}, "best")
    params = ", ".join(f"{name} = {value}" for name, value in best.params.items())
    head = f"{sweep.base} with what trial {best.number} of {len(store.trials)} found: {params}."
    lines = [head, "On validation:", *_comparison(sweep, best, store)]
    return "".join(f"# {line}\n" for line in lines) + to_yaml(settings)


def summarise(
    sweep: SweepSettings, base: Settings, store: TrialStore, importance: bool
) -> SweepSummary:
    """The summary of a sweep, with the ``importance`` of the settings, which takes seconds, or
    without it."""
    best, first = store.best(sweep.objectives), sweep.objectives[0]
    finalists = []
    for trial in store.finalists(sweep.objectives):
        seeds = store.confirmations_of(trial)
        losses = [trial.result(first), *(one.best[first] for one in seeds)]
        mean = fmean([loss for loss in losses if loss is not None])
        finalists.append(Finalist(number=trial.number, mean=mean, seeds=1 + len(seeds)))
    return SweepSummary(
        name=sweep.output,
        base=sweep.base,
        stage=sweep.stage,
        search=sweep.search,
        pruning=sweep.pruning,
        objectives=sweep.objectives,
        space=dict(sweep.space),
        default=space.defaults(sweep, base),
        trials=store.trials,
        importance=study.importance(sweep, store) if importance else {},
        best=best.id if best else None,
        pareto=study.pareto_front(sweep, store),
        wall_seconds=store.wall_seconds,
        slots=store.slots,
        finalists=finalists,
        confirmed=store.confirmations(sweep.objectives),
    )


def write_page(sweep: SweepSettings, base: Settings, store: TrialStore, folder: Path) -> None:
    """``sweep.html`` of a running sweep, without the importance."""
    write_sweep(folder / PAGE, summarise(sweep, base, store, importance=False), None)


def print_results(sweep: SweepSettings, store: TrialStore) -> None:
    """Print the best trials, how the winner compares with the base, and the paths of the files."""
    folder = storage.location(sweep.output)
    Console().print(progress.results(store, sweep.objectives))
    best = store.best(sweep.objectives)
    assert best is not None
    for line in _comparison(sweep, best, store):
        print(line)
    idle = store.idle_share
    share = "" if idle is None else f", {idle:.0%} of it not training"
    print(f"took         {clock(store.wall_seconds)}{share}")
    print(f"\npage         {folder / PAGE}\nwinner       {folder / BEST}")
    print(f"study        {folder / study.FILE}")


def _comparison(sweep: SweepSettings, best: Trial, store: TrialStore) -> list[str]:
    """The winner's objectives beside the base's, and the first of them with other seeds."""
    lines = [
        f"{name:<13}{_against(best.result(name), store.trials[0].result(name))}"
        for name in sweep.objectives
    ]
    name = sweep.objectives[0]
    for one in store.confirmations(sweep.objectives):
        lines.append(f"seed {one.seed:<8}{_against(one.best[name], one.default[name])}")
    return lines


def _against(winner: float | None, base: float | None) -> str:
    """The winner's value beside the base's."""
    shown = f"{math.inf if winner is None else winner:.4f}"
    if base is None:
        return f"{shown}; the base's own settings failed"
    change = f" ({winner / base - 1:+.1%})" if winner is not None and base else ""
    return f"{shown} against {base:.4f} of the base{change}"
