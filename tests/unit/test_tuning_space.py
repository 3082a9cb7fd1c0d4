"""The search space: what it may hold, what it is told of a mistake, and how it is written."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import refusal
from tests.unit.sweeps import BASE, EXP, sweep

from diffusiontalker import config
from diffusiontalker.config import Settings, SweepSettings
from diffusiontalker.tuning import space


def check(of: SweepSettings) -> None:
    space.check(of, space.base_of(of))


def uniform(low: float, high: float) -> dict[str, Any]:
    return {"kind": "uniform", "low": low, "high": high}


def whole(low: int, high: int) -> dict[str, Any]:
    return {"kind": "int", "low": low, "high": high}


def choice(*choices: Any) -> dict[str, Any]:
    return {"kind": "choice", "choices": list(choices)}


# what may be searched


@pytest.mark.parametrize(
    ("stage", "name", "spread"),
    [
        ({"stage": "teacher"}, "losses.teacher.exp", EXP),
        (
            {"stage": "teacher"},
            "losses.teacher.exp",
            uniform(1, 2),
        ),  # the base's own value is an end
        ({"stage": "teacher"}, "training.teacher.batch", whole(4, 16)),
        ({"stage": "teacher"}, "training.teacher.batch", choice(4, 8)),
        ({"stage": "teacher"}, "model.teacher.decoder.kind", choice("gru", "tcn")),
        ({"stage": "teacher"}, "model.shared.personalizer.use_emotion", choice(True, False)),
        ({"stage": "teacher"}, "diffusion.sampler", choice("ddim", "ancestral")),
        ({"stage": "round"}, "losses.student.dis", EXP),
        ({"stage": "round"}, "training.round.learning_rate", uniform(1e-4, 1e-2)),
        ({"stage": "round", "steps": 8}, "losses.student.dis", EXP),
        ({"stage": "round", "steps": 8}, "model.student.context.width", whole(64, 256)),
        ({"stage": "round", "steps": 8}, "training.first_round.learning_rate", uniform(1e-4, 0.1)),
        ({"stage": "chain"}, "losses.teacher.exp", EXP),
        ({"stage": "chain"}, "losses.student.dis", EXP),
        ({"stage": "chain"}, "model.shared.personalizer.from_voice", uniform(0, 1)),
    ],
)
def test_what_makes_comparable_trials_is_accepted(
    stage: dict[str, Any], name: str, spread: dict[str, Any]
) -> None:
    check(sweep({name: spread}, **stage))


@pytest.mark.parametrize(
    ("name", "spread", "line"),
    [
        (
            "losses.teacher.epx",
            EXP,
            "space.losses.teacher.epx: unknown setting 'losses.teacher.epx'; did you mean 'exp'?",
        ),
        ("loses.exp", EXP, "space.loses.exp: unknown setting 'loses'; did you mean 'losses'?"),
        ("losses", EXP, "space.losses: losses: expected a section of keys and values (got 0.1)"),
        (
            "output.folder",
            EXP,
            "space.output.folder: output.folder: 'output' is a value, not a section",
        ),
        (
            "losses.teacher.channel_power",
            uniform(0, 1.5),
            "space.losses.teacher.channel_power: losses.teacher.channel_power: Input should be "
            "less than or equal to 1 (got 1.5)",
        ),
        (
            "training.teacher.ema",
            uniform(-0.5, 0.99),
            "space.training.teacher.ema: training.teacher.ema: Input should be greater than or "
            "equal to 0 (got -0.5)",
        ),
        (
            "model.teacher.decoder.kind",
            choice("tcn", "lstm"),
            "space.model.teacher.decoder.kind: model.teacher.decoder.kind: Input should be "
            "'gru' or 'tcn' (got 'lstm')",
        ),
        (
            "losses.teacher.exp",
            uniform(2, 4),
            "space.losses.teacher.exp: the base's own value 1.0 is not among 2 to 4; widen that, "
            "or set changes.losses.teacher.exp",
        ),
        (
            "training.teacher.batch",
            choice(16, 32),
            "space.training.teacher.batch: the base's own value 8 is not among 16, 32; widen that, "
            "or set changes.training.teacher.batch",
        ),
        (
            "training.teacher.epochs",
            whole(1, 4),
            "space.training.teacher.epochs: trials of unlike length cannot be compared; take it "
            "out",
        ),
        (
            "corpus.minutes",
            uniform(10, 80),
            "space.corpus.minutes: all trials start from the same data, which this would change; "
            "take it out",
        ),
        (
            "training.encoder.learning_rate",
            uniform(1e-4, 1e-2),
            "space.training.encoder.learning_rate: all trials start from the same data, which "
            "this would change; take it out",
        ),
        (
            "losses.student.dis",
            EXP,
            "space.losses.student.dis: changes nothing in the training of the teacher; take it out",
        ),
        (
            "evaluation.seeds",
            whole(2, 4),
            "space.evaluation.seeds: changes nothing in the training of the teacher; take it out",
        ),
        (
            "training.workers",
            choice(0, 2),
            "space.training.workers: trials all have as many workers as the base; take it out",
        ),
        (
            "training.seed",
            whole(0, 100),
            "space.training.seed: confirm tries other seeds; take it out",
        ),
    ],
)
def test_what_does_not_is_refused_by_name(name: str, spread: dict[str, Any], line: str) -> None:
    assert refusal(lambda: check(sweep({name: spread}))) == line


def test_a_setting_that_is_a_whole_number_is_not_drawn_in_between() -> None:
    # Both ends would do, but hardly any value between them.
    for kind in ("uniform", "log_uniform"):
        said = refusal(lambda kind=kind: check(
            sweep({"training.teacher.batch": {"kind": kind, "low": 4, "high": 16}})
        ))  # fmt: skip
        assert said.startswith(
            "space.training.teacher.batch: training.teacher.batch: Input should be a valid integer"
        )


@pytest.mark.parametrize(
    ("name", "own", "spread"),
    [
        ("model.shared.look_ahead_ms", None, uniform(0, 100)),
        (
            "model.shared.personalizer.use_emotion",
            True,
            whole(0, 1),
        ),  # no number, though Python says so
    ],
)
def test_an_own_value_that_is_no_number_lies_in_no_range(
    name: str, own: object, spread: dict[str, Any]
) -> None:
    said = refusal(lambda: check(sweep({name: spread}, changes={name: own})))
    assert f"space.{name}: the base's own value {own} is not among" in said


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("losses.teacher.exp", EXP),
        ("training.teacher.learning_rate", uniform(1e-4, 1e-2)),
        ("model.shared.personalizer.from_voice", uniform(0, 1)),
        ("model.shared.encoder_width", whole(64, 128)),  # the teacher's, too
        (
            "model.student.context.width",
            whole(64, 256),
        ),  # of the student of 4 steps, where it starts
    ],
)
def test_a_round_does_not_change_what_it_starts_from(name: str, spread: dict[str, Any]) -> None:
    said = refusal(lambda: check(sweep({name: spread}, stage="round")))
    assert said == (
        f"space.{name}: all trials start from the same data and teacher, which this would change; "
        "take it out, or sweep stage: chain"
    )


@pytest.mark.parametrize(
    ("stage", "what"), [("teacher", "data"), ("round", "data and teacher"), ("chain", "data")]
)
@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("corpus.minutes", uniform(10, 80)),
        ("corpus.seed", whole(0, 9)),
        ("training.encoder.learning_rate", uniform(1e-4, 1e-2)),
    ],
)
def test_no_stage_makes_its_own_data(
    stage: str, what: str, name: str, spread: dict[str, Any]
) -> None:
    # A chain has its own teacher and the data of all others: it would be no help.
    assert refusal(lambda: check(sweep({name: spread}, stage=stage))) == (
        f"space.{name}: all trials start from the same {what}, which this would change; take it out"
    )


@pytest.mark.parametrize("stage", ["round", "chain"])
@pytest.mark.parametrize("spread", [whole(0, 100), choice(0, 1)])
def test_luck_is_searched_in_no_stage(stage: str, spread: dict[str, Any]) -> None:
    said = refusal(lambda: check(sweep({"training.seed": spread}, stage=stage)))
    assert said == "space.training.seed: confirm tries other seeds; take it out"


def test_a_round_has_its_own_schedule() -> None:
    for steps, name in ((2, "training.first_round"), (8, "training.round")):
        rate = {f"{name}.learning_rate": uniform(1e-4, 1e-2)}
        said = refusal(lambda rate=rate, steps=steps: check(
            sweep(rate, stage="round", steps=steps)
        ))  # fmt: skip
        assert said.endswith("changes nothing in the training of a round; take it out")


@pytest.mark.parametrize("stage", ["round", "chain"])
def test_what_neither_a_round_nor_a_chain_looks_at_is_refused(stage: str) -> None:
    said = refusal(lambda: check(sweep({"evaluation.seeds": whole(2, 4)}, stage=stage)))
    assert said.endswith(f"changes nothing in the training of a {stage}; take it out")


def test_any_round_counts_in_the_length_of_a_chain() -> None:
    for name in ("training.teacher.epochs", "training.first_round.epochs", "training.round.epochs"):
        said = refusal(lambda name=name: check(sweep({name: whole(1, 9)}, stage="chain")))
        assert said == f"space.{name}: trials of unlike length cannot be compared; take it out"


def test_one_bad_setting_among_good_ones_is_found() -> None:
    said = refusal(
        lambda: check(sweep({"losses.teacher.exp": EXP, "losses.teacher.lip": uniform(2, 3)}))
    )
    assert said.startswith("space.losses.teacher.lip:")


# stages


def test_stages_of_a_trial() -> None:
    base = config.load(BASE)
    searched = {"losses.teacher.exp": EXP}
    assert space.stages_of(sweep(searched), base) == ["teacher"]
    assert space.stages_of(sweep(searched, stage="round"), base) == [2]
    assert space.stages_of(sweep(searched, stage="round", steps=8), base) == [8]
    assert space.stages_of(sweep(searched, stage="chain"), base) == ["teacher", 8, 4, 2]
    changes = {"training.teacher.epochs": 7, "training.first_round.epochs": 5}
    long = space.base_of(sweep(searched, changes=changes))
    assert [space.epochs_of(long, stage) for stage in ("teacher", 8, 4, 2)] == [7, 5, 1, 1]


def test_a_round_that_is_not_there() -> None:
    rounds = {"losses.student.dis": EXP}
    assert refusal(lambda: check(sweep(rounds, stage="round", steps=3))) == (
        f"steps: {BASE} has no round of 3 steps; it has 8, 4, 2"
    )
    none = sweep(rounds, stage="round", changes={"diffusion.rounds": []})
    line = f"stage: {BASE} has no rounds; sweep stage: teacher"
    assert refusal(lambda: check(none)) == line
    assert refusal(lambda: check(none.model_copy(update={"steps": 2}))) == line
    chain = sweep({"losses.teacher.exp": EXP}, stage="chain", changes={"diffusion.rounds": []})
    assert space.stages_of(chain, space.base_of(chain)) == ["teacher"]


# the base and its changes


def test_the_base_with_its_changes() -> None:
    of = sweep(
        {"losses.teacher.exp": EXP},
        changes={
            "losses.teacher.exp": 2,
            "training.teacher": {"epochs": 9},
            "diffusion.rounds": [8],
        },
    )
    own, base = config.load(BASE), space.base_of(of)
    assert base.losses.teacher.exp == 2.0
    assert base.training.teacher == own.training.teacher.model_copy(update={"epochs": 9})
    assert base.diffusion.rounds == (8,)
    assert base.corpus == own.corpus
    assert space.defaults(of, base) == {"losses.teacher.exp": 2.0}
    trial = space.apply(base, {"losses.teacher.exp": 0.5})
    assert (trial.losses.teacher.exp, base.losses.teacher.exp) == (0.5, 2.0)
    assert trial.losses.teacher.lip == base.losses.teacher.lip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"losses.teacher.epx": 1},
            "changes: unknown setting 'losses.teacher.epx'; did you mean 'exp'?",
        ),
        (
            {"losses.teacher.exp": -1},
            "changes: losses.teacher.exp: Input should be greater than or equal to 0",
        ),
        ({"output.x": 1}, "changes: output.x: 'output' is a value, not a section"),
        ({"losses": 3}, "changes: losses: expected a section of keys and values (got 3)"),
        ({"losses.student.energy_chunk": 97}, "changes: losses.student.energy_chunk 97 is longer"),
        ({"diffusion.rounds": [3]}, "rounds must halve the steps each time: 3 does not follow 16"),
    ],
)
def test_a_wrong_change_is_refused_by_name(changes: dict[str, Any], line: str) -> None:
    assert line in refusal(
        lambda: space.base_of(sweep({"losses.teacher.exp": EXP}, changes=changes))
    )


def test_a_base_that_cannot_be_read(tmp_path: Path) -> None:
    def of(base: Path) -> SweepSettings:
        return SweepSettings.model_validate(
            {"base": str(base), "output": "runs/sweep", "space": {"losses.teacher.exp": EXP}}
        )

    missing, wrong = tmp_path / "none.yaml", tmp_path / "wrong.yaml"
    assert refusal(lambda: space.base_of(of(missing))).startswith(
        f"{missing}: cannot read the configuration"
    )
    wrong.write_text("losses: {teacher: {epx: 1}}")
    assert refusal(lambda: space.base_of(of(wrong))) == (
        f"{wrong}: unknown setting 'losses.teacher.epx'; did you mean 'exp'?"
    )


def test_settings_of_a_trial_that_do_not_go_together() -> None:
    base = space.base_of(sweep({"losses.teacher.exp": EXP}))
    said = refusal(lambda: space.apply(base, {"losses.student.energy_chunk": 97}))
    assert said.startswith("trial: losses.student.energy_chunk 97 is longer than")


# how it is written

DOTTED = f"""
base: {BASE}
changes: {{training.teacher.epochs: 3, training.teacher.passes: 2, corpus.minutes: 12}}
space:
  losses.teacher.exp: {{kind: log_uniform, low: 0.1, high: 10}}
  losses.teacher.lip: {{kind: uniform, low: 0, high: 2}}
  losses.student.student_truth: {{kind: choice, choices: [all, lip]}}
