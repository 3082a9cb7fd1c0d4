"""What is noted of the trials that Ray Tune runs, and what people see of them."""

import io
import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from rich.console import Console
from rich.table import Table
from tests.unit.sweeps import BASE, point, reported, store, sweep, trial

from diffusiontalker.summary.sweep import Confirmation, Params, Trial
from diffusiontalker.tuning import callbacks as module
from diffusiontalker.tuning import results as sweep_results
from diffusiontalker.tuning.callbacks import SweepCallback
from diffusiontalker.tuning.progress import SHOWN, SearchBudget, line, results, table
from diffusiontalker.tuning.trial_store import TrialStore, trial_config

EPOCHS = 3
OWN = {"losses.teacher.exp": 1.0}


class FakeTrial:
    """A trial of Ray Tune's, whose own id is none of ours where a sweep goes on."""

    def __init__(
        self, trial_id: str, params: Params | None = None, id: str | None = None
    ) -> None:  # fmt: skip
        self.trial_id = trial_id
        self.config = trial_config(
            id or trial_id, params or {"losses.teacher.exp": float(len(trial_id))}
        )
        self.error: str | None = None

    def get_error(self) -> str | None:
        return self.error


class Tune:
    """Ray Tune, as far as it calls back."""

    def __init__(self, watch: SweepCallback, clock: SimpleNamespace, *trials: FakeTrial) -> None:
        self.watch, self.clock, self.trials = watch, clock, list(trials)

    def start(self, one: FakeTrial) -> None:
        self._tell("on_trial_start", one)

    def epoch(self, one: FakeTrial, number: int, energy: float = 0.5, **more: Any) -> None:
        """Ten seconds later an epoch is done."""
        self.clock.seconds += 10
        result = {**reported(number, energy), "training_iteration": 1, **more}
        self._tell("on_trial_result", one, result=result)

    def complete(self, one: FakeTrial) -> None:
        self.clock.seconds += 1
        self._tell("on_trial_complete", one)

    def fail(self, one: FakeTrial, text: str | None) -> None:
        one.error = text
        self._tell("on_trial_error", one)

    def whole(self, one: FakeTrial, *energies: float) -> None:
        """A trial from its start to its end, of which Tune hears twice."""
        self.start(one)
        for number, energy in enumerate(energies, start=1):
            self.epoch(one, number, energy)
        self._tell(
            "on_trial_result", one, result={**reported(len(energies), energies[-1]), "done": True}
        )
        self.complete(one)

    def _tell(self, what: str, one: FakeTrial, **more: Any) -> None:
        getattr(self.watch, what)(iteration=0, trials=self.trials, trial=one, **more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


def budget(**more: Any) -> SearchBudget:
    return SearchBudget(**{
        "objectives": ("energy_score",), "trials": 4, "epochs": EPOCHS, "slots": 2, **more,
    })  # fmt: skip


def watching(known: TrialStore, first: int = 0) -> SweepCallback:
    """A watch whose ``keep`` does nothing; ``first`` are trials of an earlier session."""
    return SweepCallback(known, budget(), lambda one: None, first)


# states


def test_a_trial_that_comes_to_its_last_epoch_is_done(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a", {"losses.teacher.exp": 2.5, "model.teacher.decoder.kind": "gru"})
    Tune(watching(known), clock, one).whole(one, 0.5, 0.4, 0.3)
    [found] = known.trials
    assert found == Trial(
        id="a", number=0,
        params={"losses.teacher.exp": 2.5, "model.teacher.decoder.kind": "gru"}, state="done",
        curve=[point(1, 0.5), point(2, 0.4), point(3, 0.3)], seconds=31.0,
    )  # fmt: skip


def test_one_that_is_ended_before_is_pruned(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    assert known.in_state("running") == known.trials
    tune.epoch(one, 1)
    tune.epoch(one, 2)
    tune.complete(one)
    assert known.in_state("pruned") == known.trials
    assert known.trials[0].error is None


def test_one_that_is_ended_at_its_last_epoch_is_done(clock: SimpleNamespace) -> None:
    # ASHA ends every trial there, before its training could say that it is the end.
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    for epoch in (1, 2, 3):
        tune.epoch(one, epoch)
    tune.complete(one)
    assert known.trials[0].state == "done"


def test_the_users_mistake_fails_a_trial(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    tune.epoch(one, 0, math.inf, error="too few takes", done=True)
    tune.complete(one)
    [found] = known.trials
    assert (found.state, found.error, found.curve) == ("failed", "too few takes", [])


def test_a_diverged_trial_has_failed(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a")
    Tune(watching(known), clock, one).whole(one, 0.5, math.inf, math.inf)
    [found] = known.trials
    assert found.state == "failed"
    assert found.error == "its figures are not finite: training diverged"
    assert found.curve[1:] == [point(2, None), point(3, None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Traceback:\n  File a\nray.exceptions.WorkerCrashedError: lost\n", "lost"),
        (None, "no reason given"),
        ("", "no reason given"),
        ("\n", "no reason given"),
    ],
)
def test_one_that_is_lost_for_good_has_failed(
    clock: SimpleNamespace, text: str | None, said: str
) -> None:
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    tune.epoch(one, 1)
    tune.fail(one, text)
    [found] = known.trials
    assert found.state == "failed"
    assert found.error is not None
    assert found.error.endswith(said)
    assert "\n" not in found.error


def test_a_trial_that_is_tried_again_keeps_its_curve(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    tune.epoch(one, 1, 0.5)
    tune.epoch(one, 2, 0.4)
    clock.seconds += 1000  # lost, and after a while begun again where its checkpoint is
    tune.start(one)
    assert known.trials[0].state == "running"
    tune.epoch(one, 2, 0.45)
    tune.epoch(one, 3, 0.3)
    tune.complete(one)
    [found] = known.trials
    assert found.state == "done"
    assert found.curve == [point(1, 0.5), point(2, 0.45), point(3, 0.3)]
    assert found.seconds == 41.0  # of which nothing passed while there was none


def test_after_its_end_a_trial_does_not_change(clock: SimpleNamespace) -> None:
    known = store()
    one = FakeTrial("a")
    tune = Tune(watching(known), clock, one)
    tune.start(one)
    tune.epoch(one, 1)
    tune.complete(one)
    before = known.trials[0].model_copy(deep=True)
    tune.epoch(one, 2)
    assert known.trials[0] == before


# numbers


def test_numbers_follow_the_suggestions_not_the_starts(clock: SimpleNamespace) -> None:
    known = store()
    one, two, three = (FakeTrial(name) for name in ("a", "b", "c"))
    tune = Tune(watching(known), clock, one, two, three)
    for starting in (two, three, one):
        tune.start(starting)
    assert [(found.id, found.number) for found in known.trials] == [("a", 0), ("b", 1), ("c", 2)]


def test_a_sweep_that_goes_on_counts_on(clock: SimpleNamespace) -> None:
    # Of three trials the last two were running: they come first again, under other names.
    known = store(
        trial(0, 0.5, 0.4, 0.3, params={"losses.teacher.exp": 1.0}),
        trial(1, 0.4, params={"losses.teacher.exp": 2.0}, state="running"),
        trial(2, params={"losses.teacher.exp": 3.0}, state="running"),
    )
    again = [
        FakeTrial("x", {"losses.teacher.exp": 2.0}, "t1"),
        FakeTrial("y", {"losses.teacher.exp": 3.0}, "t2"),
        FakeTrial("z", {"losses.teacher.exp": 4.0}), FakeTrial("w", {"losses.teacher.exp": 5.0}),
    ]  # fmt: skip
    tune = Tune(watching(known, first=2), clock, *again)
    for one in (again[1], again[0], again[3], again[2]):
        tune.start(one)
    assert [(found.id, found.number) for found in known.trials] == [
        ("t0", 0), ("t1", 1), ("t2", 2), ("z", 3), ("w", 4),
    ]  # fmt: skip
    tune.epoch(again[0], 2, 0.35)
    assert known.trials[1].curve == [point(1, 0.4), point(2, 0.35)]
    assert known.trials[1].seconds == 12.0 + 10.0
    assert known.trials[1].params == {"losses.teacher.exp": 2.0}


def test_the_same_settings_again_are_a_trial_of_their_own(clock: SimpleNamespace) -> None:
    same = {"losses.teacher.exp": 2.0}
    known = store(trial(0, 0.4, params=same, state="running"))
    left, later = FakeTrial("x", same, "t0"), FakeTrial("y", same)
    tune = Tune(watching(known, first=1), clock, left, later)
    tune.start(left)
    tune.start(later)
    tune.epoch(later, 1, 0.7)
    tune.epoch(left, 2, 0.3)
    assert [(found.id, found.params, found.curve) for found in known.trials] == [
        ("t0", same, [point(1, 0.4), point(2, 0.3)]), ("y", same, [point(1, 0.7)]),
    ]  # fmt: skip


# keeping


def test_every_epoch_and_the_end_are_kept(clock: SimpleNamespace) -> None:
    kept: list[tuple[str, str, int]] = []
    known = store()
    watch = watching(known)
    watch.save = lambda found: kept.append((found.id, found.state, len(found.curve)))
    one = FakeTrial("a")
    tune = Tune(watch, clock, one)
    tune.start(one)
    tune.epoch(one, 1)
    tune.epoch(one, 2)
    tune.complete(one)
    assert kept == [
        ("a", "running", 0), ("a", "running", 1), ("a", "running", 2), ("a", "pruned", 2),
    ]  # fmt: skip


def test_what_cannot_be_kept_ends_the_sweep(clock: SimpleNamespace) -> None:
    full = OSError("the disk is full")
    kept: list[str] = []

    def keep(found: Trial) -> None:
        kept.append(found.state)
        if len(kept) == 2:
            raise full

    watch = watching(store())
    watch.save = keep
    one = FakeTrial("a")
    tune = Tune(watch, clock, one)
    tune.start(one)
    assert not watch.stop_all()
    tune.epoch(one, 1)
    assert watch.stop_all()
    assert watch.error is full
    # Tune now ends what runs; on disk it stays as it was, to go on from.
    tune.complete(one)
    assert kept == ["running", "running"]
    assert not watch("a", {})


def test_tune_writes_nothing_of_it_down() -> None:
    # Tune pickles its callbacks beside its own state; nobody reads them back.
    watch = watching(store(trial(0, 0.5)))
    assert vars(cloudpickle.loads(cloudpickle.dumps(watch))) == {}


# what people see


def test_a_log_has_a_line_for_each_trial(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    known = store()
    trials = [FakeTrial(name) for name in ("a", "b", "c")]
    with watching(known) as watch:
        tune = Tune(watch, clock, *trials)
        tune.whole(trials[0], 0.5, 0.4, 0.3)
        tune.start(trials[1])
        tune.epoch(trials[1], 1, 0.6)
        tune.complete(trials[1])
        tune.start(trials[2])
        tune.epoch(trials[2], 0, math.inf, error="[too] few takes", done=True)
        tune.complete(trials[2])
    assert capsys.readouterr().out.splitlines() == [
        "trial 0    done    31 s, energy_score 0.3000; best 0.3000 (trial 0); 1 of 4, 46 s left",
        "trial 1    pruned  11 s, energy_score 0.6000; best 0.3000 (trial 0); 2 of 4, 21 s left",
        "trial 2    failed  11 s, energy_score –; best 0.3000 (trial 0); [too] few takes; 3 of 4, "
        "9 s left",
    ]


def test_a_log_says_that_a_trial_goes_on(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    one = FakeTrial("a")
    tune = Tune(watching(store()), clock, one)
    tune.start(one)
    tune.start(one)  # lost before its first epoch: there is nothing to go on from
    assert capsys.readouterr().out == ""
    tune.epoch(one, 1)
    tune.epoch(one, 2)
    tune.start(one)
    assert capsys.readouterr().out == "trial 0    resumes after epoch 2\n"


def test_a_line_of_two_objectives_before_any_has_finished() -> None:
    early = trial(1, 0.4, state="pruned")
    known = store(trial(0, state="running"), early)
    both = budget(objectives=("lbe", "energy_score"))
    assert line(early, known, both).startswith(
        "trial 1    pruned  12 s, lbe 0.0500, energy_score 0.4000; 1 of 4, "
    )


def test_time_left() -> None:
    assert budget().left(store(trial(0, 0.5, state="running", seconds=500.0))) is None
    known = store(
        trial(0, 0.5, seconds=10.0),
        trial(1, 0.5, seconds=20.0, state="pruned"),
        trial(2, 0.5, seconds=5.0, state="running"),
        trial(3, 0.5, seconds=40.0, state="running"),  # long over the mean: as good as done
    )
    # Eight more at 15 s each, less 5 s and 15 s, two at a time.
    assert budget(trials=10).left(known) == (8 * 15 - 5 - 15) / 2
    assert budget(trials=2).left(known) == 0.0


def shown(of: Table) -> list[str]:
    """Lines of a table in a wide terminal, with single spaces."""
    text = io.StringIO()
    Console(file=text, width=200).print(of)
    return [" ".join(row.split()) for row in text.getvalue().splitlines() if row.strip(" ─")]


def test_the_table_has_the_best_and_what_runs() -> None:
    finished = [
        trial(n, 0.9 - n / 10, params={"losses.teacher.exp": n + 0.123456}) for n in range(7)
    ]
    known = store(
        *finished,
        trial(7, 0.01, state="pruned"),
        trial(8, state="failed"),
        trial(
            9,
            0.8,
            None,
            state="running",
            params={"losses.teacher.exp": 2.0, "model.teacher.decoder.kind": "gru"},
        ),
        trial(10, state="running"),
    )
    lines = shown(table(known, budget(trials=20)))
    assert lines[0].startswith("9 of 20 trials (7 done, 1 pruned, 1 failed), ")
    assert lines[0].endswith(" left")
    assert lines[1] == "Trial State Epochs energy_score Settings"
    assert lines[2 : 2 + SHOWN] == [
        f"{n} done 1 {0.9 - n / 10:.4f} losses.teacher.exp {n}.12" for n in (6, 5, 4, 3, 2)
    ]
    assert lines[2 + SHOWN :] == [
        "9 running 2 – losses.teacher.exp 2, model.teacher.decoder.kind gru",
        "10 running 0 – losses.teacher.exp 11, losses.teacher.lip 1",
    ]


def test_the_table_of_a_sweep_that_has_just_begun() -> None:
    assert shown(table(store(), budget()))[0] == "0 of 4 trials"


def test_the_results_always_show_the_base() -> None:
    finished = [trial(n, 0.9 - n / 10) for n in range(7)]
    rows = shown(results(store(*finished, trial(7, 0.01, state="pruned")), ["energy_score"]))[2:]
    assert [row.split()[0] for row in rows] == ["6", "5", "4", "3", "2", "0"]
    rows = shown(results(store(*finished[:3]), ["energy_score"]))[2:]
    assert [row.split()[0] for row in rows] == ["2", "1", "0"]


def test_a_terminal_has_a_live_table(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    one = FakeTrial("a", OWN)
    with watching(store()) as watch:
        Tune(watch, clock, one).whole(one, 0.5, 0.4, 0.3)
    text = capsys.readouterr().out
    assert "1 of 4 trials (1 done)" in text
    assert "trial 0    done" not in text  # no lines beside it


# the end


def concluded(known: TrialStore, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is printed below the table at the end of a sweep."""
    sweep_results.print_results(sweep(output="runs/of"), known)
    printed = capsys.readouterr().out.splitlines()
    return printed[printed.index(next(row for row in printed if row.startswith("energy_score "))) :]


def again(winner: str, own: float, won: float) -> Confirmation:
    return Confirmation(
        trial=winner, seed=43, default={"energy_score": own}, best={"energy_score": won}
    )


def test_the_winner_is_told_beside_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    known = store(
        trial(0, 0.5), trial(1, 0.4), confirmed=[again("t1", 0.4, 0.5)],
    )  # fmt: skip
    assert concluded(known, capsys)[:2] == [
        "energy_score 0.4000 against 0.5000 of the base (-20.0%)",
        "seed 43      0.5000 against 0.4000 of the base (+25.0%)",
    ]


@pytest.mark.parametrize("figures", [(), (0.5, None)])
def test_a_base_that_failed_has_no_figures(
    capsys: pytest.CaptureFixture[str], figures: tuple[float | None, ...]
) -> None:
    known = store(
        trial(0, *figures, state="failed"), trial(1, 0.4, params={"losses.teacher.exp": 2.0})
    )
    assert concluded(known, capsys)[0] == ("energy_score 0.4000; the base's own settings failed")
    head = sweep_results.winning_yaml(sweep(), known.trials[1], known).splitlines()[:2]
    assert head == [
        f"# {BASE} with what trial 1 of 2 found: losses.teacher.exp = 2.0.",
        "# On validation:",
    ]
