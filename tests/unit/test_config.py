"""Settings: strict YAML, overrides, and what a mistake is told."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from tests import refusals

from diffusiontalker import config
from diffusiontalker.config import (
    CorpusSettings,
    DiffusionSettings,
    LossSettings,
    Section,
    Settings,
    fingerprint,
    to_yaml,
)
from diffusiontalker.config.renamed import RENAMED
from diffusiontalker.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = "output=runs/a"
DEFAULTS = Settings(output="runs/a")


def load(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Settings with an output, which has no default."""
    return config.load(path, [OUTPUT, *overrides])


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, *overrides: str) -> str:
    return refusals.refusal(lambda: load(path, overrides))


RUNS = [
    path
    for folder in ("configs", "configs/papers")
    for path in (ROOT / folder).glob("*.yaml")
    if not path.name.startswith("sweep")
]


@pytest.mark.parametrize("path", sorted(RUNS), ids=lambda p: p.name)
def test_every_shipped_configuration_loads(path: Path):
    assert isinstance(load(path), Settings)


def test_no_file_gives_the_defaults():
    assert load(None) == DEFAULTS


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str):
    assert load(written(tmp_path, text)) == DEFAULTS


def test_values_are_read_and_typed(tmp_path: Path):
    path = written(tmp_path, "corpus: {minutes: 3}\ntraining: {teacher: {learning_rate: 1e-4}}\n")
    settings = load(path)
    assert settings.corpus.minutes == 3.0
    assert settings.training.teacher.learning_rate == 1e-4  # a string to YAML 1.1
    assert settings.training.round == DEFAULTS.training.round


def test_an_empty_section_means_its_defaults(tmp_path: Path):
    path = written(
        tmp_path, "corpus:\n  # minutes: 3\nmodel:\n  student:\n    decoder:\nlosses: null\n"
    )
    assert load(path) == DEFAULTS
    assert load(path, ["corpus.minutes=4"]).corpus == CorpusSettings(minutes=4)


def test_a_key_left_out_keeps_the_default_of_its_place(tmp_path: Path):
    # The student's networks are shallower than the teacher's: naming one width must not deepen.
    default = DEFAULTS.model.student
    assert default.decoder.depth != DEFAULTS.model.teacher.decoder.depth
    text = "model: {student: {decoder: {width: 9}, context: {width: 8}}}"
    student = load(written(tmp_path, text)).model.student
    assert (student.decoder.width, student.decoder.depth) == (9, default.decoder.depth)
    assert (student.context.width, student.context.depth) == (8, default.context.depth)
    assert load(None, ["model.student.decoder.width=9"]).model.student.decoder == student.decoder


def test_null_stays_null_where_it_is_a_value(tmp_path: Path):
    assert load(written(tmp_path, "encoder: {name: null}")).encoder.name is None


def test_overrides_reach_into_sections_and_win_over_the_file(tmp_path: Path):
    path = written(tmp_path, "corpus: {minutes: 3, speakers: 5}\n")
    overrides = [
        "corpus.minutes=7",
        "training.round.epochs=9",
        "diffusion={steps: 4, rounds: [2, 1]}",
        "output=runs/a=b",
        "resources.gpu=true",
        "encoder.name=",
    ]
    settings = load(path, overrides)
    assert (settings.corpus.minutes, settings.corpus.speakers) == (7.0, 5)
    assert settings.training.round.epochs == 9
    assert settings.diffusion.rounds == (2, 1)
    assert settings.output == "runs/a=b"
    assert settings.resources.gpu is True
    assert settings.encoder.name is None


def test_an_output_is_named(tmp_path: Path) -> None:
    for path in (None, written(tmp_path, "corpus: {minutes: 3}")):
        with pytest.raises(UserError, match=r"output is needed.*--config.*output=\.\.\."):
            config.load(path)


