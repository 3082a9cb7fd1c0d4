"""Progress of a sweep in the terminal: the best so far, running trials, and the time left."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker.summary.durations import clock
from diffusiontalker.summary.sweep import Trial
from diffusiontalker.tuning.trial_store import TrialStore

SHOWN = 5
"""Finished trials in the table."""


@dataclass(frozen=True)
class SearchBudget:
    """How much a search trains."""

    objectives: tuple[str, ...]
    trials: int
    epochs: int
    """Of a trial that is not stopped early."""
    slots: int
    """Trials at a time."""

    @property
    def objective(self) -> str:
        """The one by which trials are pruned."""
        return self.objectives[0]

    def left(self, store: TrialStore) -> float | None:
        """Seconds left, estimated by the mean of the ended trials; None without any."""
        ended = [trial.seconds for trial in store.trials if trial.ended]
        if not ended:
            return None
        mean = statistics.mean(ended)
        running = store.in_state("running")
        started = sum(min(trial.seconds, mean) for trial in running)
        return max((self.trials - len(ended)) * mean - started, 0.0) / self.slots


def line(trial: Trial, store: TrialStore, budget: SearchBudget) -> str:
    """The log line of a trial that has ended."""
    ended = sum(one.ended for one in store.trials)
    best = store.best(budget.objectives)
    figures = ", ".join(f"{name} {_figure(trial, name)}" for name in budget.objectives)
    parts = [f"trial {trial.number:<4} {trial.state:<7} {clock(trial.seconds)}, {figures}"]
    if best is not None:
        parts.append(f"best {_figure(best, budget.objective)} (trial {best.number})")
    if trial.error:
        parts.append(trial.error)
    left = budget.left(store)
    parts.append(f"{ended} of {budget.trials}" + (f", {clock(left)} left" if left else ""))
    return "; ".join(parts)


def table(store: TrialStore, budget: SearchBudget) -> Table:
    """The best trials and the running ones."""
    left = budget.left(store)
    counts = [
        f"{len(found)} {state}"
        for state in ("done", "pruned", "failed")
        if (found := store.in_state(state))
    ]
    ended = sum(trial.ended for trial in store.trials)
    title = f"{ended} of {budget.trials} trials" + (f" ({', '.join(counts)})" if counts else "")
    title += f", {clock(left)} left" if left else ""
    done = sorted(store.in_state("done"), key=lambda trial: trial.loss(budget.objective))
    return _rows(title, [*done[:SHOWN], *store.in_state("running")], budget.objectives)


def results(store: TrialStore, objectives: Sequence[str]) -> Table:
    """The best trials of a finished sweep, and the base's own settings."""
    done = sorted(store.in_state("done"), key=lambda trial: trial.loss(objectives[0]))
    shown = done[:SHOWN] + [trial for trial in done[SHOWN:] if trial.number == 0]
    return _rows("The best on validation (trial 0: the base's own settings)", shown, objectives)


def _rows(title: str, trials: list[Trial], objectives: Sequence[str]) -> Table:
    out = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    out.add_column("Trial", justify="right")
    out.add_column("State")
    out.add_column("Epochs", justify="right")
    for name in objectives:
        out.add_column(name, justify="right")
    out.add_column("Settings", overflow="fold")
    for trial in trials:
        figures = [_figure(trial, name) for name in objectives]
        settings = ", ".join(f"{key} {_value(value)}" for key, value in trial.params.items())
        out.add_row(str(trial.number), trial.state, str(trial.epochs), *figures, settings)
    return out


def _figure(trial: Trial, name: str) -> str:
    found = trial.result(name)
    return "–" if found is None else f"{found:.4f}"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
