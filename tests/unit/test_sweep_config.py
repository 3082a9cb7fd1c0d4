"""The shipped sweeps, what makes a sweep another one, and a user's mistakes on the command line."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from jobs.sweep import sweep as job
from tests.unit.sweeps import EXP, ROOT, store, sweep, trial

from diffusiontalker import cli, cluster, config, preflight
from diffusiontalker.config import SweepSettings
from diffusiontalker.tuning import space
from diffusiontalker.tuning import sweep as tuning

SHIPPED = sorted((ROOT / "configs").glob("sweep*.yaml"))
QUICK = "configs/sweep-quick.yaml"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations name their base from there; on a machine that has what they ask for."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cluster, "local_cpus", lambda: 16)
    monkeypatch.setattr(preflight, "_gpus", lambda: 1)


# the shipped ones


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_sweep_can_begin(path: Path, tmp_path: Path) -> None:
    of = config.load_as(SweepSettings, path, [f"output={tmp_path / 'sweep'}"])
    base = tuning.begin(of)
    assert (tmp_path / "sweep").is_dir()
    assert base == space.base_of(of)
    # The first trial is the base as it is shipped: what wins must beat that.
    own = config.load(of.base)
    assert space.defaults(of, own) == space.defaults(of, base)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_sweeps_use_nothing_that_is_not_there(path: Path) -> None:
    of = config.load_as(SweepSettings, path, [])
    assert Path(of.base).is_file()
    assert of.mlflow is None


def test_the_sweep_of_the_documentation_can_begin(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "sweep.yaml"
    path.write_text(example)
    of = config.load_as(SweepSettings, path, [f"output={tmp_path / 'sweep'}"])
    assert space.stages_of(of, tuning.begin(of)) == [2]


def test_the_quick_one_trains_in_one_process_and_leaves_the_base_alone() -> None:
    of = config.load_as(SweepSettings, QUICK, [])
    base = space.base_of(of)
    assert base.training.workers == 0
    assert Path(base.output).is_relative_to(of.output)  # `make demo` keeps its corpus


# what makes trials comparable


def key(of: SweepSettings) -> str:
    return tuning.key_of(of, space.base_of(of))


@pytest.mark.parametrize(
    "more",
    [
        {"output": "runs/elsewhere"},
        {"trials": 400},
        {"search": "random"},
        {"pruning": "none", "grace": 2, "reduction": 4},
        {"concurrent": 1},
        {"max_failures": 0},
        {"confirm": 3},
        {"seed": 7},
        {"mlflow": "sqlite:///mlflow.db"},
        {"changes": {"output": "runs/elsewhere"}},
        {"changes": {"evaluation.seeds": 2, "export.precision": "fp32"}},
        {"changes": {"resources.threads": 2, "resources.worker_cpus": 3}},
        {"changes": {"losses.teacher.exp": 1.0}},  # as it is anyway
    ],
)
def test_a_sweep_goes_on_with_other(more: dict[str, Any]) -> None:
    assert key(sweep(**more)) == key(sweep())


@pytest.mark.parametrize(
    "more",
    [
        {"objectives": ["lbe"]},
        {"objectives": ["energy_score", "lbe"]},
        {"stage": "chain"},
        {"searched": {"losses.teacher.exp": EXP}},
        {"searched": {"losses.teacher.exp": {**EXP, "high": 11}, "losses.teacher.lip": {**EXP}}},
        {"changes": {"losses.teacher.vel": 0.25}},
        {"changes": {"training.teacher.epochs": 7}},
        {"changes": {"training.seed": 1}},
        {"changes": {"corpus.minutes": 20}},
    ],
)
def test_it_is_another_one_with_other(more: dict[str, Any]) -> None:
    assert key(sweep(**more)) != key(sweep())


def test_the_order_of_the_space_does_not_matter() -> None:
    one = {"losses.teacher.exp": EXP, "losses.teacher.lip": EXP}
    assert key(sweep(one)) == key(sweep(dict(reversed(one.items()))))


# mistakes as a command


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    """What a sweep that is not begun says: one line, before Ray starts."""

    def session() -> None:
        raise AssertionError("Ray must not start")

    monkeypatch.setattr(cluster, "session", session)
    monkeypatch.setattr(sys, "argv", ["sweep.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main(job)
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("error: ").rstrip()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trails=3"], "command line: unknown setting 'trails'; did you mean 'trials'?"),
        (["trials=1"], "command line: trials: Input should be greater than or equal to 2 (got 1)"),
        (
            ["objectives=[lbee]"],
            "command line: objectives.0: Input should be 'lbe', 'energy_score', ",
        ),
        (["objectives=[lbe, lbe]"], "command line: objectives name one figure twice"),
        (["space={}"], "command line: space: Dictionary should have at least 1 item"),
        (["space.losses.teacher.exp=3"], "command line: space.losses.teacher.exp: "),
        (
            ["space.losses.teacher.exp={kind: uniform, low: 3, high: 2}"],
            "low must be below high, not 3 and 2",
        ),
        (
            ["space.losses.teacher.exp={kind: log_uniform, low: 0, high: 2}"],
            "a log_uniform range starts above 0, not at 0",
        ),
        (
            ["space.model.shared.audio_dim={kind: int, low: 0.5, high: 2}"],
            "the bounds of an int must be whole numbers",
        ),
        (["space.losses.teacher.exp={kind: uniform, low: 0, high: .inf}"], "finite number"),
        (["space.losses.teacher.exp={kind: choice, choices: [1]}"], "at least 2 items"),
        (
            ["space.losses.teacher.exp={kind: choice, choices: [1, 1]}"],
            "one of the choices stands twice",
        ),
        (
            ["space.losses.teacher.exp={kind: uniform, low: 0, high: 1, hi: 1}"],
            "command line: unknown setting 'space.losses.teacher.exp.hi'; did you mean 'high'?",
        ),
        (
            ["space.losses.teacher.exp={kind: uniform, low: 0}"],
            "command line: space.losses.teacher.exp.high is needed; give it in a file "
            "(--config FILE), or as space.losses.teacher.exp.high=...",
        ),
        (
            ["space.training.seed={kind: int, low: 0, high: 100}"],
            "space.training.seed: confirm tries other seeds; take it out",
        ),
        (
            ["space.losses.teacher.epx={kind: uniform, low: 0, high: 2}"],
            "space.losses.teacher.epx: unknown setting 'losses.teacher.epx'; did you mean 'exp'?",
        ),
        (
            ["changes.losses.teacher.epx=3"],
            "changes: unknown setting 'losses.teacher.epx'; did you mean 'exp'?",
        ),
        (["changes=3"], "command line: changes: Input should be a valid dictionary (got 3)"),
        (["base=nowhere.yaml"], "nowhere.yaml: cannot read the configuration"),
        (["stage=round", "steps=3"], "steps: configs/quickstart.yaml has no round of 3 steps"),
        (
            ["stage=round", "changes.diffusion.rounds=[]"],
            "stage: configs/quickstart.yaml has no rounds; sweep stage: teacher",
        ),
        (["output=http://host/sweep"], "http:// is not known; give a local path or s3://"),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    arguments: list[str], line: str,
) -> None:  # fmt: skip
    output = tmp_path / "sweep"
    said = refused(monkeypatch, capsys, "--config", QUICK, f"output={output}", *arguments)
    assert line in said
    assert not output.exists()


def test_a_configuration_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, "--config", "nowhere.yaml")
    assert said.startswith("nowhere.yaml: cannot read the configuration")
    assert "space is needed" in refused(monkeypatch, capsys)  # it has no default


def test_mlflow_must_be_there_to_be_logged_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    there: dict[str, Any] = {"mlflow": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there[name])
    arguments = ["--config", QUICK, f"output={tmp_path}", "mlflow=sqlite:///mlflow.db"]
    assert refused(monkeypatch, capsys, *arguments) == (
        "mlflow: the package is not installed; pip install mlflow, or leave it out"
    )
    there["mlflow"] = object()
    of = config.load_as(SweepSettings, arguments[1], arguments[2:])
    tuning.begin(of)


def test_the_folder_of_another_sweep_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    of = config.load_as(SweepSettings, QUICK, [f"output={tmp_path}"])
    known = store(trial(0, 0.5)).model_copy(update={"key": tuning.key_of(of, tuning.begin(of))})
    known.write(tmp_path)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--config", QUICK, f"output={tmp_path}"]
    assert refused(monkeypatch, capsys, *arguments, "objectives=[lbe]") == (
        f"{tmp_path}: holds a sweep of another base, space, stage or objectives; give this one "
        "another output=..., or remove that folder"
    )
    (tmp_path / "trials.json").write_text("{")
    assert "it is no JSON" in refused(monkeypatch, capsys, *arguments)
    (tmp_path / "trials.json").write_text("[]")
    assert refused(monkeypatch, capsys, *arguments) == (
        f"{tmp_path / 'trials.json'}: not the trials of a sweep; remove {tmp_path} to start again"
    )
    (tmp_path / "trials.json").write_bytes(content["trials.json"])
    assert tuning.begin(of) == space.base_of(of)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content


def test_an_output_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "sweep"
    said = refused(monkeypatch, capsys, "--config", QUICK, f"output={output}")
    assert said.startswith(f"cannot write {output}")


def test_help_says_what_a_sweep_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main(job)
    assert not ended.value.code
    text = " ".join(capsys.readouterr().out.split())
    assert "best.yaml (for jobs/distill.py --config)" in text
