"""Which trials are ended early, also by a sweep that goes on, and how many run at once."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler
from tests.refusals import refusal
from tests.unit.sweeps import store, sweep, trial

from diffusiontalker.config import Settings, SweepSettings
from diffusiontalker.summary.sweep import Params
from diffusiontalker.training.ray_data import READER_CPUS
from diffusiontalker.tuning import schedulers
from diffusiontalker.tuning.trial_store import TrialStore, trial_config

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
EPOCHS = 9
OWN = {"losses.teacher.exp": 1.0, "losses.teacher.lip": 1.0}
OTHER = {"losses.teacher.exp": 5.0, "losses.teacher.lip": 1.0}
WAITING: Any = SimpleNamespace(get_live_trials=lambda: [SimpleNamespace(status="PENDING")])
"""Tune's side: another trial waits for its turn."""


class FakeTrial:
    """What a scheduler looks at of a trial."""

    def __init__(self, name: str, params: Params) -> None:
        self.trial_id, self.config = name, trial_config(name, params)


def decisions(
    scheduler: TrialScheduler, *energies: float, name: str = "new", params: Params = OTHER
) -> list[str]:
    """What is said after each epoch of a trial, until it is ended."""
    one: Any = FakeTrial(name, params)
    scheduler.on_trial_add(WAITING, one)
    said = []
    for epoch, energy in enumerate(energies, start=1):
        result = {"epochs": epoch, "energy_score": energy, "lbe": 1 - energy}
        said.append(scheduler.on_trial_result(WAITING, one, result))
        if said[-1] != CONTINUE:
            break
    return said


def made(known: TrialStore | None = None, **more: Any) -> TrialScheduler:
    return schedulers.scheduler(sweep(**more), EPOCHS, known or store(), OWN)


def past(*states: str) -> TrialStore:
    """Trials that had 0.1, 0.2 and so on, in each of three epochs."""
    return store(*(trial(n, *[0.1 * (n + 1)] * 3, state=state) for n, state in enumerate(states)))


# ended early


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_a_sweep_that_goes_on_ends_a_bad_trial_at_once(pruning: str) -> None:
    known = past("done", "pruned", "done")
    assert decisions(made(known, pruning=pruning), 0.9) == [STOP]
    assert decisions(made(known, pruning=pruning), 0.05) == [CONTINUE]
    assert decisions(made(pruning=pruning), 0.9) == [CONTINUE]  # it knows of no other


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_it_says_what_it_would_have_said_without_the_break(pruning: str) -> None:
    levels = (0.4, 0.3, 0.2, 0.1)  # each better than those before, so that none is ended
    through = made(pruning=pruning)
    for number, level in enumerate(levels):
        said = decisions(through, level, level, level, name=f"t{number}")
        assert said == [CONTINUE] * 3
    known = store(*(trial(n, level, level, level) for n, level in enumerate(levels)))
    broken_off = made(known, pruning=pruning)
    for number, energies in enumerate(([0.12, 0.3, 0.3], [0.3], [0.2, 0.15, 0.05], [0.05] * 3)):
        name = f"new{number}"
        said = decisions(broken_off, *energies, name=name)
        assert said == decisions(through, *energies, name=name)


def test_asha_compares_at_its_rungs() -> None:
    # Rungs at 1, 3 and 9; at each, of three trials the best goes on.
    found = made(pruning="asha")
    assert decisions(found, 0.3, 0.9, 0.3, name="a") == [CONTINUE] * 3
    assert decisions(found, 0.2, 0.9, 0.1, name="b") == [CONTINUE] * 3  # 0.9 between two rungs
    assert decisions(found, 0.1, 0.1, 0.2, name="c") == [CONTINUE, CONTINUE, STOP]
    assert decisions(found, 0.25, name="d") == [STOP]
    slow = made(pruning="asha", reduction=2)  # rungs at 1, 2, 4, 8
    assert decisions(slow, 0.3, 0.2, name="a") == [CONTINUE] * 2
    assert decisions(slow, 0.3, 0.3, name="b") == [CONTINUE, STOP]


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_nothing_ends_before_the_grace(pruning: str) -> None:
    known = past("done", "done", "done")
    assert decisions(made(known, pruning=pruning, grace=3), 0.9, 0.9, 0.9) == [
        CONTINUE, CONTINUE, STOP,
    ]  # fmt: skip


def test_a_grace_beyond_all_epochs_lets_every_trial_end() -> None:
    known = past("done", "done", "done")
    said = decisions(made(known, pruning="asha", grace=100), *[0.9] * EPOCHS)
    assert said[:-1] == [CONTINUE] * (EPOCHS - 1)


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_the_first_objective_decides(pruning: str) -> None:
    known = past("done", "done", "done")
    for one in known.trials:
        for point in one.curve:
            point.lbe = 0.5
    found = made(known, pruning=pruning, objectives=("lbe", "energy_score"))
    assert decisions(found, 0.9) == [CONTINUE]  # whose lbe is 0.1


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_only_ended_trials_with_figures_are_told_of(pruning: str) -> None:
    known = past("failed", "failed", "running", "running")
    known.trials.append(trial(4, None, None))
    assert decisions(made(known, pruning=pruning), 0.9) == [CONTINUE]


def test_without_pruning_all_go_on() -> None:
    known = past("done", "done", "done")
    assert decisions(made(known, pruning="none"), *[0.9] * EPOCHS) == [CONTINUE] * EPOCHS


