"""The goals of a run: met, missed, or open."""

from typing import Any

import pytest
from tests import summaries
from tests.summaries import ARTIFACT, CORPUS, STREAMING

from diffusiontalker.evaluation import goals
from diffusiontalker.summary.run import Goal, Row, RunSummary

GOOD = {
    "mbe": 0.2, "lbe": 0.06, "spread_upper": 1.0, "identity_f1": 0.99, "emotion_f1": 0.9,
    "energy_score": 0.1, "clips": 56,
}  # fmt: skip


def row(name: str, steps: int, split: str = "test_seen", **values: Any) -> Row:
    return summaries.row(name, steps, split, **{**GOOD, **values})


def streamed(**values: Any) -> dict[str, Any]:
    """An artifact with what streaming costs."""
    return {**ARTIFACT, "streaming": {**STREAMING, **values}}


def summary(*rows: Row, **more: Any) -> RunSummary:
    given = {"floor": {"test_seen": {"sampling": {"mbe": 0.2}}}, "artifact": streamed()}
    return summaries.run(*rows, **{**given, **more})


def check(what: RunSummary) -> dict[str, Goal]:
    return {goal.name.split(":")[0]: goal for goal in goals.check(what, "student-2")}


def test_a_good_run_meets_all() -> None:
    found = goals.check(
        summary(row("teacher", 16), row("teacher", 2, energy_score=0.2), row("student-2", 2)),
        "student-2",
    )
    assert len(found) == 11
    assert [goal for goal in found if goal.met is not True] == []


def test_a_bad_run_is_said_to_miss() -> None:
    bad = row(
        "student-2", 2, lbe=0.0601, spread_upper=0.79, identity_f1=0.94, emotion_f1=0.79,
        energy_score=0.21,
    )  # fmt: skip
    found = goals.check(
        summary(
            row("teacher", 16, mbe=0.2501), row("teacher", 2, energy_score=0.2), bad,
            artifact={
                **streamed(pinned_growth=0.031, settled_growth=0.031, growth=0.031, clips=20),
                "fps": 24_999.0, "size_mb": 3.41,
            },
        ),
        "student-2",
    )  # fmt: skip
    assert len(found) == 11
    assert [goal for goal in found if goal.met is not False] == []
    assert check(summary(row("teacher", 16), row("student-2", 2, spread_upper=1.21)))[
        "upper face"
    ].met is False  # fmt: skip


def test_lips_are_held_against_the_teacher_of_most_steps_on_seen_speakers() -> None:
    found = check(
        summary(
            row("teacher", 2, lbe=9.0),
            row("teacher", 16, lbe=0.05),
            row("teacher", 16, "test_unseen", lbe=9.0),
            row("student-2", 2, lbe=0.06),
            row("student-2", 2, "test_unseen", lbe=0.01),
            row("student-4", 4, lbe=0.01),
        )
    )
    lips = found["lips"]
    assert (lips.value, lips.target, lips.met) == (0.06, "<= 0.05", False)


def test_a_teacher_alone_has_the_teachers_goals() -> None:
    alone = summary(row("teacher", 16), row("teacher", 2), row("teacher", 16, "test_unseen"))
    found = goals.check(alone, "teacher")
    assert [goal.name for goal in found] == ["teacher: MBE, at most 1.25 x the sampling floor"]
    moving = [row("teacher", 16, speed_upper=1.0, blinks_per_minute=10.0)]
    names = [goal.name for goal in goals.check(summary(*moving), "teacher")]
    assert names[1].endswith("speed, teacher, all speakers")


def test_without_an_artifact_there_are_no_goals_of_one() -> None:
    rows = (row("teacher", 16), row("student-2", 2))
    names = [goal.name for goal in goals.check(summary(*rows, artifact=None), "student-2")]
    assert len(names) == 5
    assert not [name for name in names if "artifact" in name or "stream" in name]


def test_what_streaming_costs_is_said_in_three_ways() -> None:
    rows = (row("teacher", 16), row("student-2", 2))
    found = goals.check(summary(*rows), "student-2")[-3:]
    assert [(goal.value, goal.target) for goal in found] == [
        (0.0, "<= 3%"), (0.03, "<= 3%"), (0.029, "<= 3%"),
    ]  # fmt: skip
    assert [goal.clips for goal in found] == [32, 32, 32]
    assert "clips of 4.2 s" in found[2].name
    assert len(goals.check(summary(*rows, artifact=ARTIFACT), "student-2")) == 7


