"""What a sweep knows of its trials: kept as it is, compared as it should be."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import refusal
from tests.unit.sweeps import KEY, point, reported, store, sweep, trial

from diffusiontalker.summary.sweep import METRICS, Confirmation, Trial
from diffusiontalker.tuning import study
from diffusiontalker.tuning import trial_store as module
from diffusiontalker.tuning.trial_store import FILE, TrialStore

BOTH = ("energy_score", "lbe")


def pair(number: int, energy: float | None, lbe: float | None, state: str = "done") -> Trial:
    """A trial of one epoch with these two figures."""
    return trial(number, state=state).model_copy(update={"curve": [point(1, energy, lbe=lbe)]})


# on disk


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    known = store(
        trial(
            0, 0.3, None, 0.1,
            params={"losses.teacher.exp": 0.1 + 0.2, "model.teacher.decoder.kind": "tcn"},
        ),
        trial(
            1, 0.2, state="pruned",
            params={"model.shared.audio_dim": 8, "model.teacher.log_mel": True},
        ),
        trial(2, state="failed", error="its figures are not finite"),
        trial(3, state="running"),
        confirmed=[Confirmation(trial="t0", seed=3, default={"lbe": 0.5}, best={"lbe": 0.25})],
        wall_seconds=12.5,
        slots=3,
    )  # fmt: skip
    known.write(tmp_path)
    again = module.read(tmp_path, KEY)
    assert again == known
    values = [value for one in again.trials for value in one.params.values()]
    assert [type(value) for value in values[:4]] == [float, str, int, bool]
    assert values[0] == 0.1 + 0.2  # to the last bit: it is drawn again from here


def test_a_file_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    known = store(trial(0, 0.3, None), confirmed=[confirmed("t0", 3)])
    content = known.model_dump(mode="json")
    for one in content["trials"]:
        del one["training_seconds"]
        for epoch in one["curve"]:
            del epoch["epoch"]
            epoch["epochs"] = float(epoch["epochs"])
    (tmp_path / FILE).write_text(json.dumps(content))
    assert module.read(tmp_path, KEY) == known


def test_a_folder_without_trials_begins_a_sweep(tmp_path: Path) -> None:
    assert module.read(tmp_path / "new", KEY) == TrialStore(key=KEY)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    store(trial(0, None)).write(tmp_path)
    text = (tmp_path / FILE).read_text()
    assert json.loads(text)["trials"][0]["curve"][0]["energy_score"] is None
    assert not {"NaN", "Infinity"} & set(text.replace(",", " ").split())


def test_another_sweep_is_left_alone(tmp_path: Path) -> None:
    store(trial(0, 0.1)).write(tmp_path)
    assert refusal(lambda: module.read(tmp_path, "another")) == (
        f"{tmp_path}: holds a sweep of another base, space, stage or objectives; give this one "
        "another output=..., or remove that folder"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is no JSON"),
        ("", "it is no JSON"),
        ("[]", "not the trials of a sweep"),
        ('{"trials": []}', "not the trials of a sweep"),
        ('{"key": "k", "trials": [{"id": "a"}]}', "not the trials of a sweep"),
        ('{"key": "k", "wall_seconds": -1}', "not the trials of a sweep"),
        (
            '{"key": "k", "trials": [{"id": "a", "number": 0, "params": {}, "state": "lost"}]}',
            "not the trials of a sweep",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FILE).write_text(text)
    message = refusal(lambda: module.read(tmp_path, "k"))
    assert message.startswith(f"{tmp_path / FILE}: ")
    assert said in message
    if said == "not the trials of a sweep":
        assert message == (
            f"{tmp_path / FILE}: not the trials of a sweep; remove {tmp_path} to start again"
        )


# a trial's curve


def test_epochs_are_kept_in_order_and_one_that_comes_again_gives_way() -> None:
    one = Trial(id="a", number=0, params={})
    for epoch, energy in ((1, 0.5), (3, 0.3), (2, 0.4), (3, 0.2)):
        one.add({**reported(epoch, energy), "val_loss": 9.0, "training_iteration": 7})
    assert one.curve == [point(1, 0.5), point(2, 0.4), point(3, 0.2)]
    assert one.loss("energy_score") == 0.2
    assert one.training_seconds == 30.0  # not 40: what was trained twice counts once


def test_what_is_not_finite_is_infinitely_bad() -> None:
    one = Trial(id="a", number=0, params={})
    assert one.loss("lbe") == math.inf
    one.add({**reported(1, math.inf, lbe=math.nan), "upper_energy": "lost"})
    assert one.curve == [point(1, None, lbe=None, upper_energy=None)]
    assert [one.loss(name) for name in METRICS] == [math.inf] * len(METRICS)


def test_a_trial_has_ended_when_nothing_more_will_come() -> None:
    ended = {
        state: trial(0, state=state).ended for state in ("running", "done", "pruned", "failed")
    }
    assert ended == {"running": False, "done": True, "pruned": True, "failed": True}


# the best


def test_best_of_one_objective_is_the_smallest_that_finished() -> None:
    known = store(
        trial(0, 0.30, 0.20),
        trial(1, 0.10, 0.19),
        trial(2, 0.01, 0.18, state="pruned"),  # better, but not to the end
        trial(3, 0.17, state="running"),
        trial(4, 0.16, state="failed"),
        trial(5, 0.01, 0.21),  # its last epoch counts
    )
    best = known.best(["energy_score"])
    assert best is not None
    assert best.number == 1


def test_best_of_two_is_weighed_by_the_base() -> None:
    base = pair(0, energy=0.1, lbe=1.0)
    # Sums of shares: 2; 0.8 + 1.1 = 1.9; 1.3 + 0.5 = 1.8; in plain numbers the last would lose.
    known = store(base, pair(1, energy=0.08, lbe=1.1), pair(2, energy=0.13, lbe=0.5))
    best = known.best(BOTH)
    assert best is not None
    assert best.number == 2
    small = store(base, pair(1, energy=0.04, lbe=1.1), pair(2, energy=0.13, lbe=0.5))
    best = small.best(BOTH)
    assert best is not None
    assert best.number == 1  # 0.4 + 1.1 against 1.3 + 0.5


def test_where_the_base_failed_the_plain_sum_decides() -> None:
    broken = trial(0, state="failed")
    known = store(broken, pair(1, energy=0.3, lbe=0.1), pair(2, energy=0.1, lbe=0.2))
    best = known.best(BOTH)
    assert best is not None
    assert best.number == 2


def test_nothing_is_best_before_a_trial_has_finished() -> None:
    for known in (
        store(),
        store(trial(0, 0.1, state="running")),
        store(trial(0, state="failed"), trial(1, 0.1, state="pruned")),
    ):
        assert known.best(["energy_score"]) is None
        assert front(known) == []


def confirmed(finalist: str, seed: int, lbe: float = 0.25, energy: float = 0.25) -> Confirmation:
    """The base and a finalist with another seed."""
    own = {"lbe": 0.5, "energy_score": 0.5}
    return Confirmation(
        trial=finalist, seed=seed, default=own, best={"lbe": lbe, "energy_score": energy}
    )


def test_the_winner_is_the_best_finalist_over_all_seeds() -> None:
    known = store(
        trial(0, 0.5), trial(1, 0.30), trial(2, 0.32), trial(3, 0.34), trial(4, 0.35),
        confirmed=[confirmed("t1", 1, energy=0.45), confirmed("t2", 1, energy=0.33),
                   confirmed("t3", 1, energy=0.32)],
    )  # fmt: skip
    assert [one.number for one in known.ranked(["energy_score"])] == [1, 2, 3, 4, 0]
    best = known.best(["energy_score"])
    assert best is not None
    assert best.number == 2  # 0.325 in the mean against 0.33 and 0.375
    assert known.confirmations(["energy_score"]) == [known.confirmed[1]]


def test_what_is_not_confirmed_does_not_beat_what_is() -> None:
    first = [confirmed("t1", 1), confirmed("t1", 2)]
    known = store(trial(0, 0.3), trial(1, 0.2), confirmed=list(first))
    assert known.confirmations(["energy_score"]) == first
    # The sweep goes on and finds something that looks better, of which no other seed is known.
    known.trials.append(trial(2, 0.1))
    assert known.confirmations(["energy_score"]) == first
    known.confirmed += [confirmed("t2", 1), confirmed("t2", 2)]
    assert known.confirmations(["energy_score"]) == known.confirmed[2:]
    known.trials[2].state = "failed"
    assert known.confirmations(["energy_score"]) == first


def test_the_objectives_say_whose_confirmations_count() -> None:
    known = store(
        pair(0, 0.3, 0.3), pair(1, 0.2, 0.4), pair(2, 0.4, 0.2),
        confirmed=[confirmed("t1", 1, 0.4, 0.2), confirmed("t2", 1, 0.2, 0.4)],
    )  # fmt: skip
    assert [one.trial for one in known.confirmations(["energy_score"])] == ["t1"]
    assert [one.trial for one in known.confirmations(["lbe"])] == ["t2"]


def test_without_a_winner_nothing_is_confirmed() -> None:
    known = store(trial(0, 0.3, state="running"), confirmed=[confirmed("t0", 1)])
    assert known.confirmations(["energy_score"]) == []


# what Ray Tune is given


def test_a_trial_is_handed_its_id_and_its_settings() -> None:
    params = {"losses.teacher.exp": 2.0, "id": 3}
    assert module.trial_config("t7", params) == {"trial": {"id": "t7", "params": params}}


# the front


def front(known: TrialStore, *objectives: str) -> list[int]:
    """Numbers of the trials on it."""
    ids = study.pareto_front(sweep(objectives=objectives or BOTH), known)
    return [one.number for one in known.trials if one.id in ids]


def test_front_by_hand() -> None:
    known = store(
        pair(0, 0.3, 0.3),
        pair(1, 0.1, 0.5),
        pair(2, 0.5, 0.1),
        pair(3, 0.3, 0.4),  # as good as 0 in one, worse in the other
        pair(4, 0.3, 0.3),  # 0 once more
        pair(5, 0.0, 0.0, state="pruned"),
        pair(6, None, 0.05),
        pair(7, None, 0.2),
    )
    assert front(known) == [0, 1, 2, 4, 6]
    assert front(known, "energy_score") == [1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.1, 0.2, 0.3, None]),
            st.sampled_from([0.1, 0.2, 0.3, None]),
            st.sampled_from(["done", "done", "pruned", "running", "failed"]),
        ),
        max_size=8,
    )
)
def test_front_is_all_that_nothing_beats(
    given: list[tuple[float | None, float | None, str]],
) -> None:
    known = store(*(pair(n, *values) for n, values in enumerate(given)))
    done = {
        n: tuple(math.inf if value is None else value for value in values)
        for n, (*values, state) in enumerate(given)
        if state == "done"
    }

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    expected = [n for n, own in done.items() if not any(beats(o, own) for o in done.values())]
    assert front(known) == expected
    best = known.best(BOTH)
    # What is best lies on it, unless nothing is known of its figures.
    assert (best is None) == (not done)
    if best is not None and math.isfinite(sum(best.loss(name) for name in BOTH)):
        assert best.number in expected


# time


def test_idle_share() -> None:
    # Two slots for 100 seconds, of which three trials trained 60, 20 and 40.
    curves = [trial(n, *[0.1] * epochs) for n, epochs in enumerate((6, 2, 4))]
    assert store(*curves, wall_seconds=100.0, slots=2).idle_share == pytest.approx(0.4)
    assert store(*curves, wall_seconds=50.0, slots=2).idle_share == 0.0  # no share is below nothing
    assert store(wall_seconds=10.0).idle_share == 1.0
    assert store().idle_share is None


def test_trials_are_found_by_id_and_state() -> None:
    known = store(trial(0, state="done"), trial(1, state="running"), trial(2, state="pruned"))
    found = known.find("t1")
    assert found is known.trials[1]
    assert known.find("t9") is None
    assert [one.number for one in known.in_state("running", "done")] == [0, 1]
