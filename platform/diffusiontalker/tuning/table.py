"""A sweep in a terminal: the best so far, what runs, and the time left."""

import statistics
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker.training.progress import clock
from diffusiontalker.tuning.trial_store import Records, Trial

SHOWN = 5
"""Finished trials in the table."""


@dataclass(frozen=True)
class Progress:
    """What there is to come."""

    objectives: tuple[str, ...]
    trials: int
    epochs: int
    """Of a trial that nothing ends early."""
    slots: int
    """Trials at a time."""

    @property
    def objective(self) -> str:
        """The one that prunes."""
        return self.objectives[0]

    def left(self, records: Records) -> float | None:
        """Seconds left, at the pace so far; None before a trial has ended."""
        ended = [trial.seconds for trial in records.trials if trial.ended]
        if not ended:
            return None
        mean = statistics.mean(ended)
        running = records.in_state("running")
        started = sum(min(trial.seconds, mean) for trial in running)
        return max((self.trials - len(ended)) * mean - started, 0.0) / self.slots


def line(trial: Trial, records: Records, progress: Progress) -> str:
    """A trial that has ended, in a log."""
    ended = sum(one.ended for one in records.trials)
    best = records.best(progress.objectives)
    figures = ", ".join(f"{name} {_figure(trial, name)}" for name in progress.objectives)
    said = [f"trial {trial.number:<4} {trial.state:<7} {clock(trial.seconds)}, {figures}"]
    if best is not None:
        said.append(f"best {_figure(best, progress.objective)} (trial {best.number})")
    if trial.error:
        said.append(trial.error)
    left = progress.left(records)
    said.append(f"{ended} of {progress.trials}" + (f", {clock(left)} left" if left else ""))
    return "; ".join(said)


def table(records: Records, progress: Progress) -> Table:
    """The best trials, and those that run."""
    left = progress.left(records)
    counts = [
        f"{len(found)} {state}"
        for state in ("done", "pruned", "failed")
        if (found := records.in_state(state))
    ]
    ended = sum(trial.ended for trial in records.trials)
    title = f"{ended} of {progress.trials} trials" + (f" ({', '.join(counts)})" if counts else "")
    title += f", {clock(left)} left" if left else ""
    done = sorted(records.in_state("done"), key=lambda trial: trial.value(progress.objective))
    return _rows(title, [*done[:SHOWN], *records.in_state("running")], progress)


def results(records: Records, progress: Progress) -> Table:
    """The best trials of a finished sweep, and the base's own settings."""
    done = sorted(records.in_state("done"), key=lambda trial: trial.value(progress.objective))
    shown = done[:SHOWN] + [trial for trial in done[SHOWN:] if trial.number == 0]
    return _rows("The best on validation (trial 0: the base's own settings)", shown, progress)


def _rows(title: str, trials: list[Trial], progress: Progress) -> Table:
    out = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    out.add_column("Trial", justify="right")
    out.add_column("State")
    out.add_column("Epochs", justify="right")
    for name in progress.objectives:
        out.add_column(name, justify="right")
    out.add_column("Settings", overflow="fold")
    for trial in trials:
        reached = int(trial.curve[-1]["epochs"] or 0) if trial.curve else 0
        figures = [_figure(trial, name) for name in progress.objectives]
        settings = ", ".join(f"{key} {_short(value)}" for key, value in trial.params.items())
        out.add_row(str(trial.number), trial.state, str(reached), *figures, settings)
    return out


def _figure(trial: Trial, name: str) -> str:
    found = trial.curve[-1][name] if trial.curve else None
    return "–" if found is None else f"{found:.4f}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