"""
IN_SECTIONS = f"""
base: {BASE}
changes:
  training: {{teacher: {{epochs: 3, passes: 2}}}}
  corpus: {{minutes: 12}}
space:
  losses:
    teacher:
      exp: {{kind: log_uniform, low: 0.1, high: 10}}
      lip: {{kind: uniform, low: 0, high: 2}}
    student: {{student_truth: {{kind: choice, choices: [all, lip]}}}}
"""
MIXED = f"""
base: {BASE}
changes:
  training: {{teacher.epochs: 3}}
  training.teacher: {{passes: 2}}
  corpus.minutes: 12
space:
  losses: {{teacher: {{exp: {{kind: log_uniform, low: 0.1, high: 10}}}}}}
  losses.teacher.lip: {{kind: uniform, low: 0, high: 2}}
  losses.student.student_truth: {{kind: choice, choices: [all, lip]}}
"""


def read(folder: Path, text: str, *overrides: str) -> SweepSettings:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return config.load_as(SweepSettings, path, overrides)


def test_names_may_be_written_with_dots_or_as_sections(tmp_path: Path) -> None:
    dotted, sections, mixed = (read(tmp_path, t) for t in (DOTTED, IN_SECTIONS, MIXED))
    assert dotted == sections == mixed
    assert list(dotted.space) == [
        "losses.teacher.exp",
        "losses.teacher.lip",
        "losses.student.student_truth",
    ]
    assert dotted.changes == {
        "training.teacher.epochs": 3, "training.teacher.passes": 2, "corpus.minutes": 12,
    }  # fmt: skip
    assert read(tmp_path, config.to_yaml(dotted)) == dotted


@pytest.mark.parametrize("text", [DOTTED, IN_SECTIONS, MIXED])
def test_both_can_be_overridden_on_the_command_line(tmp_path: Path, text: str) -> None:
    of = read(
        tmp_path, text, "changes.training.teacher.epochs=4", "changes.losses.teacher.vel=0.25",
        "space.losses.teacher.exp={kind: uniform, low: 0.5, high: 2}",
        "space.losses.teacher.mean={kind: uniform, low: 0, high: 3}",
    )  # fmt: skip
    base = space.base_of(of)
    assert (base.training.teacher.epochs, base.training.teacher.passes) == (4, 2)
    assert base.losses.teacher.vel == 0.25
    assert of.space["losses.teacher.exp"] == config.Spread(kind="uniform", low=0.5, high=2)
    assert set(of.space) == {
        "losses.teacher.exp", "losses.teacher.lip", "losses.teacher.mean",
        "losses.student.student_truth",
    }  # fmt: skip


def test_a_setting_named_like_a_part_of_a_spread_is_a_section_all_the_same(tmp_path: Path) -> None:
    # decoder.kind is a setting, kind: choice is not.
    text = f"""