def test_a_mistake_is_laid_to_whoever_made_it(tmp_path: Path) -> None:
    sound = written(tmp_path, "corpus: {minutes: 3}\n")
    said = refusal(sound, "corpus.minuets=3")
    assert "run.yaml" not in said
    assert said.startswith("command line: unknown setting 'corpus.minuets'")
    assert refusal(sound, "corpus.minutes=0").startswith("command line: corpus.minutes")
    # Together they go wrong, and it was the override that came last.
    assert refusal(sound, "diffusion.steps=8").startswith("command line: diffusion: rounds")
    wrong = written(tmp_path, "corpus: {minuets: 3}\n")
    assert refusal(wrong, "corpus.speakers=0").startswith(f"{wrong}: unknown setting")
    with pytest.raises(UserError, match=f"^{wrong}: unknown setting"):
        config.load(wrong)  # rather than that it has no output


def test_a_file_without_its_option() -> None:
    assert "--config configs/x.yaml" in refusal(None, "configs/x.yaml")


@pytest.mark.parametrize(
    ("name", "job"),
    [("sweep.yaml", "jobs/sweep.py"), ("data/folder.yaml", "jobs/prepare.py")],
)
def test_the_configuration_of_another_job_is_known(name: str, job: str) -> None:
    assert f"is one of {job}" in refusal(ROOT / "configs" / name)


def test_the_configuration_of_a_run_is_known_elsewhere() -> None:
    with pytest.raises(UserError, match=r"is one of jobs/distill\.py"):
        config.load_as(config.ExportJobSettings, ROOT / "configs/quickstart.yaml", [])


def test_the_published_split_holds_nobody_out() -> None:
    def split(*overrides: str) -> config.SplitSettings:
        given = ["source.kind=beat", *(f"split.{one}" for one in overrides), "output=a"]
        return config.load_data(None, given).split

    assert split("rule=published").rule == "published"
    assert split("rule=published", "unseen_speakers=0").unseen_speakers == 0
    for named in ("0.1", "[ada]"):
        with pytest.raises(UserError, match="unseen_speakers"):
            split("rule=published", f"unseen_speakers={named}")
    with pytest.raises(UserError, match="unseen_speakers"):
        config.load_data(
            ROOT / "configs/data/beat.yaml", ["split.rule=published", "output=a", "source.root=a"]
        )


def test_the_last_override_wins():
    assert load(None, ["corpus.seed=1", "corpus.seed=2"]).corpus.seed == 2


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("corpus.minuets=3", ["unknown setting 'corpus.minuets'", "did you mean 'minutes'?"]),
        ("corpsu.minutes=3", ["unknown setting 'corpsu'", "did you mean 'corpus'?"]),
        ("model.student.decoder.dept=1", ["'model.student.decoder.dept'", "did you mean 'depth'?"]),
        ("diffusion.qqq=1", ["known here: sampler, steps, rounds"]),
        ("a..b=1", ["unknown setting 'a'"]),
        ("corpus.minutes", ["'corpus.minutes' is not of the form key=value"]),
        ("=3", ["'=3' is not of the form key=value"]),
        ("training.workers=[1", ["'training.workers=[1': the value is not valid YAML"]),
        ("model.shared.audio_dim.x=1", ["model.shared.audio_dim", "valid integer"]),
        ("losses=3", ["losses: expected a section of keys and values (got 3)"]),
        ("model.student.decoder=5", ["model.student.decoder: expected a section"]),
        ("losses.teacher.exp=-1", ["losses.teacher.exp", "greater than or equal to 0", "got -1"]),
        ("losses.teacher.exp=.nan", ["losses.teacher.exp", "finite", "got nan"]),
        ("losses.teacher.exp=.inf", ["losses.teacher.exp", "finite", "got inf"]),
        ("corpus.minutes=.inf", ["corpus.minutes", "finite"]),
        ("training.round.learning_rate=.nan", ["training.round.learning_rate", "finite"]),
        ("training.round.learning_rate=0", ["greater than 0"]),
        ("training.teacher.ema=1", ["less than 1"]),
        ("training.teacher.warmup=1.5", ["less than or equal to 1"]),
        ("corpus.speakers=1", ["corpus.speakers", "greater than or equal to 2"]),
        ("corpus.speakers=2.5", ["corpus.speakers", "valid integer"]),
        ("corpus.minutes=long", ["corpus.minutes", "valid number", "got 'long'"]),
        ("corpus.seed=-1", ["corpus.seed", "greater than or equal to 0"]),
        ("corpus.emotions=[]", ["corpus.emotions", "at least 1 item"]),
        (
            "model.teacher.context.dilations=[]",
            ["model.teacher.context.dilations", "at least 1 item"],
        ),
        (
            "model.teacher.context.dilations=[1, 0]",
            ["model.teacher.context.dilations.1", "greater than or equal to 1"],
        ),
        ("encoder.layers=[]", ["encoder.layers", "at least 1 item"]),
        ("resources.gpu=maybe", ["resources.gpu", "valid boolean"]),
        ("model.teacher.decoder.kind=lstm", ["model.teacher.decoder.kind", "'gru' or 'tcn'"]),
        ("training.round.window=8", ["training.round.window", "greater than or equal to 16"]),
        ("training.round.monitor=lips", ["training.round: monitor 'lips'"]),
        ("resources.gpus_per_worker=2", ["less than or equal to 1"]),
        ("diffusion.rounds=[8, 5]", ["rounds must halve", "5 does not follow 8"]),
        ("diffusion.rounds=[16]", ["16 does not follow 16"]),
        ("encoder.layers=[1, 4]", ["encoder: layers", "depth 3 has hidden states 0 to 3"]),
        ("encoder.layers=[-5]", ["encoder: layers"]),
        ("encoder.small.depth=2", ["encoder: layers", "0 to 2"]),
        ("encoder.small.hidden=100", ["small.hidden 100: choose a multiple of 32"]),
        ("encoder.small.hidden=12", ["small.hidden 12"]),
        (
            "model.shared.personalizer.fused=10",
            ["model.shared.personalizer.fused", "multiple of 4"],
        ),
        ("evaluation.teacher_steps=[]", ["evaluation.teacher_steps", "at least 1 item"]),
    ],
)
def test_a_bad_override_is_refused_by_name(override: str, parts: list[str]):
    message = refusal(None, override)
    assert all(part in message for part in parts), message