def test_what_is_not_known_is_neither_met_nor_missed() -> None:
    unknown = dict.fromkeys(GOOD)
    for floor in ({}, {"test_seen": None}):
        found = check(summary(row("teacher", 16), row("student-2", 2, **unknown), floor=floor))
        assert found["teacher"].met is None
        assert found["teacher"].target == "unknown"
        for name in ("lips", "upper face", "identity F1, known speakers"):
            assert found[name].met is None
        assert "distillation" not in found  # the teacher was not sampled in 2 steps


@pytest.mark.parametrize(("value", "met"), [(0.8, True), (1.2, True), (0.799, False), (None, None)])
def test_limits_count_as_met(value: float | None, met: bool | None) -> None:
    assert goals.between("x", value, 0.8, 1.2).met is met
    if value is not None:
        assert goals.at_most("x", value, value).met is True
        assert goals.at_least("x", value, value).met is True
    assert goals.at_most("x", value, None).met is None


def test_a_corpus_without_seen_speakers_is_judged_on_the_unseen() -> None:
    rows = [row("teacher", 16, "test_unseen"), row("student-2", 2, "test_unseen", lbe=0.05)]
    found = check(summary(*rows))
    assert (found["lips"].value, found["lips"].met) == (0.05, True)
    assert found["teacher"].met is None  # no floor


def test_joined_clips_have_a_goal_of_their_own() -> None:
    artifact = streamed(joined={**STREAMING, "growth": 0.031, "seconds_per_clip": 31.2})
    rows = row("teacher", 16), row("student-2", 2)
    (goal,) = [
        goal for goal in goals.check(summary(*rows, artifact=artifact), "student-2")
        if "joined to 31 s" in goal.name
    ]  # fmt: skip
    assert (goal.value, goal.met) == (0.031, False)


@pytest.mark.parametrize(("clips", "state"), [(1, "open"), (19, "open"), (20, "met")])
def test_a_figure_of_a_few_clips_is_neither_met_nor_missed(clips: int, state: str) -> None:
    rows = [row(name, steps, clips=clips) for name, steps in (("teacher", 16), ("student-2", 2))]
    artifact = streamed(clips=clips, growth=0.5)
    found = goals.check(summary(*rows, artifact=artifact), "student-2")
    states = {goal.name.split(":")[0].split(",")[0]: goals.state(goal) for goal in found}
    assert states["identity F1"] == states["lips"] == states["upper face"] == state
    assert states["artifact"] == "met"  # no figure of clips
    (long,) = [goal for goal in found if "clips of 4.2 s" in goal.name]
    assert goals.state(long) == ("open" if state == "open" else "missed")
    said = goals.line(next(goal for goal in found if goal.name.startswith("identity F1")))
    assert "identity F1, known speakers: 99% (target >= 95%" in said
    assert f"n = {clips}" in said
    assert ("fewer than 20 clips" in said) is (state == "open")


def test_labels_that_are_not_known_do_not_count() -> None:
    rows = [row("teacher", 16), row("student-2", 2, identity_clips=56, emotion_clips=3)]
    found = check(summary(*rows))
    assert found["identity F1, known speakers"].met is True
    emotions = found["emotion F1, known speakers"]
    assert (emotions.clips, emotions.met) == (3, None)


def test_emotions_of_unknown_speakers_are_a_goal_of_their_own() -> None:
    rows = [
        row("teacher", 16), row("student-2", 2), row("teacher", 16, "test_unseen"),
        row("student-2", 2, "test_unseen", identity_f1=None, emotion_f1=0.7, clips=40),
    ]  # fmt: skip
    found = check(summary(*rows))
    assert found["emotion F1, known speakers"].met is True
    unseen = found["emotion F1, unknown speakers"]
    assert (unseen.value, unseen.met, unseen.clips) == (0.7, False, 40)
    assert "identity F1, unknown speakers" not in found  # they have no right answer


def test_clips_of_an_older_evaluation_are_those_of_the_corpus() -> None:
    old = row("student-2", 2, clips=None)
    corpus = {**CORPUS, "clips": {"test_seen": 7}}
    found = check(summary(row("teacher", 16), old, corpus=corpus))
    assert (found["lips"].clips, found["lips"].met) == (7, None)
    assert check(summary(row("teacher", 16), old))["lips"].clips is None


def test_a_goal_in_words() -> None:
    assert goals.line(goals.at_most("x", 0.0312, 0.03, 32, share=True)) == (
        "MISSED x: 3.12% (target <= 3%, n = 32)"
    )
    assert goals.line(goals.at_least("x", None, 25_000)) == (
        "open   x: – (target >= 25,000, not measured)"
    )
    assert goals.line(goals.between("x", 1.0, 0.8, 1.2)) == "met    x: 1 (target 0.8 to 1.2)"
    assert goals.why_open(goals.at_most("x", 1.0, None)) == "not measured"


