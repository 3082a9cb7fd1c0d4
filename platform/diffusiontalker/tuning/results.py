"""What a sweep leaves: the page, the summary, and the winner's settings to go on with."""

import math
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from diffusiontalker import config, storage
from diffusiontalker.config import Settings, SweepSettings, to_yaml
from diffusiontalker.report.sweep.page import write_sweep
from diffusiontalker.training.progress import clock
from diffusiontalker.tuning import space, study, table
from diffusiontalker.tuning.table import Progress
from diffusiontalker.tuning.trial_store import Records, Trial

BEST = "best.yaml"
PAGE = "sweep.html"
SUMMARY = "sweep.json"
Json = dict[str, Any]


def deliver(sweep: SweepSettings, base: Settings, known: Records, folder: Path) -> None:
    """The winning configuration, the summary and the page."""
    summary = summarise(sweep, base, known, True)
    best = known.best(sweep.objectives)
    assert best is not None
    winner = winning(sweep, best, known)
    storage.write_bytes(folder / BEST, winner.encode())
    storage.write_json(folder / SUMMARY, summary)
    write_sweep(folder / PAGE, summary, winner)
    study.Study(sweep, folder).update(known)


def winning(sweep: SweepSettings, best: Trial, known: Records) -> str:
    """The base's settings with those of the winner, as YAML for ``jobs/distill.py --config``.

    The sweep's changes are not in it: they make trials short, and the winner is to be trained in
    full. It has a folder of its own, so that nothing of the base's run is replaced.
    """
    own = {"output": str(storage.location(sweep.output) / "best")}
    settings = config.changed(config.load(sweep.base), {**best.params, **own}, "best")
    said = ", ".join(f"{name} = {value}" for name, value in best.params.items())
    head = f"{sweep.base} with what trial {best.number} of {len(known.trials)} found: {said}."
    lines = [head, "On validation:", *_found(sweep, best, known)]
    return "".join(f"# {line}\n" for line in lines) + to_yaml(settings)


def summarise(sweep: SweepSettings, base: Settings, known: Records, whole: bool) -> Json:
    """All that the page shows; ``whole`` with what costs seconds to compute."""
    best, first = known.best(sweep.objectives), sweep.objectives[0]
    return {
        "name": sweep.output,
        "base": sweep.base,
        "stage": sweep.stage,
        "search": sweep.search,
        "pruning": sweep.pruning,
        "objectives": list(sweep.objectives),
        "space": {name: spread.model_dump(mode="json") for name, spread in sweep.space.items()},
        "default": space.defaults(sweep, base),
        "trials": [
            {
                **one.model_dump(mode="json"),
                "curve": [{**point, "epoch": point["epochs"]} for point in one.curve],
                "training_seconds": one.training_seconds,
            }
            for one in known.trials
        ],
        "importance": study.importance(sweep, known) if whole else {},
        "best": best.id if best else None,
        "pareto": [one.id for one in known.front(sweep.objectives)],
        "wall_seconds": known.wall_seconds,
        "slots": known.slots,
        "finalists": [
            {
                "number": one.number,
                "mean": fmean([one.value(first), *(c.best[first] for c in seeds)]),
                "seeds": 1 + len(seeds),
            }
            for one in known.finalists(sweep.objectives)
            for seeds in [known.confirmations_of(one)]
        ],
        "confirmed": [one.model_dump() for one in known.confirmations(sweep.objectives)],
    }


def write_page(sweep: SweepSettings, base: Settings, known: Records, folder: Path) -> None:
    """``sweep.html`` of a sweep that goes on: without what costs seconds to compute."""
    write_sweep(folder / PAGE, summarise(sweep, base, known, False), None)


def conclude(sweep: SweepSettings, known: Records) -> None:
    """Print what people look for first: the winner, and where the results lie."""
    folder = storage.location(sweep.output)
    progress = Progress(sweep.objectives, sweep.trials, 0, known.slots)
    Console().print(table.results(known, progress))
    best = known.best(sweep.objectives)
    assert best is not None
    for line in _found(sweep, best, known):
        print(line)
    print(f"took         {clock(known.wall_seconds)}, {known.idle:.0%} of it not training")
    print(f"\npage         {folder / PAGE}\nwinner       {folder / BEST}")
    print(f"study        {folder / study.FILE}")


def _found(sweep: SweepSettings, best: Trial, known: Records) -> list[str]:
    """The winner's objectives beside the base's, and the first of them with other seeds."""
    lines = [
        f"{name:<13}{_against(best.value(name), known.trials[0].value(name))}"
        for name in sweep.objectives
    ]
    name = sweep.objectives[0]
    for one in known.confirmations(sweep.objectives):
        lines.append(f"seed {one.seed:<8}{_against(one.best[name], one.default[name])}")
    return lines


def _against(won: float, own: float) -> str:
    """The winner's figure beside the base's."""
    if not math.isfinite(own):
        return f"{won:.4f}; the base's own settings failed"
    return f"{won:.4f} against {own:.4f} of the base" + (f" ({won / own - 1:+.1%})" if own else "")
