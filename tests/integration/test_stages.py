"""Real Ray: what stages do with corrupt input, changed settings and folders they cannot write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tiny import CONFIG, OVERRIDES

ROOT = Path(__file__).parents[2]


def run(job: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--config", CONFIG, *OVERRIDES, *overrides],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    )  # fmt: skip


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("corpus") / "run"
    done = run("prepare", f"output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = output.glob("corpus-*")
    return folder


def test_the_same_corpus_is_kept_and_another_is_made_anew(corpus) -> None:
    again = run("prepare", f"output={corpus.parent}")
    assert "is there already: kept" in again.stdout
    other = run("prepare", f"output={corpus.parent}", "corpus.seed=1")
    assert "kept" not in other.stdout
    assert len(list(corpus.parent.glob("corpus-*"))) == 2


def test_a_corrupt_shard_ends_the_stage_with_one_line(corpus, tmp_path) -> None:
    broken = tmp_path / "corpus"
    broken.mkdir()
    for path in corpus.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    shard = next(broken.glob("train-*.parquet"))
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(b ^ 0xFF for b in content[middle : middle + 64])
    shard.write_bytes(content)
    done = run("train", f"output={tmp_path / 'run'}", f"corpus.path={broken}")
    assert_one_line(done, shard.name, "corrupt")


def test_a_misspelt_setting_is_named_with_the_right_one(tmp_path) -> None:
    done = run("distill", f"output={tmp_path}", "training.teacher.epoch=3")
    assert_one_line(done, "training.teacher.epoch", "'epochs'")


def test_an_output_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("prepare", f"output={tmp_path / 'file' / 'run'}")
    assert_one_line(done, "file")


def test_a_full_disk(tmp_path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("needs /dev/full")
    # A manifest's place is taken by a device that is always full.
    done = run("prepare", f"output={tmp_path / 'run'}", "corpus.minutes=1")
    assert done.returncode == 0
    (folder,) = (tmp_path / "run").glob("corpus-*")
    (tmp_path / "run" / "settings.yaml").unlink()
    (tmp_path / "run" / "settings.yaml").symlink_to("/dev/full")
    assert_one_line(run("prepare", f"output={tmp_path / 'run'}"), "run")
    assert (folder / "manifest.json").is_file()


def test_a_cluster_that_is_not_there(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/prepare.py", "--config", CONFIG, f"output={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
    )  # fmt: skip
    assert_one_line(done, "127.0.0.1:1")
