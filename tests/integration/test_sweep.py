"""Sweeps on real Ray: killed and gone on with, on disk and in S3, and blind to the test split."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import ray
from ray.util.placement_group import placement_group_table
from tests import jobs
from tests.integration.conftest import open_ray_s3
from tests.s3 import Server
from tests.tiny import CONFIG, OVERRIDES

from diffusiontalker import config, preflight, storage
from diffusiontalker.benchmarks import memory
from diffusiontalker.config import SweepSettings
from diffusiontalker.tuning import sweep, trial_store
from diffusiontalker.tuning.trial_store import TrialStore

SPACE = (
    "space.training.teacher.learning_rate={kind: log_uniform, low: 1.0e-6, high: 2.0e-3}",
    "space.losses.teacher.temperature={kind: log_uniform, low: 0.05, high: 0.5}",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all sweeps here find, or make, their corpus and features."""
    return tmp_path_factory.mktemp("base") / "run"


def told(base: Path, output: object, *more: str) -> list[str]:
    """The settings of a sweep over short teachers."""
    tiny = [f"changes.{override}" for override in OVERRIDES]
    return [
        f"base={jobs.ROOT / CONFIG}", *tiny, f"changes.output={base}", "changes.training.workers=0",
        "changes.training.teacher={epochs: 2, passes: 2, batch: 8, learning_rate: 2.0e-3}",
        *SPACE, f"output={output}", "confirm=0", *more,
    ]  # fmt: skip


def settings(base: Path, output: object, *more: str) -> SweepSettings:
    return config.load_as(SweepSettings, None, told(base, output, *more))


@contextmanager
def another_ray() -> Iterator[None]:
    """A process that Ray takes for one of another Ray on this machine."""
    command = ["raylet", "-c", "import time; time.sleep(600)", "--gcs-address=127.0.0.1:9"]
    process = subprocess.Popen(command, executable=sys.executable)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def known(folder: Path) -> TrialStore:
    if not storage.is_file(folder / trial_store.FILE):
        return TrialStore(key="")
    return TrialStore.model_validate(storage.read_json(folder / trial_store.FILE))


