"""Optuna's side of a sweep: what the search knows and draws, the study on disk, importance."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from tests.refusals import refusal
from tests.unit.sweeps import EXP, LIP, store, sweep, trial

from diffusiontalker.config import SweepSettings
from diffusiontalker.summary.sweep import Params
from diffusiontalker.tuning import study
from diffusiontalker.tuning.study import ResumableSearch, StudyFile
from diffusiontalker.tuning.trial_store import TrialStore, trial_config

BOTH = ("energy_score", "lbe")
OWN = {"losses.teacher.exp": 1.0, "losses.teacher.lip": 1.0}


def at(exp: float, lip: float = 1.0) -> Params:
    return {"losses.teacher.exp": exp, "losses.teacher.lip": lip}


def drawn(search: ResumableSearch, number: int, energy: float = 0.5) -> tuple[str, Params]:
    """The id and the settings suggested for a trial, which then ends with this energy score."""
    found = search.suggest(f"new{number}")
    assert found is not None
    assert list(found) == ["trial"]
    assert set(found["trial"]) == {"id", "params"}
    result = {"energy_score": energy, "lbe": 0.1, "training_iteration": 1}
    search.on_trial_result(f"new{number}", result)
    search.on_trial_complete(f"new{number}", result)
    return found["trial"]["id"], found["trial"]["params"]


# the search


@pytest.mark.parametrize("kind", ["tpe", "random"])
@pytest.mark.parametrize("objectives", [("energy_score",), BOTH])
def test_what_was_left_comes_first_and_then_the_search_goes_on(
    kind: str, objectives: tuple[str, ...]
) -> None:
    of = sweep(search=kind, objectives=objectives)
    known = store(
        trial(0, 0.3, params=OWN),
        trial(1, 0.4, params=at(2.0), state="pruned"),
        trial(2, params=at(3.0), state="failed"),
        trial(3, 0.2, params=at(4.0), state="running"),
        trial(4, params=at(5.0, 0.5), state="running"),
    )
    search = study.search(of, known, OWN)
    assert drawn(search, 0) == ("t3", at(4.0))
    assert drawn(search, 1) == ("t4", at(5.0, 0.5))
    ids, later = zip(*(drawn(search, number) for number in range(2, 8)), strict=True)
    assert ids == tuple(f"new{number}" for number in range(2, 8))
    assert all(
        0.1 <= one["losses.teacher.exp"] <= 10 and 0 <= one["losses.teacher.lip"] <= 2
        for one in later
    )
    assert len({one["losses.teacher.exp"] for one in later}) == 6


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_fresh_sweep_begins_with_the_base(kind: str) -> None:
    search = study.search(sweep(search=kind), store(), OWN)
    assert drawn(search, 0) == ("new0", OWN)
    name, params = drawn(search, 1)
    assert name == "new1"
    assert params != OWN


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_one_that_goes_on_does_not_begin_with_the_base_again(kind: str) -> None:
    of = sweep(search=kind)
    for known in (
        store(trial(0, 0.3, params=OWN)),
        store(trial(0, params=OWN, state="failed")),
        store(trial(0, 0.3, params=OWN), trial(1, params=at(2.0), state="running")),
    ):
        search = study.search(of, known, OWN)
        assert OWN not in [drawn(search, number)[1] for number in range(4)]


def test_the_base_itself_goes_on_where_it_was_killed() -> None:
    search = study.search(sweep(), store(trial(0, 0.3, params=OWN, state="running")), OWN)
    assert drawn(search, 0) == ("t0", OWN)
    name, params = drawn(search, 1)
    assert name == "new1"
    assert params != OWN


def test_the_same_settings_suggested_again_are_a_trial_of_their_own() -> None:
    # Of two settings there are soon no new ones.
    of = sweep(
        {"model.teacher.decoder.kind": {"kind": "choice", "choices": ["gru", "tcn"]}},
        search="random",
    )
    gru, tcn = {"model.teacher.decoder.kind": "gru"}, {"model.teacher.decoder.kind": "tcn"}
    known = store(
        trial(0, 0.3, params=tcn), trial(1, 0.2, params=gru, state="running"),
        trial(2, params=gru, state="running"),
    )  # fmt: skip
    search = study.search(of, known, tcn)
    found = [drawn(search, number) for number in range(10)]
    assert found[:2] == [("t1", gru), ("t2", gru)]  # alike already, and still two
    assert [name for name, _ in found[2:]] == [f"new{number}" for number in range(2, 10)]
    assert gru in [params for _, params in found[2:]]


def test_what_was_left_is_handed_out_whichever_of_tunes_trials_asks() -> None:
    # Several run at a time: none has ended when the next is asked for.
    known = store(
        trial(0, 0.3, params=OWN), trial(1, params=at(2.0), state="running"),
        trial(2, params=at(3.0), state="running"),
    )  # fmt: skip
    search = study.search(sweep(), known, OWN)
    found = [search.suggest(name) for name in ("x", "y", "z")]
    assert found[:2] == [trial_config("t1", at(2.0)), trial_config("t2", at(3.0))]
    assert found[2] is not None
    assert found[2]["trial"]["id"] == "z"


def test_the_search_is_told_of_what_has_ended() -> None:
    known = store(
        trial(0, 0.3, 0.2, params=OWN),
        trial(1, 0.4, params=at(2.0), state="pruned"),
        trial(2, params=at(3.0), state="failed"),
        trial(3, 0.2, params=at(4.0), state="running"),
    )
    inner = study.search(sweep(), known, OWN)._ot_study
    assert inner is not None
    assert [(one.params, one.values, one.state) for one in inner.trials] == [
        (OWN, [0.2], TrialState.COMPLETE),
        # Ended early in our words; the figures that it had count, as Ray Tune counts them.
        (at(2.0), [0.4], TrialState.COMPLETE),
        (at(3.0), None, TrialState.FAIL),
        # What was running waits for its turn: Optuna fills in its settings when it is asked.
        ({}, None, TrialState.WAITING),
    ]
    assert inner.trials[3].system_attrs["fixed_params"] == at(4.0)


def suggestions(of: SweepSettings, known: TrialStore) -> list[Params]:
    """What a search suggests if small values of both settings do well, but for the base."""
    search = study.search(of, known, OWN)
    found = []
    for number in range(12):
        suggested = search.suggest(f"new{number}")
        assert suggested is not None
        params: Params = suggested["trial"]["params"]
        energy = math.log10(params["losses.teacher.exp"]) ** 2 + params["losses.teacher.lip"]
        search.on_trial_complete(f"new{number}", {"energy_score": energy})
        found.append(params)
    return [params for params in found if params != OWN]


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_same_seed_draws_the_same(kind: str) -> None:
    one, again, other = (
        suggestions(sweep(search=kind, seed=seed, trials=12), store()) for seed in (3, 3, 4)
    )
    assert len(one) == len(other) == 11  # the base is the same for all
    assert one == again
    assert not {p["losses.teacher.exp"] for p in one} & {p["losses.teacher.exp"] for p in other}


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_sweep_that_goes_on_does_not_draw_the_same_again(kind: str) -> None:
    of = sweep(search=kind, trials=100)
    begun = suggestions(of, store())
    known = store(*(trial(n, 0.5, params=params) for n, params in enumerate([OWN, *begun])))
    later = suggestions(of, known)
    assert not {p["losses.teacher.exp"] for p in begun} & {p["losses.teacher.exp"] for p in later}
    assert len(later) == 12
    assert later == suggestions(of, known)


def test_tpe_looks_where_trials_did_well_and_random_search_does_not() -> None:
    # Of forty ended trials those with a small losses.lip did well.
    rng = np.random.default_rng(0)
    values = [(float(10 ** rng.uniform(-1, 1)), float(rng.uniform(0, 2))) for _ in range(40)]
    known = store(*(trial(n, lip, params=at(exp, lip)) for n, (exp, lip) in enumerate(values)))

    def mean(kind: str) -> float:
        search = study.search(sweep(search=kind, trials=100), known, OWN)
        return float(np.mean([drawn(search, n, 1.0)[1]["losses.teacher.lip"] for n in range(10)]))

    assert mean("tpe") < 0.5
    assert 0.6 < mean("random") < 1.4


# a trial in Optuna's words


def test_states_of_frozen_trials() -> None:
    done = study.frozen_trial(sweep(), trial(0, 0.3, None, 0.2, params=OWN))
    assert (done.state, done.values) == (TrialState.COMPLETE, [0.2])
    assert done.intermediate_values == {1: 0.3, 3: 0.2}
    assert done.user_attrs == {"id": "t0", "seconds": 32.0, "error": None}
    early = trial(1, 0.4, params=OWN, state="pruned")
    pruned = study.frozen_trial(sweep(), early)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 0.4})
    counted = study.frozen_trial(sweep(), early, pruned=False)
    assert (counted.state, counted.values) == (TrialState.COMPLETE, [0.4])
    broken = trial(2, None, params=OWN, state="failed", error="diverged")
    for marked in (True, False):
        failed = study.frozen_trial(sweep(), broken, pruned=marked)
        assert (failed.state, failed.values) == (TrialState.FAIL, None)
        assert failed.user_attrs["error"] == "diverged"


def test_of_two_objectives_optuna_keeps_no_curve() -> None:
    both = study.frozen_trial(sweep(objectives=BOTH), trial(0, 0.3, 0.2, params=OWN))
    assert (both.values, both.intermediate_values) == ([0.2, 0.05], {})


# the study on disk


def opened(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / study.FILE}")


def test_the_study_is_read_by_optuna_and_grows(tmp_path: Path) -> None:
    of = sweep()
    known = store(
        trial(0, 0.3, params=OWN),
        trial(1, 0.4, params=at(2.0), state="pruned"),
        trial(2, 0.1, params=at(3.0), state="running"),
    )
    mirror = StudyFile(of, tmp_path)
    mirror.update(known)
    assert [one.user_attrs["id"] for one in opened(tmp_path).trials] == ["t0", "t1"]
    assert opened(tmp_path).best_params == OWN
    known.trials[2].state = "done"
    mirror.update(known)
    mirror.update(known)
    StudyFile(of, tmp_path).update(known)  # a later session
    found = opened(tmp_path)
    assert found.study_name == "sweep"
    assert [(one.user_attrs["id"], one.state.name) for one in found.trials] == [
        ("t0", "COMPLETE"), ("t1", "PRUNED"), ("t2", "COMPLETE"),
    ]  # fmt: skip
    assert (found.best_params, found.best_value) == (at(3.0), 0.1)


def test_a_study_of_two_objectives_has_optunas_front(tmp_path: Path) -> None:
    def of(number: int, energy: float, lbe: float) -> Any:
        one = trial(number, energy, params=at(1.0 + number))
        one.curve[0].lbe = lbe
        return one

    known = store(of(0, 0.3, 0.3), of(1, 0.1, 0.5), of(2, 0.4, 0.4), of(3, 0.5, 0.1))
    StudyFile(sweep(objectives=BOTH), tmp_path).update(known)
    front = {one.user_attrs["id"] for one in opened(tmp_path).best_trials}
    assert front == set(study.pareto_front(sweep(objectives=BOTH), known)) == {"t0", "t1", "t3"}


def test_a_study_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / study.FILE).write_bytes(b"not a database " * 100)
    said = refusal(lambda: StudyFile(sweep(), tmp_path))
    assert said.startswith(f"{tmp_path / study.FILE}: not usable as a study (")
    assert said.endswith("remove it, and it is made again")
    (tmp_path / study.FILE).unlink()
    StudyFile(sweep(), tmp_path).update(store(trial(0, 0.3, params=OWN)))
    assert len(opened(tmp_path).trials) == 1


# importance


def fared(count: int, energy: Any) -> TrialStore:
    """Trials at random, each of which had the ``energy`` of its settings."""
    rng = np.random.default_rng(1)
    trials = []
    for number in range(count):
        params = at(float(10 ** rng.uniform(-1, 1)), float(rng.uniform(0, 2)))
        state = "pruned" if number % 3 else "done"
        trials.append(trial(number, energy(**params_of(params)), params=params, state=state))
    return store(*trials)


def params_of(params: Params) -> dict[str, float]:
    return {name.removeprefix("losses.teacher."): value for name, value in params.items()}


def test_importance_finds_the_setting_that_matters() -> None:
    known = fared(30, lambda exp, lip: lip + 0.01 * math.log10(exp))
    found = study.importance(sweep(), known)["energy_score"]
    assert list(found) == ["losses.teacher.lip", "losses.teacher.exp"]
    assert found["losses.teacher.lip"] > 0.9
    assert sum(found.values()) == pytest.approx(1)
    other = study.importance(sweep(), fared(30, lambda exp, lip: 0.01 * lip - math.log10(exp)))
    assert other["energy_score"]["losses.teacher.exp"] > 0.9
    assert study.importance(sweep(), known)["energy_score"] == found


def test_each_objective_has_its_own() -> None:
    known = fared(30, lambda exp, lip: lip)
    for one in known.trials:
        one.curve[-1].lbe = math.log10(one.params["losses.teacher.exp"])
    found = study.importance(sweep(objectives=BOTH), known)
    assert found["energy_score"]["losses.teacher.lip"] > 0.9
    assert found["lbe"]["losses.teacher.exp"] > 0.9
    assert list(study.importance(sweep(objectives=("lbe",)), known)) == ["lbe"]


def test_importance_of_too_few_or_of_all_alike_is_not_told() -> None:
    def score(exp: float, lip: float) -> float:
        return lip

    assert study.importance(sweep(), store()) == {}
    assert study.importance(sweep(), fared(study.MIN_TRIALS - 1, score)) == {}
    assert list(study.importance(sweep(), fared(study.MIN_TRIALS, score))) == ["energy_score"]
    assert study.importance(sweep(), fared(30, lambda exp, lip: 0.25)) == {}


def test_failed_trials_do_not_count_in_it() -> None:
    known = fared(study.MIN_TRIALS, lambda exp, lip: lip)
    known.trials[0].state = "failed"
    assert study.importance(sweep(), known) == {}
    known.trials[0].state = "done"
    known.trials[0].curve[-1].energy_score = None
    assert study.importance(sweep(), known) == {}


def test_a_choice_can_matter_too() -> None:
    of = sweep(
        {
            "losses.teacher.exp": EXP,
            "model.teacher.decoder.kind": {"kind": "choice", "choices": ["gru", "tcn"]},
        }
    )
    rng = np.random.default_rng(2)
    trials = []
    for number in range(24):
        kind = ("gru", "tcn")[number % 2]
        params = {
            "losses.teacher.exp": float(rng.uniform(0.1, 10)),
            "model.teacher.decoder.kind": kind,
        }
        trials.append(trial(number, 0.1 + (kind == "gru"), params=params))
    assert study.importance(of, store(*trials))["energy_score"]["model.teacher.decoder.kind"] > 0.9


def test_a_short_sweep_draws_less_at_random() -> None:
    def startup(trials: int) -> int:
        sampler = study.sampler(sweep({"losses.teacher.lip": LIP}, trials=trials), 0)
        assert isinstance(sampler, optuna.samplers.TPESampler)
        return int(sampler._n_startup_trials)

    assert [startup(n) for n in (2, 8, 24, 40, 400)] == [2, 2, 6, 10, 10]