def test_an_override_cannot_go_through_a_value(tmp_path: Path):
    path = written(tmp_path, "corpus: 3\n")
    assert "'corpus' is a value, not a section" in refusal(path, "corpus.minutes=1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("corpus: {minutes: 1, minutes: 2}", "the key 'minutes' stands twice"),
        ("corpus: {}\ncorpus: {}\n", "the key 'corpus' stands twice"),
        ("corpus: [", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("- 1\n- 2\n", "expected keys and values, got list"),
        ("[]", "expected keys and values, got list"),
        ("0", "expected keys and values, got int"),
        ("hello", "expected keys and values, got str"),
        ("corpus: {minuets: 3}", "did you mean 'minutes'?"),
        ("1: 2", "1"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, part: str):
    message = refusal(written(tmp_path, text))
    assert "run.yaml" in message
    assert part in message


def test_a_file_that_cannot_be_read(tmp_path: Path):
    assert "no.yaml: cannot read the configuration" in refusal(tmp_path / "no.yaml")
    assert "cannot read the configuration" in refusal(tmp_path)
    written(tmp_path, "{}")
    assert "did you mean" not in refusal(tmp_path / "no.yaml")
    assert refusal(tmp_path / "rum.yaml").endswith(f"did you mean {tmp_path / 'run.yaml'}?")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"output: caf\xe9\n")
    assert "latin.yaml: cannot read the configuration" in refusal(path)


def test_yaml_round_trip(tmp_path: Path):
    settings = load(
        ROOT / "configs" / "quickstart.yaml", ["corpus.path=shards", "losses.teacher.dis=0.25"]
    )
    assert load(written(tmp_path, to_yaml(settings))) == settings


OLD = """
corpus: {minutes: 3}
encoder: {layers: [0, 2], hidden: 64, cache: x, epochs: 2}
audio_dim: 64
context: {width: 8}
student: {decoder: {width: 8}, look_ahead_ms: null}
losses: {exp: 2, lip: 3}
student_losses:
training: {workers: 2, gpu: true, window: 48, teacher: {epochs: 1}}
"""
NEW_NAMES = {
    "encoder.hidden": "encoder.small.hidden",
    "encoder.cache": "extraction.cache",
    "encoder.epochs": "training.encoder.epochs",
    "audio_dim": "model.shared.audio_dim",
    "context": "model.teacher.context",
    "student": "model.student",
    "student.look_ahead_ms": "model.shared.look_ahead_ms",
    "losses": "losses.teacher",
    "student_losses": "losses.student",
    "training.gpu": "resources.gpu",
    "training.window": "training.teacher.window",
}


def test_an_old_file_is_told_every_new_name_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, OLD)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert "training.first_round.window and training.round.window" in message
    assert all(f" {old} to {new}" in message for old, new in NEW_NAMES.items()), message
    assert message.count(" to ") == len(NEW_NAMES)  # and of no key that is as it was