def test_a_stream_that_settles_is_judged_by_the_clips_that_are_long_enough() -> None:
    artifact = streamed(settled_clips=2)
    found = goals.check(
        summary(row("teacher", 16), row("student-2", 2), artifact=artifact), "student-2"
    )
    counts = {goal.name: goal.clips for goal in found if "streaming" in goal.name}
    assert sorted(counts.values()) == [2, 32, 32]
    (settled,) = (goal for goal in found if "after a second" in goal.name)
    assert (settled.clips, settled.met) == (2, None)


MOVING = {
    "speed_upper": 1.0, "acceleration_upper": 1.1, "blinks_per_minute": 13.0, "blinks_single": 0.0,
    "closure": 0.8, "closed_elsewhere": 0.01, "closure_auc": 0.98, "lip_lag_ms": -20.0,
    "speed_lower": 1.0,
}  # fmt: skip
RECORDED = {"recording": {"blinks_per_minute": 13.0, "closure": 0.8, "closed_elsewhere": 0.0}}


def moved(*changed: Row) -> list[Goal]:
    """The goals of movement of a run in which all is right but for the ``changed`` rows."""
    rows = {
        (name, steps, split): row(name, steps, split, **MOVING)
        for split in ("test_seen", "test_unseen")
        for name, steps in (("teacher", 16), ("teacher", 2), ("student-2", 2))
    }
    rows |= {(one.name, one.steps, one.split): one for one in changed}
    floor = dict.fromkeys(("test_seen", "test_unseen"), RECORDED)
    found = goals.check(summary(*rows.values(), floor=floor), "student-2")
    return [goal for goal in found if "all speakers" in goal.name]


def test_movement_is_right_where_all_of_it_is() -> None:
    found = moved()
    assert len(found) == 9
    assert [goal.met for goal in found] == [True] * 9


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"speed_upper": 5.0}, "upper face: speed"),  # flicker
        ({"speed_upper": 0.7}, "upper face: speed"),  # a blur
        ({"speed_lower": 0.1}, "lower face: speed"),
        ({"closure_auc": 0.5}, "closure AUC"),  # a mouth that never opens, closed in every p, b, m
        ({"closed_elsewhere": 0.1}, "closed in other"),  # one that closes too often
        ({"acceleration_upper": 1.6}, "acceleration"),
        ({"blinks_per_minute": 80.0}, "blinks over"),
        ({"blinks_per_minute": 0.0}, "blinks over"),
        ({"blinks_single": 0.06}, "single"),
        ({"closure": 0.7}, "closed in p, b, m"),
        ({"lip_lag_ms": -34.0}, "ms"),
    ],
)
@pytest.mark.parametrize(
    "whose", [("teacher", 16, "test_seen"), ("student-2", 2, "test_unseen")]
)  # fmt: skip
def test_the_worst_of_all_decides(
    changes: dict[str, float], missed: str, whose: tuple[str, int, str]
) -> None:
    found = moved(row(*whose, **{**MOVING, **changes}))
    assert [goal.met for goal in found].count(False) == 1
    assert next(goal for goal in found if missed in goal.name).met is False


def test_the_undistilled_teacher_in_few_steps_counts_for_nothing() -> None:
    found = moved(row("teacher", 2, **{**MOVING, "speed_upper": 9.0}))
    assert [goal.met for goal in found] == [True] * 9


def test_a_split_that_was_not_measured_leaves_a_goal_open() -> None:
    found = moved(row("student-2", 2, "test_unseen", **{**MOVING, "speed_upper": None}))
    (speed,) = [goal for goal in found if "upper face: speed" in goal.name]
    assert (speed.value, speed.met) == (None, None)


def test_a_mouth_that_moves_on_its_own_has_no_lag() -> None:
    (lag,) = [goal for goal in moved(row("student-2", 2, lip_lag_ms=None)) if "ms" in goal.name]
    assert (lag.value, lag.met) == (None, None)


def test_without_phones_there_is_no_goal_of_closure() -> None:
    found = moved(*(
        row(name, steps, split, **{**MOVING, "closure": None})
        for split in ("test_seen", "test_unseen")
        for name, steps in (("teacher", 16), ("student-2", 2))
    ))  # fmt: skip
    assert not [goal for goal in found if "closed" in goal.name]