def test_a_trial_is_never_paused() -> None:
    # As long as the median rule knows fewer than three others it would pause one for one that
    # waits, and a trial of ours does not know how to.
    found = made(pruning="median")
    for name in "abc":
        assert decisions(found, 0.5, 0.4, 0.3, name=name) == [CONTINUE] * 3
    assert decisions(found, 0.9, name="d") == [STOP]


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_the_base_comes_to_its_end_however_bad_it_is(pruning: str) -> None:
    found = made(past("done", "done", "done"), pruning=pruning)
    assert decisions(found, *[0.9] * EPOCHS, params=dict(OWN)) == [CONTINUE] * EPOCHS
    assert decisions(found, 0.95, name="next") == [STOP]


# how many at once


def settings(workers: int, **resources: Any) -> Settings:
    training = {"workers": workers}
    return Settings.model_validate(
        {"output": "runs/a", "training": training, "resources": resources}
    )


def at_once(cluster: dict[str, float], of: SweepSettings | None = None, **asked: Any) -> int:
    return schedulers.slots(of or sweep(trials=1000), settings(**asked), cluster)


@pytest.mark.parametrize(
    ("asked", "cluster", "slots"),
    [
        # Beside its workers a trial has half a CPU for its stream of data.
        ({"workers": 2, "worker_cpus": 0.5}, {"CPU": 2}, 1),
        ({"workers": 2, "worker_cpus": 0.5}, {"CPU": 16}, 10),
        ({"workers": 0, "worker_cpus": 0.5}, {"CPU": 2}, 2),
        ({"workers": 0, "worker_cpus": 1}, {"CPU": 2}, 1),
        ({"workers": 1, "worker_cpus": 0.3}, {"CPU": 2.4}, 3),  # to a computer a little less
        ({"workers": 1, "worker_cpus": 1, "gpu": True}, {"CPU": 16, "GPU": 4}, 4),
        ({"workers": 1, "worker_cpus": 1, "gpu": True}, {"CPU": 5, "GPU": 4}, 3),
        ({"workers": 2, "worker_cpus": 1, "gpu": True}, {"CPU": 64, "GPU": 5}, 2),
        ({"workers": 0, "worker_cpus": 1, "gpu": True}, {"CPU": 64, "GPU": 8}, 8),
        ({"workers": 1, "worker_cpus": 1}, {"CPU": 3, "GPU": 0, "memory": 1.0}, 2),
    ],
)
def test_slots(asked: dict[str, Any], cluster: dict[str, float], slots: int) -> None:
    assert at_once(cluster, **asked) == slots


def test_what_other_jobs_hold_is_not_counted_on() -> None:
    cluster, own = {"CPU": 16.0}, settings(workers=1, worker_cpus=1)
    for free, slots in ((16.0, 10), (6.0, 4), (0.5, 1)):
        assert schedulers.slots(sweep(trials=1000), own, cluster, {"CPU": free}) == slots


def test_fewer_may_be_asked_for_and_never_more_than_there_are_trials() -> None:
    cluster, asked = {"CPU": 16.0}, {"workers": 0, "worker_cpus": 0.5}
    assert at_once(cluster, sweep(concurrent=3), **asked) == 3
    assert at_once(cluster, sweep(concurrent=30), **asked) == 16
    assert at_once(cluster, sweep(trials=5), **asked) == 5
    assert at_once(cluster, sweep(trials=5, concurrent=2), **asked) == 2


@pytest.mark.parametrize(
    ("asked", "cluster", "line"),
    [
        (
            {"workers": 2, "worker_cpus": 1},
            {"CPU": 2},
            "a trial needs 2.5 CPU and the cluster holds 2; lower training.workers or "
            "resources.worker_cpus in changes, or add nodes",
        ),
        (
            {"workers": 2, "gpu": True},
            {"CPU": 16, "GPU": 1},
            "a trial needs 2 GPU and the cluster holds 1; lower training.workers or set "
            "resources.gpu: false in changes, or add nodes",
        ),
        (
            {"workers": 0, "gpu": True},
            {"CPU": 16},
            "a trial needs 1 GPU and the cluster holds 0; lower training.workers or set "
            "resources.gpu: false in changes, or add nodes",
        ),
    ],
)
def test_a_cluster_that_holds_none_is_refused(
    asked: dict[str, Any], cluster: dict[str, float], line: str
) -> None:
    assert refusal(lambda: at_once(cluster, **asked)) == line


@given(
    st.integers(0, 4),
    st.floats(0.1, 8),
    st.booleans(),
    st.integers(1, 200),
    st.integers(0, 16),
)
def test_what_all_slots_ask_for_fits_and_one_more_would_not(
    workers: int, cpus: float, gpu: bool, held: int, gpus: int
) -> None:
    of = settings(workers=workers, worker_cpus=cpus, gpu=gpu)
    own = schedulers.resources(of)
    need = {
        "CPU": own.get("CPU", 0.0) + workers * cpus + READER_CPUS,
        "GPU": own.get("GPU", 0.0) + gpu * workers,
    }
    cluster = {"CPU": float(held), "GPU": float(gpus)}

    def fits(count: int) -> bool:
        return all(count * need[kind] <= cluster[kind] + 1e-6 for kind in need)

    asked = {"workers": workers, **of.resources.model_dump()}
    if not fits(1):
        assert "the cluster holds" in refusal(lambda: at_once(cluster, **asked))
        return
    found = at_once(cluster, **asked)
    assert fits(found)
    assert not fits(found + 1)


def test_a_trial_whose_workers_ask_for_themselves_asks_for_next_to_nothing() -> None:
    assert schedulers.resources(settings(workers=2, gpu=True)) == {"memory": 1.0}
    assert schedulers.resources(settings(workers=0, worker_cpus=0.5)) == {"CPU": 0.5}
    assert schedulers.resources(settings(workers=0, gpu=True)) == {"CPU": 1.0, "GPU": 1.0}
