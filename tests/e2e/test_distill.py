"""`make demo` shrunk: killed in the middle of the teacher, run again, and used as people would."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from tests import jobs
from tests.tiny import CONFIG, OVERRIDES

from diffusiontalker import cluster
from diffusiontalker.__main__ import main
from diffusiontalker.animation import writers
from diffusiontalker.arkit import CHANNELS

# One round of the shipped three. The second and its own settings are test_job_submit's.
DIFFUSION = ("diffusion={steps: 4, rounds: [2]}", "evaluation.teacher_steps=[4, 2]")
# The bundled recordings of the page, as speech without faces.
PSEUDO_LABELS = ("pseudo_labels.recordings=web/examples",)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str, str]:
    """A run that was killed when the teacher had its first checkpoint, then run to its end, that
    in this process."""
    folder = tmp_path_factory.mktemp("distill")
    output, log = folder / "run", folder / "log.txt"
    arguments = ("--config", CONFIG, f"output={output}", *OVERRIDES, *DIFFUSION, *PSEUDO_LABELS)
    process = jobs.start(log, "distill", *arguments)
    jobs.wait_for(lambda: list(output.glob("train/teacher-*/checkpoint_*")), process, log)
    jobs.kill(process)
    assert not list(output.glob("teacher-*/stage.json")), "killed too late to test anything"
    with cluster.session():
        done = [jobs.call(job, *arguments) for job in ("train", "distill")]
        shards = next(output.glob("corpus-*"))
        measured = [
            jobs.call("evaluate", f"run={output}", f"model={model}", f"shards={shards}", "seeds=2",
                      "splits=[test_seen]", f"out={output / model}")
            for model in ("teacher", "student-2")
        ]  # fmt: skip
    after = "".join(one.stdout + one.stderr for one in done)
    assert [one.returncode for one in done] == [0, 0], after
    assert [one.returncode for one in measured] == [0, 0], measured
    return output, log.read_text(), after


def test_a_killed_run_goes_on(finished) -> None:
    output, before, after = finished
    assert "teacher      started" in before
    assert "round-2" not in before
    for stage in ("corpus", "encoder", "features"):
        assert f"{stage:<12} is there already: kept" in after
    (history,) = output.glob("teacher-*/history.json")
    steps = [p["step"] for p in json.loads(history.read_text()) if "loss" in p]
    assert steps == sorted(set(steps)), "an epoch was trained twice"
    # One run of Ray Train, not a second one beside the first.
    assert len(list(output.glob("train/teacher-*"))) == 1
    assert "Traceback" not in before + after


def test_the_log_is_no_flood(finished) -> None:
    _, before, after = finished
    assert len((before + after).splitlines()) < 120


def test_summary_holds_the_contract(finished) -> None:
    output, _, _ = finished
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


def test_a_model_is_measured_on_shards_as_in_the_run(finished) -> None:
    output, _, _ = finished
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


def test_tensorboard_has_the_curves_of_every_training_stage(finished) -> None:
    output, _, _ = finished
    boards = {path.parent.name for path in output.glob("tensorboard/*/events.*")}
    assert {name.rpartition("-")[0] for name in boards} == {"encoder", "teacher", "round-2"}
    assert boards <= {path.name for path in output.iterdir()}, "named as the stages"


def test_status_shows_a_finished_run(finished) -> None:
    output, _, _ = finished
    done = jobs.call("status", str(output))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    states = {row[0]: row[1] for row in rows if len(row) > 1}
    assert states["teacher"] == "kept"  # jobs/train.py was there before
    assert states["round-2"] == states["evaluation"] == states["export"] == "done"
    assert "running" not in done.stdout


def test_report_opens_without_network(finished) -> None:
    output, _, _ = finished
    page = (output / "report.html").read_text()
    assert "<canvas" in page
    for reference in ('<link rel="stylesheet', "<script src", "<img src", "@import"):
        assert reference not in page


def test_sample_is_a_held_out_sentence(finished) -> None:
    output, _, _ = finished
    names = {path.name for path in (output / "sample").iterdir()}
    assert names == {"speech.wav", "speech.csv", "speech.json", "speech.glb", "speech.txt"}
    coefficients, fps = writers.read_coefficients(output / "sample" / "speech.csv")
    samples, rate = soundfile.read(output / "sample" / "speech.wav")
    assert fps == 30
    assert abs(len(coefficients) / fps - len(samples) / rate) < 0.1


@pytest.fixture(scope="module")
def speech(finished) -> tuple[np.ndarray, int]:
    return soundfile.read(finished[0] / "sample" / "speech.wav", dtype="float32")


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
    speech, student = finished[0] / "sample" / "speech.wav", finished[0] / "student"
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
    done = animate(tmp_path / name, "--model", finished[0] / "student", "--out", out)
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
            tmp_path / "a.wav", "--model", finished[0] / "student", "--out", out,
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
    done = animate(path, "--model", finished[0] / "student", "--out", tmp_path / "x.csv")
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
    defaults = {"--model": finished[0] / "student", "--out": tmp_path / "x.csv"}
    defaults.update(zip(arguments[::2], arguments[1::2], strict=True))
    flat = [part for pair in defaults.items() for part in pair]
    done = animate(finished[0] / "sample" / "speech.wav", *flat)
    assert word in jobs.mistake(done)
    assert len(done.stderr.splitlines()) == 1
