"""`make demo` shrunk, submitted to a cluster as docs/cluster.md says, and all in S3: killed in
the middle of the teacher, submitted again, and used as people would."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from tests import clusters, jobs, s3
from tests.clusters import Cluster
from tests.tiny import CONFIG, OVERRIDES

from diffusiontalker import cluster as ray_session
from diffusiontalker import config, storage
from diffusiontalker.__main__ import main
from diffusiontalker.animation import writers
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.benchmarks import memory
from diffusiontalker.pipeline import run as pipeline_run
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.evaluation import evaluate_all
from diffusiontalker.pipeline.training import train_all
from diffusiontalker.runtime.student import Student

# One round of the shipped three: each starts processes that take 18 s of CPU.
DIFFUSION = ("diffusion={steps: 4, rounds: [2]}", "evaluation.teacher_steps=[4, 2]")
# The bundled recordings of the page, as speech without faces.
PSEUDO_LABELS = ("pseudo_labels.recordings=web/examples",)
PREFIX = "some/prefix/run/"
CACHE = "cache"
STAGES = ("corpus", "encoder", "teacher", "pseudo-labels", "round-2", "evaluation")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.running(tmp_path_factory.mktemp("s3") / "server") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(server: s3.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clusters.head(tmp_path_factory.mktemp("home"), server.environment) as found:
        yield found


@dataclass(frozen=True)
class Finished:
    """A run that was killed when the teacher had its first checkpoint, then run to its end."""

    remote: Path
    """In S3, where the jobs wrote it."""
    output: Path
    """A copy on this disk, on which the whole chain was called once more."""
    arguments: tuple[str, ...]
    before: str
    """What the job printed that was killed."""
    after: str
    """What the second job printed."""
    again: str
    """What the last call printed."""


def driver(output: Path) -> int | None:
    """The process of the job that writes to ``output``."""
    for process in memory.family(1):
        try:
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[1:2] == ["jobs/distill.py"] and f"output={output}" in words:
            return process
    return None


@pytest.fixture(scope="module")
def finished(
    cluster: Cluster, server: s3.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("distill")
    bucket = server.bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        s3.forget_clients()
        remote = storage.location(f"s3://{bucket}/{PREFIX}")
        cache = storage.location(f"s3://{bucket}/{CACHE}")
        own = ("--config", CONFIG, *OVERRIDES, *DIFFUSION, *PSEUDO_LABELS,
               f"extraction.cache={cache}")  # fmt: skip
        job = ("jobs/distill.py", *own, f"output={remote}")

        log = folder / "log.txt"
        with log.open("w") as file:
            first = cluster.start(file, *job)

        def names() -> set[str]:
            return set(server.keys(bucket, PREFIX))

        def has_checkpoint() -> bool:
            time.sleep(0.5)  # a listing takes CPU time of the job
            return any("/train/teacher-" in n and "/checkpoint_" in n for n in names())

        jobs.wait_for(lambda: "teacher      started" in log.read_text(), first, log)
        jobs.wait_for(has_checkpoint, first, log)
        process = driver(remote)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        first.wait(120)
        assert not any("/teacher-" in name and name.endswith("/stage.json") for name in names())
        second = cluster.submit(*job)
        assert second.returncode == 0, second.stdout + second.stderr

        # On this disk all stages are there: the chain is called to its end in this process.
        output = folder / "run"
        for name, content in server.objects(bucket, PREFIX).items():
            place = output / name.removeprefix(PREFIX)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        with ray_session.session():
            again = jobs.call("distill", *own, f"output={output}")
            assert again.returncode == 0, again.stdout + again.stderr
            shards = next(output.glob("corpus-*"))
            for model in ("teacher", "student-2"):
                done = jobs.call(
                    "evaluate", f"run={output}", f"model={model}", f"shards={shards}", "seeds=2",
                    "splits=[test_seen]", f"out={output / model}",
                )  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
        texts = (log.read_text(), second.stdout + second.stderr, again.stdout + again.stderr)
        yield Finished(remote, output, (*own, f"output={remote}"), *texts)
        s3.forget_clients()


def test_a_killed_run_goes_on(finished: Finished) -> None:
    assert "teacher      started" in finished.before
    assert "round-2" not in finished.before
    for stage in ("corpus", "encoder", "features"):
        assert f"{stage:<12} is there already: kept" in finished.after
    (history,) = finished.output.glob("teacher-*/history.json")
    steps = [p["step"] for p in json.loads(history.read_text()) if "loss" in p]
    assert steps == sorted(set(steps)), "an epoch was trained twice"
    # One run of Ray Train, not a second one beside the first.
    assert len(list(finished.output.glob("train/teacher-*"))) == 1
    assert "Traceback" not in finished.before + finished.after


def test_all_of_it_is_in_the_bucket(finished: Finished, server: s3.Server) -> None:
    found = {name.removeprefix(PREFIX) for name in server.keys(bucket_of(finished), PREFIX)}
    for stage in STAGES:
        assert any(name.startswith(f"{stage}-") and name.endswith("stage.json") for name in found)
    assert {
        "settings.yaml", "environment.json", "summary.json", "report.html", "sample/speech.wav",
        "sample/speech.glb", "student/decoder.onnx",
    } <= found  # fmt: skip
    assert not [name for name in found if name.startswith("features-")], "they are in the cache"
    assert any(n.endswith("/stage.json") for n in server.keys(bucket_of(finished), CACHE))
    for stage in ("encoder", "teacher", "round-2"):
        checkpoints = [n for n in found if n.startswith(f"train/{stage}-") and "/checkpoint_" in n]
        assert any(name.endswith("state.json") for name in checkpoints), stage
    for place in ("report.html", "summary.json", "student", "sample"):
        assert str(finished.remote / place) in finished.after


def bucket_of(finished: Finished) -> str:
    return str(finished.remote).split("/")[2]


def test_every_stage_is_found_again(
    finished: Finished, server: s3.Server, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for stage in (*STAGES, "features"):
        assert f"{stage:<12} is there already: kept" in finished.again
    # in the bucket as well, by this process and without Ray
    before = server.objects(bucket_of(finished), PREFIX)
    monkeypatch.setattr(pipeline_run, "start_progress_board", lambda: None)
    again = pipeline_run.Run(config.load(jobs.ROOT / CONFIG, list(finished.arguments[2:])))
    data = prepare_data(again)
    evaluate_all(again, data, train_all(again, data))
    printed = capsys.readouterr().out
    for stage in (*STAGES, "features"):
        assert f"{stage:<12} is there already: kept" in printed
    assert server.objects(bucket_of(finished), PREFIX) == before


def test_a_student_in_the_bucket_animates(finished: Finished, tmp_path: Path, animate) -> None:
    out = tmp_path / "face.csv"
    speech, student = finished.remote / "sample" / "speech.wav", finished.remote / "student"
    done = animate(speech, "--model", student, "--out", out, "--seed", 3)
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(finished.output / "sample" / "speech.wav", dtype="float32")
    expected = Student(finished.output / "student").animate(samples, rate, seed=3).coefficients
    coefficients, fps = writers.read_coefficients(out)
    assert fps == 30
    assert coefficients == pytest.approx(expected, abs=1e-5)


def test_a_mistake_fails_the_job_with_one_line(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.submit("jobs/distill.py", f"output={tmp_path}", "losses.teacher.lipp=2")
    assert done.returncode != 0
    assert "did you mean 'lip'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout


def test_without_the_token_the_cluster_refuses(cluster: Cluster, tmp_path: Path) -> None:
    stranger = tmp_path / "token"
    stranger.write_text("0" * 64)
    done = cluster.submit("-c", "print(1)", RAY_AUTH_TOKEN_PATH=str(stranger))
    assert done.returncode != 0


def test_the_log_is_no_flood(finished: Finished) -> None:
    assert len((finished.before + finished.after).splitlines()) < 140


def test_summary_holds_the_contract(finished: Finished) -> None:
    output = finished.output
    summary = json.loads((output / "summary.json").read_text())
    seen = {(r["name"], r["steps"], r["distilled"], r["split"]) for r in summary["rows"]}
    models = [
        ("teacher", 4, False),
        ("teacher", 2, False),
        ("student-2", 2, True),
    ]
    assert seen == {(*m, split) for m in models for split in ("test_seen", "test_unseen")}
    for row in summary["rows"]:
        for key in ("mbe", "lbe", "fdd", "lve", "eve", "energy_score", "diversity_upper",
                    "diversity_lower", "spread_upper", "spread_lower", "emotion_f1", "fps",
                    "size_mb", "params_m"):  # fmt: skip
            assert np.isfinite(row[key]), (row["name"], key)
        assert (row["identity_f1"] is None) == (row["split"] == "test_unseen")
        # Drawn again, the process itself is as far away as the sampling floor.
        assert row["mbe"] > summary["floor"][row["split"]]["regression"]["mbe"]
    for split in ("test_seen", "test_unseen"):
        floor = summary["floor"][split]
        assert floor["regression"]["mbe"] < floor["sampling"]["mbe"]
    assert {g["met"] for g in summary["goals"]} <= {True, False, None}
    assert summary["environment"]["torch"].startswith("2.13.0")
    assert set(summary["seconds"]) >= {"corpus", "teacher", "round-2", "evaluation"}
    assert summary["corpus"]["pseudo_labelled_minutes"] > 0.2
    assert "Students were also trained on" in (output / "student" / "README.md").read_text()
    assert (output / "settings.yaml").is_file()
    assert (output / "environment.json").is_file()


def test_a_model_is_measured_on_shards_as_in_the_run(finished: Finished) -> None:
    output = finished.output
    rows = json.loads((output / "summary.json").read_text())["rows"]
    for name, steps in (("teacher", 4), ("student-2", 2)):
        found = json.loads((output / name / "evaluation.json").read_text())
        (own,) = found["rows"]
        (same,) = [r for r in rows if (r["name"], r["steps"]) == (name, steps)
                   and r["split"] == "test_seen"]  # fmt: skip
        # Features and log-mel are in half precision in the run's shards.
        for key in ("mbe", "lbe", "energy_score", "spread_upper"):
            assert own[key] == pytest.approx(same[key], rel=0.02), (name, key)
        assert set(found["floor"]) == {"test_seen"}


def test_tensorboard_has_the_curves_of_every_training_stage(finished: Finished) -> None:
    output = finished.output
    boards = {path.parent.name for path in output.glob("tensorboard/*/events.*")}
    assert {name.rpartition("-")[0] for name in boards} == {"encoder", "teacher", "round-2"}
    assert boards <= {path.name for path in output.iterdir()}, "named as the stages"


def test_status_shows_a_finished_run(finished: Finished) -> None:
    output = finished.output
    done = jobs.call("status", str(output))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    states = {row[0]: row[1] for row in rows if len(row) > 1}
    assert states["teacher"] == states["round-2"] == states["evaluation"] == "kept"
    assert states["export"] in ("kept", "done")
    assert "running" not in done.stdout


def test_report_opens_without_network(finished: Finished) -> None:
    output = finished.output
    page = (output / "report.html").read_text()
    assert "<canvas" in page
    for reference in ('<link rel="stylesheet', "<script src", "<img src", "@import"):
        assert reference not in page


def test_sample_is_a_held_out_sentence(finished: Finished) -> None:
    output = finished.output
    names = {path.name for path in (output / "sample").iterdir()}
    assert names == {"speech.wav", "speech.csv", "speech.json", "speech.glb", "speech.txt"}
    coefficients, fps = writers.read_coefficients(output / "sample" / "speech.csv")
    samples, rate = soundfile.read(output / "sample" / "speech.wav")
    assert fps == 30
    assert abs(len(coefficients) / fps - len(samples) / rate) < 0.1


@pytest.fixture(scope="module")
def speech(finished: Finished) -> tuple[np.ndarray, int]:
    return soundfile.read(finished.output / "sample" / "speech.wav", dtype="float32")


Animate = Callable[..., jobs.Done]


@pytest.fixture
def animate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Animate:
    """``jobs/animate.py`` in this process: to start one takes longer than to animate."""

    def run(*arguments: object) -> jobs.Done:
        monkeypatch.setattr(sys, "argv", ["jobs/animate.py", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = int(error.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, status, out, err)

    return run


def test_animate_is_a_command(finished, tmp_path) -> None:
    out = tmp_path / "out.csv"
    speech, student = finished.output / "sample" / "speech.wav", finished.output / "student"
    done = jobs.run("animate", speech, "--model", student, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.is_file()


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.wav", 8000, 1), ("b.flac", 48000, 2), ("c.ogg", 44100, 2), ("d.mp3", 22050, 1)],
)
def test_animate_takes_any_recording(
    finished, speech, animate, tmp_path, name, rate, channels
) -> None:
    samples, source = speech
    sound = soxr.resample(samples, source, rate)
    soundfile.write(tmp_path / name, np.repeat(sound[:, None], channels, axis=1), rate)
    out = tmp_path / "out.csv"
    done = animate(tmp_path / name, "--model", finished.output / "student", "--out", out)
    assert done.returncode == 0, done.stderr
    coefficients, fps = writers.read_coefficients(out)
    assert abs(len(coefficients) / fps - len(sound) / rate) < 0.1
    assert coefficients.shape[1] == len(CHANNELS)
    assert coefficients.min() >= 0
    assert coefficients.max() <= 1
    assert coefficients.std(axis=0).max() > 0.01


def test_animate_takes_names_and_seeds(finished, speech, animate, tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", speech[0][: 2 * speech[1]], speech[1])
    faces = []
    for number, choice in enumerate(
        (
            ["--seed", "1"], ["--seed", "1"], ["--seed", "2"],
            ["--seed", "1", "--emotion", "anger"], ["--seed", "1", "--emotion", "sadness"],
        )
    ):  # fmt: skip
        out = tmp_path / f"{number}.npz"
        done = animate(
            tmp_path / "a.wav", "--model", finished.output / "student", "--out", out,
            "--identity", "s001", *choice,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "s001" in done.stdout
        faces.append(writers.read_coefficients(out)[0])
    assert np.array_equal(faces[0], faces[1])
    assert not np.array_equal(faces[0], faces[2])
    assert not np.array_equal(faces[3], faces[4])


def bad_recordings(folder: Path) -> dict[str, Path]:
    rate = 16000
    noise = np.random.default_rng(0).normal(0, 0.1, rate)
    paths = {name: folder / f"{name}.wav" for name in ("empty", "text", "nan", "short")}
    paths["missing"] = folder / "missing.wav"
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("this is no sound")
    noise_nan = noise.copy()
    noise_nan[100] = np.nan
    soundfile.write(paths["nan"], noise_nan, rate, subtype="FLOAT")
    soundfile.write(paths["short"], noise[: rate // 20], rate)
    return paths


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "nan", "short"])
def test_animate_says_what_is_wrong_with_a_recording(finished, animate, tmp_path, kind) -> None:
    path = bad_recordings(tmp_path)[kind]
    done = animate(path, "--model", finished.output / "student", "--out", tmp_path / "x.csv")
    assert path.name in jobs.mistake(done)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--identity", "s0001"], "s001"),
        (["--emotion", "angry"], "anger"),
        (["--out", "x.bvh"], ".csv"),
        (["--model", "no/such/folder"], "no such artifact"),
    ],
)
def test_animate_says_what_is_wrong_with_a_choice(
    finished, animate, tmp_path, arguments, word
) -> None:
    defaults = {"--model": finished.output / "student", "--out": tmp_path / "x.csv"}
    defaults.update(zip(arguments[::2], arguments[1::2], strict=True))
    flat = [part for pair in defaults.items() for part in pair]
    done = animate(finished.output / "sample" / "speech.wav", *flat)
    assert word in jobs.mistake(done)
    assert len(done.stderr.splitlines()) == 1
