"""What Ray Tune tells of trials: noted at once, and shown while it goes on."""

import sys
import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console
from rich.live import Live

from diffusiontalker.tuning.table import Progress, line, table
from diffusiontalker.tuning.trial_store import TRIAL, Records, Trial


class Local(tune.Callback):
    """A callback of this process alone: Tune writes its callbacks down, and we never read them."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Watch(Local, tune.Stopper):
    """Keeps the records and shows them; ends the sweep when they cannot be kept.

    Args:
        records: noted into.
        progress: how many trials there will be, how long each, and how many at once.
        first: of the trials that Tune begins with, those that the records know already.
        keep: called with a trial after each of its epochs, and again when it has ended.
    """

    def __init__(
        self, records: Records, progress: Progress,
        keep: Callable[[Trial], None], first: int,
    ) -> None:  # fmt: skip
        self.records, self.progress, self.keep = records, progress, keep
        self.offset = len(records.trials) - first
        self.since: dict[str, float] = {}
        self.broken: Exception | None = None
        """Why nothing can be kept any more. Tune would take it for the failure of a trial."""
        self.console = Console(soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> "Watch":
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
            # In the order of their suggestion, which is not that of their start.
            number = self.offset + trials.index(trial)
            found = Trial(number=number, **trial.config[TRIAL])
            self.records.trials.append(found)
            self.records.trials.sort(key=lambda one: one.number)
        elif found.curve:
            self._say(f"trial {found.number:<4} resumes after epoch {found.curve[-1]['epochs']:g}")
        found.state = "running"
        self._keep(found)
        self._show()

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
        self._count(found, trial)
        self._keep(found)
        self._show()

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has come to its end, or its scheduler has ended it."""
        found = self._find(trial)
        if found is None:
            return
        last = found.curve[-1] if found.curve else None
        whole = last is not None and last["epochs"] == self.progress.epochs
        if last is not None and last[self.progress.objective] is None:
            found.error = "its figures are not finite: training diverged"
        found.state = "failed" if found.error or last is None else "done" if whole else "pruned"
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
        """Tune asks whether a trial is to end: its scheduler knows."""
        return False

    def stop_all(self) -> bool:
        """Tune asks whether all is to end."""
        return self.broken is not None

    def _keep(self, found: Trial) -> None:
        if self.broken is not None:
            return  # Tune ends what runs: on disk it goes on from where it was
        try:
            self.keep(found)
        except Exception as error:
            self.broken = error

    def _find(self, trial: TuneTrial) -> Trial | None:
        return self.records.find(trial.config[TRIAL]["id"])

    def _count(self, found: Trial, trial: TuneTrial) -> None:
        """Add to the trial's seconds what has passed since the last time."""
        now = time.monotonic()
        found.seconds += now - self.since.get(trial.trial_id, now)
        self.since[trial.trial_id] = now

    def _end(self, found: Trial, trial: TuneTrial) -> None:
        self._count(found, trial)
        self._keep(found)
        if self.live is None:  # which shows it all the time
            self._say(line(found, self.records, self.progress))
        self._show()

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def _show(self) -> None:
        if self.live is not None:
            self.live.update(table(self.records, self.progress), refresh=True)