base: {BASE}
space:
  model.teacher.decoder:
    kind: {{kind: choice, choices: [gru, tcn]}}
    depth: {{kind: int, low: 1, high: 4}}
"""
    of = read(tmp_path, text)
    assert of.space == {
        "model.teacher.decoder.kind": config.Choice(kind="choice", choices=("gru", "tcn")),
        "model.teacher.decoder.depth": config.Spread(kind="int", low=1, high=4),
    }
    dotted = text.replace(":\n    kind", ".kind").replace(
        "    depth", "  model.teacher.decoder.depth"
    )
    assert "decoder:" not in dotted
    assert read(tmp_path, dotted) == of
    alone = "space.model.teacher.decoder={kind: {kind: choice, choices: [tcn, gru]}}"
    named = read(tmp_path, DOTTED, alone).space["model.teacher.decoder.kind"]
    assert named == config.Choice(kind="choice", choices=("tcn", "gru"))


@pytest.mark.parametrize(
    ("spread", "line"),
    [
        (
            "{kind: uniform, low: 0, high: 1, hi: 1}",
            "unknown setting 'space.losses.teacher.exp.hi'; did you mean 'high'?",
        ),
        (
            "{kind: log_uniform, lo: 1, low: 1, high: 2}",
            "unknown setting 'space.losses.teacher.exp.lo'; did you mean 'low'?",
        ),
        (
            "{kind: choice, choices: [1, 2], choises: [1, 2]}",
            "unknown setting 'space.losses.teacher.exp.choises'; did you mean 'choices'?",
        ),
        (
            "{kind: uniform, low: 0}",
            "space.losses.teacher.exp.high is needed; give it in a file (--config FILE), or as "
            "space.losses.teacher.exp.high=...",
        ),
        (
            "{kind: choice}",
            "space.losses.teacher.exp.choices is needed; give it in a file (--config FILE), or as "
            "space.losses.teacher.exp.choices=...",
        ),
        (
            "{kind: uniform, low: 0, high: x}",
            "space.losses.teacher.exp.high: Input should be a valid number, unable to parse string "
            "as a number (got 'x')",
        ),
    ],
)
@pytest.mark.parametrize("name", ["losses.teacher.exp: {}", "losses: {{teacher: {{exp: {}}}}}"])
def test_a_mistake_in_a_spread_is_told_where_it_stands(
    tmp_path: Path, name: str, spread: str, line: str
) -> None:
    text = f"base: {BASE}\nspace:\n  {name.format(spread)}\n"
    assert refusal(lambda: read(tmp_path, text)) == f"{tmp_path / 'sweep.yaml'}: {line}"


@pytest.mark.parametrize(
    "choices", ["[1, 1]", "[gru, tcn, gru]", "[1, 1.0]", "[true, false, true]"]
)  # fmt: skip
def test_choices_that_stand_twice_are_refused(tmp_path: Path, choices: str) -> None:
    text = f"base: {BASE}\nspace: {{losses.teacher.exp: {{kind: choice, choices: {choices}}}}}\n"
    said = refusal(lambda: read(tmp_path, text))
    assert said.startswith(f"{tmp_path / 'sweep.yaml'}: space.losses.teacher.exp")
    assert "one of the choices stands twice" in said


# in Optuna's words


def test_distributions() -> None:
    found = space.distributions(
        sweep(
            {
                "losses.teacher.exp": EXP,
                "losses.teacher.lip": uniform(0, 2),
                "training.teacher.batch": whole(4, 16),
                "model.teacher.decoder.kind": choice("gru", "tcn"),
            }
        )
    )
    assert found == {
        "losses.teacher.exp": optuna.distributions.FloatDistribution(0.1, 10.0, log=True),
        "losses.teacher.lip": optuna.distributions.FloatDistribution(0.0, 2.0),
        "training.teacher.batch": optuna.distributions.IntDistribution(4, 16),
        "model.teacher.decoder.kind": optuna.distributions.CategoricalDistribution(("gru", "tcn")),
    }


def test_whatever_is_drawn_makes_a_trial() -> None:
    of = sweep(
        {
            "losses.teacher.exp": EXP,
            "training.teacher.batch": whole(4, 16),
            "model.teacher.decoder.kind": choice("gru", "tcn"),
            "model.shared.personalizer.use_emotion": choice(True, False),
        }
    )
    base = space.base_of(of)
    space.check(of, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    seen = set()
    for _ in range(20):
        params = study.ask(space.distributions(of)).params
        settings = space.apply(base, params)
        assert {name: config.value_of(settings, name) for name in params} == params
        seen.add(
            (settings.model.teacher.decoder.kind, settings.model.shared.personalizer.use_emotion)
        )
    assert len(seen) == 4


@given(
    st.sampled_from(["losses.teacher.exp", "losses.student.dis", "training.teacher.weight_decay"]),
    st.floats(0, 1e6),
)
def test_what_was_changed_is_found_there_and_nothing_else_is_changed(
    name: str, value: float
) -> None:
    own = Settings(output="runs/a")
    other = config.changed(own, {name: value}, "here")
    assert config.value_of(other, name) == value
    assert config.changed(other, {name: config.value_of(own, name)}, "here") == own