def is_trial(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return False
    return command.startswith(("ray::ImplicitFunc", "ray::run_trial"))


@dataclass(frozen=True)
class Killed:
    """A sweep in S3 that lost a trial's process and was then killed, and what went on with it."""

    output: Path
    before: TrialStore
    after: TrialStore
    printed: str


@pytest.fixture(scope="module")
def killed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    with open_ray_s3(tmp_path_factory) as server:
        yield kill_and_go_on(base, server, tmp_path_factory.mktemp("log") / "log.txt")


def kill_and_go_on(base: Path, server: Server, log: Path) -> Killed:
    output = storage.location(f"s3://{server.bucket()}/sweeps/first")
    overrides = told(base, output, "trials=4", "reduction=2", "confirm=1", "finalists=1")
    process = jobs.start(log, "sweep", *overrides)

    # a trial loses its process, and then all of it is killed
    jobs.wait_for(lambda: any(trial.curve for trial in known(output).trials), process, log)
    trials = [child for child in memory.family(process.pid) if is_trial(child)]
    assert trials
    os.kill(trials[0], signal.SIGKILL)
    jobs.wait_for(lambda: any(trial.ended for trial in known(output).trials), process, log)
    jobs.kill(process)
    before = known(output)

    # from here on nothing can be read of a test split
    spoiled = [path for path in base.rglob("*.parquet") if path.name.startswith("test_")]
    assert len(spoiled) >= 4  # of the corpus, and of its features
    for path in spoiled:
        path.write_bytes(bytes(path.stat().st_size))
    done = jobs.call("sweep", *overrides)
    assert done.returncode == 0, done.stderr
    return Killed(output, before, known(output), done.stdout)


def test_a_killed_sweep_goes_on_and_never_reads_a_test_shard(
    killed: Killed, tmp_path: Path, ray_s3: Server
) -> None:
    before, after, output = killed.before, killed.after, killed.output
    ended = [trial for trial in before.trials if trial.ended]
    assert 1 <= len(ended) < 4
    assert not before.in_state("failed")
    assert [trial.number for trial in after.trials] == [0, 1, 2, 3]
    for trial in ended:
        assert after.find(trial.id) == trial
    assert {trial.state for trial in after.trials} <= {"done", "pruned"}
    assert after.in_state("pruned"), "nothing was ended early"
    for trial in after.in_state("done"):
        assert [point.epochs for point in trial.curve] == [1, 2]
    first = after.trials[0]
    assert first.state == "done"
    assert first.params == {
        "training.teacher.learning_rate": 2.0e-3,
        "losses.teacher.temperature": 0.1,
    }

    # what is left to look at, and to go on with
    names = storage.sizes(output)
    assert {"best.yaml", "sweep.html", "sweep.json", "study.db", "trials.json"} <= names.keys()
    assert not any(name.startswith("trials/") for name in names), "weights were left behind"
    best = after.best(["energy_score"])
    assert best is not None
    betters = after.ranked(["energy_score"])
    betters = betters[: betters.index(first)]
    assert {one.trial for one in after.confirmed} == {one.id for one in betters[:1]}
    for name in ("best.yaml", "study.db"):
        (tmp_path / name).write_bytes(storage.read_bytes(output / name))
    winner = config.load(tmp_path / "best.yaml")
    assert winner.losses.teacher.temperature == best.params["losses.teacher.temperature"]
    assert winner.training.teacher.epochs == config.load(jobs.ROOT / CONFIG).training.teacher.epochs
    preflight.check(winner.model_copy(update={"output": str(tmp_path / "next")}))
    assert "<html" in storage.read_text(output / "sweep.html")[:200]
    boards = {path.parent.name for path in (output / "tensorboard").rglob("events.*")}
    assert {"trial-000", "trial-001", "trial-002", "trial-003"} <= boards
    assert all("trial-00" in name or name == "base-seed-1" for name in boards)
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert len(study.trials) == 4
    assert "4 of 4" in killed.printed
    assert "of the base" in killed.printed


def test_a_finished_sweep_is_kept_and_can_have_more_trials(
    base: Path, killed: Killed, ray_s3: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = settings(
        base, killed.output, "trials=4", "reduction=2", "confirm=1", "finalists=1"
    )  # fmt: skip
    again = sweep.run(asked)
    assert again.trials == killed.after.trials
    assert "4 trials are there already: kept" in capsys.readouterr().out


def test_the_same_again_then_a_trial_with_workers_that_leaves_nothing_behind(
    base: Path, killed: Killed, tmp_path: Path, ray_s3: Server
) -> None:
    # the same settings and seed, in another process and beside no other trial
    both = "objectives=[energy_score, missed_closures]"
    alone = settings(base, tmp_path / "sweep", "trials=2", "concurrent=1", "pruning=none", both)
    here = sweep.run(alone)
    for a, b in zip(killed.after.trials[0].curve, here.trials[0].curve, strict=True):
        assert a.energy_score == pytest.approx(b.energy_score, rel=1e-5)
        assert b.missed_closures is not None
        assert 0 <= b.missed_closures <= 1

    # one more, which is trained by a worker and ended early
    cpus = ray.cluster_resources()["CPU"]
    asked = settings(
        base, tmp_path / "sweep", "trials=3", "concurrent=1", "reduction=2", both,
        "changes.training.workers=1", "changes.resources.worker_cpus=0.5",
    )  # fmt: skip
    with another_ray():
        found = sweep.run(asked)
        assert found.trials[:2] == here.trials
        assert [trial.state for trial in found.trials[2:]] == ["pruned"]
        assert found.trials[2].error is None

        def held() -> tuple[float, set[str]]:
            groups = {group["state"] for group in placement_group_table().values()}
            return cpus - ray.available_resources().get("CPU", 0), groups - {"REMOVED"}

        # Each process ends when Ray has seen its owner's end: trial, controller, workers, readers.
        deadline = time.monotonic() + 60
        while held() != (0, set()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert held() == (0, set())
