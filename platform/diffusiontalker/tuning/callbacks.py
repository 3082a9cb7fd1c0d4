"""Ray Tune callbacks: keep the trial store up to date and show progress."""

import sys
import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console
from rich.live import Live

from diffusiontalker.summary.sweep import Trial
from diffusiontalker.tuning.progress import SearchBudget, line, table
from diffusiontalker.tuning.trial_store import TRIAL, TrialStore


class LocalCallback(tune.Callback):
    """A callback without pickled state: Tune pickles its callbacks, and we never restore them."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SweepCallback(LocalCallback, tune.Stopper):
    """Updates the store after each epoch and shows progress; stops the sweep if saving fails.

    Args:
        store: updated.
        budget: of the search.
        save: called with a trial after each of its epochs, and again when it has ended.
        resumed: number of Tune's first trials that are in the store already.
    """

    def __init__(
        self, store: TrialStore, budget: SearchBudget, save: Callable[[Trial], None], resumed: int
    ) -> None:
        self.store, self.budget, self.save = store, budget, save
        self.offset = len(store.trials) - resumed
        self.since: dict[str, float] = {}
        self.error: Exception | None = None
        """Raised by ``save``. Tune would take an exception here for the failure of a trial."""
        self.console = Console(soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> "SweepCallback":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial, or a further attempt at one, begins."""
        self.since[trial.trial_id] = time.monotonic()
        found = self._find(trial)
        if found is None:
            # In the order of the suggestions, which is not that of the starts.
            number = self.offset + trials.index(trial)
            found = Trial(number=number, **trial.config[TRIAL])
            self.store.trials.append(found)
            self.store.trials.sort(key=lambda one: one.number)
        elif found.curve:
            self._print(f"trial {found.number:<4} resumes after epoch {found.epochs}")
        found.state = "running"
        self._save(found)
        self._refresh()

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any],
        **info: Any,
    ) -> None:  # fmt: skip
        """An epoch of a trial is done."""
        found = self._find(trial)
        if found is None or found.ended:
            return
        if "error" in result:
            found.error = str(result["error"])
        else:
            found.add(result)
        self._add_seconds(found, trial)
        self._save(found)
        self._refresh()

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has finished, or its scheduler has stopped it."""
        found = self._find(trial)
        if found is None:
            return
        if found.curve and found.result(self.budget.objective) is None:
            found.error = "its figures are not finite: training diverged"
        whole = found.epochs == self.budget.epochs
        failed = found.error or not found.curve
        found.state = "failed" if failed else "done" if whole else "pruned"
        self._end(found, trial)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has failed, and has no attempt left."""
        found = self._find(trial)
        if found is not None:
            text = str(trial.get_error() or "").strip() or "no reason given"
            found.error = text.splitlines()[-1]
            found.state = "failed"
            self._end(found, trial)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether Tune is to stop a trial: never, which is the scheduler's part."""
        return False

    def stop_all(self) -> bool:
        """Whether Tune is to stop everything."""
        return self.error is not None

    def _save(self, found: Trial) -> None:
        if self.error is not None:
            return  # Tune stops what runs: the store on disk stays at the last state that was saved
        try:
            self.save(found)
        except Exception as error:
            self.error = error

    def _find(self, trial: TuneTrial) -> Trial | None:
        return self.store.find(trial.config[TRIAL]["id"])

    def _add_seconds(self, found: Trial, trial: TuneTrial) -> None:
        """Add to the trial's seconds those since the last call."""
        now = time.monotonic()
        found.seconds += now - self.since.get(trial.trial_id, now)
        self.since[trial.trial_id] = now

    def _end(self, found: Trial, trial: TuneTrial) -> None:
        self._add_seconds(found, trial)
        self._save(found)
        if self.live is None:  # its table has the trial already
            self._print(line(found, self.store, self.budget))
        self._refresh()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def _refresh(self) -> None:
        if self.live is not None:
            self.live.update(table(self.store, self.budget), refresh=True)