def test_old_keys_beside_current_ones_of_a_section_are_named_one_by_one(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "losses: {exp: 2, lip: 3, student: {dis: 1}}"))
    assert "losses.exp to losses.teacher.exp, losses.lip to losses.teacher.lip" in message


def test_an_old_configuration_of_a_run_is_known_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is one of jobs/distill\.py"):
        config.load_as(config.SweepSettings, written(tmp_path, OLD), [])


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_override_is_told_its_new_name(old: str) -> None:
    new = RENAMED[old].split(" and ")[0]
    section = isinstance(config.value_of(DEFAULTS, new), Section)
    key, value = (f"{old}.{{}}", f"{new}.{{}}") if section else (old, new)
    leaf = next(iter(type(config.value_of(DEFAULTS, new)).model_fields)) if section else ""
    message = refusal(None, f"{key.format(leaf)}=1")
    assert "command line" in message
    assert new in message
    assert value.format(leaf) in message or f" {old} to {new}" in message


def test_values_of_an_old_file_are_found_under_their_new_names() -> None:
    found = config.with_current_names(Settings, yaml.safe_load(OLD))
    assert found["corpus.minutes"] == 3
    assert found["model.teacher.context.width"] == found["model.student.decoder.width"] == 8
    assert found["losses.teacher.exp"] == 2
    windows = [f"training.{name}.window" for name in ("teacher", "first_round", "round")]
    assert [found[name] for name in windows] == [48] * 3
    new = DEFAULTS.model_dump(mode="json")
    assert config.differences(config.with_current_names(Settings, new), new) == []


def test_an_old_key_of_a_sweep_is_told_its_new_name() -> None:
    with pytest.raises(UserError, match=r"changes: .*student_losses to losses\.student"):
        config.changed(DEFAULTS, {"student_losses.dis": 1.0}, "changes")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        DEFAULTS.output = "runs/b"


def test_layers_of_a_named_model_are_its_own_matter() -> None:
    settings = load(
        None, ["encoder.name=some/model", "encoder.layers=[6, 12]", "encoder.small.hidden=7"]
    )
    assert settings.encoder.layers == (6, 12)
    assert load(None, ["encoder.layers=[-4, -1, 0]"]).encoder.layers == (-4, -1, 0)


def test_rounds_halve_down_to_one():
    assert DiffusionSettings(steps=8, rounds=(4, 2, 1)).rounds == (4, 2, 1)
    assert DiffusionSettings(rounds=()).rounds == ()


def test_fingerprint_follows_content_and_not_order(tmp_path: Path):
    one = load(written(tmp_path, "losses: {teacher: {exp: 2, lip: 3}}\ncorpus: {seed: 7}\n"))
    same = load(written(tmp_path, "corpus: {seed: 7}\nlosses: {teacher: {lip: 3.0, exp: 2.0}}\n"))
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_fingerprint_changes_with_every_weight():
    names = [k for k, v in LossSettings() if isinstance(v, float)]
    changed = [LossSettings(**{name: 0.375}) for name in names]
    marks = {fingerprint(losses) for losses in [LossSettings(), *changed]}
    assert len(marks) == len(names) + 1


def test_fingerprint_tells_parts_apart():
    marks = {fingerprint(*parts) for parts in (("a",), ("a", 1), ("a", "1"), (1, "a"), (), ("a1",))}
    assert len(marks) == 6
