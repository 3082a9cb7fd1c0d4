"""What every job says of itself: an example that is valid there, and at once."""

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from diffusiontalker import cli, config
from diffusiontalker.config import (
    CompareSettings,
    DataBenchmarkSettings,
    DataSettings,
    EvaluateJobSettings,
    ExportJobSettings,
    HumanBenchmarkSettings,
    RobustnessBenchmarkSettings,
    RuntimeBenchmarkSettings,
    Section,
    ServeBenchmarkSettings,
    Settings,
    SweepBenchmarkSettings,
    SweepSettings,
    TrainBenchmarkSettings,
)

ROOT = Path(__file__).resolve().parents[2]
JOBS: dict[str, type[Section]] = {
    "distill": Settings,
    "train": Settings,
    "prepare": DataSettings,
    "sweep": SweepSettings,
    "compare": CompareSettings,
    "evaluate": EvaluateJobSettings,
    "export": ExportJobSettings,
    "benchmark data": DataBenchmarkSettings,
    "benchmark train": TrainBenchmarkSettings,
    "benchmark runtime": RuntimeBenchmarkSettings,
    "benchmark human": HumanBenchmarkSettings,
    "benchmark look-ahead": Settings,
    "benchmark robustness": RobustnessBenchmarkSettings,
    "benchmark serve": ServeBenchmarkSettings,
    "benchmark sweep": SweepBenchmarkSettings,
}


def help_of(job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    name, *sub = job.split()
    module = importlib.import_module(f"jobs.{name}")
    names = (
        ["data", "train", "runtime", "human", "look_ahead", "robustness", "serve", "sweep"]
        if sub
        else [name]
    )
    jobs = [getattr(module, one) for one in names]
    monkeypatch.setattr(sys, "argv", ["job", *sub, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main(jobs if sub else jobs[0])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("job", JOBS)
def test_help_shows_a_command_that_is_valid(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    text = help_of(job, monkeypatch, capsys)
    example = text.partition("Example: ")[2].partition("\n\n")[0]
    python, script, *arguments = shlex.split(example)
    name, *sub = job.split()
    assert (python, script) == ("python", f"jobs/{name}.py")
    assert arguments[: len(sub)] == sub
    arguments = arguments[len(sub) :]
    file = None
    if "--config" in arguments:
        at = arguments.index("--config")
        file = arguments[at + 1]
        del arguments[at : at + 2]
    assert isinstance(config.load_as(JOBS[job], file, arguments), JOBS[job])


def test_help_and_mistakes_wait_for_no_ray_and_no_torch() -> None:
    names = ", ".join(sorted({f"jobs.{job.split()[0]}" for job in JOBS}))
    heavy = "{'ray', 'torch', 'transformers', 'pyarrow'} & set(sys.modules)"
    code = f"import sys, {names}; found = {heavy}; assert not found, found"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
