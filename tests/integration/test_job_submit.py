"""The whole chain on a cluster, all of it in S3, by the commands of docs/cluster.md."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from tests import jobs, s3
from tests.jobs import ROOT
from tests.ports import answers, free_port
from tests.tiny import CONFIG, OVERRIDES

from diffusiontalker import config, storage
from diffusiontalker.animation import writers
from diffusiontalker.pipeline import run as pipeline_run
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.evaluation import evaluate_all
from diffusiontalker.pipeline.training import train_all
from diffusiontalker.runtime.student import Student

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.running(tmp_path_factory.mktemp("s3") / "server") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(server, tmp_path_factory):
    """A head node on free loopback ports, begun in a home without a token; yields address and
    environment."""
    # Ray's sockets have paths of at most 107 characters, so its folder must be a short one.
    temporary = Path("/tmp") / f"dt-{uuid.uuid4().hex[:8]}"
    home = tmp_path_factory.mktemp("home")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(home), "RAY_AUTH_MODE": "token"} | server.environment
    token = [*RAY, "get-auth-token", "--generate"]
    subprocess.run(token, env=environment, check=True, capture_output=True)
    assert (home / ".ray" / "auth_token").is_file()
    dashboard = free_port()
    # --block, and stopped by its process group: `ray stop` would end every cluster of the machine.
    head = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
         f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", "--num-cpus=2",
         f"--dashboard-agent-listen-port={free_port()}",  # or other clusters here would hold it
         f"--temp-dir={temporary}", "--disable-usage-stats"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 120
        # To ask by a job takes seconds of CPU each time.
        while not answers(dashboard) and time.monotonic() < deadline:
            assert head.poll() is None, "the cluster did not start"
            time.sleep(0.1)
        while submit((address, environment), "-c", "pass").returncode != 0:
            assert head.poll() is None, "the cluster did not start"
            assert time.monotonic() < deadline, "the cluster did not start in time"
            time.sleep(1)
        yield address, environment
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)


def submit(cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    address, environment = cluster
    return subprocess.run(
        [*RAY, "job", "submit", "--address", address, "--", sys.executable, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550,
    )  # fmt: skip


def test_the_whole_chain_runs_as_a_submitted_job_in_s3(
    cluster, server, tmp_path, monkeypatch, capsys
):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3.forget_clients()
    folder = storage.location(f"s3://{server.bucket()}/some/prefix/run")
    cache = folder.parent / "cache"
    overrides = (
        *OVERRIDES, f"output={folder}",
        # Ray Train's workers on S3 are test_stream's: here they would take minutes to start.
        "training.workers=0",
        f"extraction.cache={cache}", "diffusion={steps: 4, rounds: [2, 1]}",
        "evaluation.teacher_steps=[4]",
        "training.teacher={epochs: 1, passes: 1, batch: 8}",
    )  # fmt: skip
    done = submit(cluster, "jobs/distill.py", "--config", CONFIG, *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    found = storage.sizes(folder)
    stages = ("corpus", "encoder", "teacher", "round-2", "round-1", "evaluation")
    for stage in stages:
        assert any(name.startswith(f"{stage}-") and name.endswith("stage.json") for name in found)
    assert {
        "settings.yaml", "environment.json", "summary.json", "report.html", "sample/speech.wav",
        "sample/speech.glb", "student/decoder.onnx",
    } <= found.keys()  # fmt: skip
    assert not [name for name in found if name.startswith("features-")]
    assert "/stage.json" in " ".join(storage.sizes(cache))
    for stage in ("encoder", "teacher", "round-2", "round-1"):
        checkpoints = [n for n in found if n.startswith(f"train/{stage}-") and "/epoch-" in n]
        assert any(name.endswith("state.json") for name in checkpoints), stage
    summary = storage.read_json(folder / "summary.json")
    assert {(r["name"], r["steps"]) for r in summary["rows"]} == {
        ("teacher", 4), ("student-2", 2), ("student-1", 1)
    }  # fmt: skip
    assert "<canvas" in storage.read_text(folder / "report.html")
    for place in ("report.html", "summary.json", "student", "sample"):
        assert str(folder / place) in done.stdout

    # Run again, every stage is found in the bucket; in this process, as it needs no Ray then.
    bucket = str(folder).split("/")[2]
    before = server.objects(bucket, "some/prefix/run/")
    monkeypatch.setattr(pipeline_run, "start_progress_board", lambda: None)
    again = pipeline_run.Run(config.load(ROOT / CONFIG, list(overrides)))
    data = prepare_data(again)
    evaluate_all(again, data, train_all(again, data))
    said = capsys.readouterr().out
    for stage in (*stages, "features"):
        assert f"{stage:<12} is there already: kept" in said
    assert server.objects(bucket, "some/prefix/run/") == before

    out = folder.parent / "face.csv"
    speech, student = folder / "sample/speech.wav", folder / "student"
    done = jobs.run("animate", speech, "--model", student, "--out", out, "--seed", 3)
    assert done.returncode == 0, done.stderr
    (tmp_path / "sample").mkdir()
    storage.fetch(folder / "sample", tmp_path / "sample")
    samples, rate = soundfile.read(tmp_path / "sample" / "speech.wav", dtype="float32")
    expected = Student(folder / "student").animate(samples, rate, seed=3).coefficients
    coefficients, fps = writers.read_coefficients(out)
    assert fps == 30
    assert coefficients == pytest.approx(expected, abs=1e-5)


def test_a_mistake_fails_the_job_with_one_line(cluster, tmp_path) -> None:
    done = submit(cluster, "jobs/distill.py", f"output={tmp_path}", "losses.teacher.lipp=2")
    assert done.returncode != 0
    assert "did you mean 'lip'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout


def test_without_the_token_the_cluster_refuses(cluster, tmp_path) -> None:
    address, environment = cluster
    stranger = tmp_path / "token"
    stranger.write_text("0" * 64)
    done = subprocess.run(
        [*RAY, "job", "submit", "--address", address, "--", sys.executable, "-c", "print(1)"],
        cwd=ROOT, env={**environment, "RAY_AUTH_TOKEN_PATH": str(stranger)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
