"""What stages do when they are killed or changed, with corrupt input, and with a disk that is full.

The first half runs stages, the second jobs; a corrupt shard in a training worker is test_stream's.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tests import jobs, summaries
from tests.corruption import flip
from tests.tiny import CONFIG, OVERRIDES

from diffusiontalker import config, stage_keys
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.features.stage import cache_name
from diffusiontalker.pipeline import data as pipeline_data
from diffusiontalker.pipeline import run as pipeline_run
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.evaluation import check_measured
from diffusiontalker.pipeline.run import Run
from diffusiontalker.pipeline.training import keep_history

ENCODER, OTHER = "0123456789abcdef", "fedcba9876543210"
"""Fingerprints of two encoders."""
TINY = ("--config", CONFIG, *OVERRIDES)
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A maker of runs without Ray: nobody hears how far they are."""
    monkeypatch.setattr(pipeline_run, "start_progress_board", lambda: None)

    def make(*overrides: str) -> Run:
        return Run(config.load(None, [f"output={tmp_path / 'run'}", *overrides]))

    return make


# Stages


def test_a_stage_is_run_once(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    seen: list[list[str]] = []

    def work(out: Path, _: object) -> None:
        seen.append(sorted(path.name for path in out.iterdir()))
        (out / "result").write_text("done")

    for _ in range(2):
        folder = run.stage("corpus", run.folder("corpus", "abc"), work)
        assert folder == run.root / "corpus-abc"
    assert seen == [[]]
    assert {path.name for path in folder.iterdir()} == {"result", "stage.json"}
    assert "corpus       is there already: kept" in capsys.readouterr().out
    again = make_run()
    again.stage("corpus", again.folder("corpus", "abc"), work)
    assert again.seconds == run.seconds  # of the work, not of finding it done
    again.stage("corpus", again.folder("corpus", "other"), work)
    assert seen == [[], []]


def test_a_stage_that_was_killed_goes_on_in_its_folder(make_run: MakeRun) -> None:
    run = make_run()
    folder = run.folder("teacher", "abc")

    def killed(out: Path, _: object) -> None:
        (out / "half").write_text("of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("teacher", folder, killed)
    assert {path.name for path in folder.iterdir()} == {"half"}
    found: list[str] = []
    run.stage("teacher", folder, lambda out, _: found.append((out / "half").read_text()))
    assert found == ["of it"]


def test_a_damaged_mark_is_said(make_run: MakeRun) -> None:
    run = make_run()
    folder = run.stage("teacher", run.folder("teacher", "abc"), lambda *_: None)
    (folder / "stage.json").write_text('{"sec')
    with pytest.raises(UserError, match=r"stage.json: damaged.*delete it"):
        run.stage("teacher", folder, lambda *_: None)


def test_a_stage_whose_result_is_not_finite_is_never_done(make_run: MakeRun) -> None:
    run = make_run()
    folder = run.folder("teacher", "abc")
    good = {"step": 1, "val_loss": 0.5}

    def train(*history: dict[str, float]) -> Path:
        return run.stage(
            "teacher", folder, lambda out, _: keep_history("teacher", out, list(history))
        )

    for bad in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"teacher: .*epoch 2.*learning_rate"):
            train(good, {"step": 2, "loss": 1.0}, {"step": 2, "val_loss": bad})
        assert list(folder.iterdir()) == []
    assert {path.name for path in train(good).iterdir()} == {"history.json", "stage.json"}


def test_measurements_that_are_not_finite_are_refused() -> None:
    good = {"mbe": 0.1, "lbe": 0.1, "energy_score": 0.2, "identity_f1": float("nan")}
    check_measured([summaries.row("student-2", 2, **good)])
    bad = summaries.row("student-2", 2, **{**good, "lbe": float("inf")})
    with pytest.raises(UserError, match=r"lbe of student-2 in 2 steps on test_seen"):
        check_measured([bad])


def test_keys_follow_all_that_changes_a_result(tmp_path: Path) -> None:
    def keys(*overrides: str) -> tuple[str, str]:
        settings = config.load(None, [f"output={tmp_path}", *overrides])
        return stage_keys.teacher_key(settings, []), stage_keys.round_key(
            settings, 8, "teacher", []
        )

    own = keys()
    # A batch is that of all workers.
    assert own == keys("training.workers=4") == keys("training.workers=0")
    assert own == keys("resources.worker_cpus=0.5")
    assert not set(own) & set(keys("training.seed=1"))


def test_a_changed_rig_is_measured_again(make_run: MakeRun, tmp_path: Path) -> None:
    rig = tmp_path / "rig.npz"
    settings = make_run(f"evaluation.rig={rig}").settings
    rig.write_bytes(b"one")
    before = stage_keys.rig_hash(settings)
    rig.write_bytes(b"two")
    assert stage_keys.rig_hash(settings) not in (before, None)
    assert stage_keys.rig_hash(make_run().settings) is None


# Features that a corpus brings


@pytest.fixture
def with_features(tmp_path: Path) -> Path:
    """A corpus of one clip, with features of the encoder ``ENCODER``."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    clip = Clip(
        id="a", identity="ada", emotion=None, split="train", text=None,
        audio=rng.uniform(-1, 1, 16_000).astype(np.float32),
        coefficients=rng.random((30, 52), np.float32), features=rng.random((30, 4), np.float32),
    )  # fmt: skip
    info = shards.write_shard(folder / "train-00000.parquet", [clip])
    found = {"feature_dim": 4, "feature_fingerprint": ENCODER}
    write_manifest(folder, Manifest("hand", [info], ["ada"], [], **found))
    return folder


@dataclass
class Encoder:
    """Stands for ``FrozenEncoder``, of which a run asks no more than its name."""

    weights: str

    def fingerprint(self) -> str:
        return self.weights


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that features were extracted into."""
    folders: list[Path] = []

    def extract(source: Path, target: Path, encoder: Encoder, *_: object) -> None:
        folders.append(target)
        for shard in source.glob("*.parquet"):
            (target / shard.name).write_bytes(shard.read_bytes())
        manifest = replace(open_corpus(source), feature_fingerprint=encoder.weights)
        write_manifest(target, manifest)

    monkeypatch.setattr(pipeline_data.features, "extract", extract)
    return folders


def use(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_data, "FrozenEncoder", lambda *_: Encoder(encoder))


def test_features_of_the_same_encoder_are_used(
    make_run: MakeRun, with_features: Path, extracted: list[Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    use(ENCODER, monkeypatch)
    run = make_run(f"corpus.path={with_features}", "encoder.name=some/encoder")
    for said in ("verify       done", "verify       is there already: kept"):
        data = prepare_data(run)
        assert data.folder == with_features
        assert said in capsys.readouterr().out
    assert extracted == []


def test_a_changed_bit_in_such_features_is_found(
    make_run: MakeRun, with_features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(ENCODER, monkeypatch)
    shard = with_features / "train-00000.parquet"
    flip(shard, "features")
    run = make_run(f"corpus.path={with_features}", "encoder.name=some/encoder")
    with pytest.raises(UserError, match=f"{shard}: the shard is corrupt"):
        prepare_data(run)


@pytest.mark.parametrize("shared", [False, True])
def test_features_of_another_encoder_are_not_used(
    make_run: MakeRun, with_features: Path, extracted: list[Path], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, shared: bool,
) -> None:  # fmt: skip
    use(OTHER, monkeypatch)
    cache = tmp_path / "cache"
    overrides = [f"corpus.path={with_features}", "encoder.name=some/encoder"]
    run = make_run(*overrides, *([f"extraction.cache={cache}"] if shared else []))
    name = cache_name(open_corpus(with_features), OTHER)
    for _ in range(2):
        data = prepare_data(run)
        assert data.folder == (cache if shared else run.root) / name
        assert data.manifest.feature_fingerprint == OTHER
    assert extracted == [data.folder]
    # A third encoder has features of its own beside them.
    use("third", monkeypatch)
    assert prepare_data(run).folder != data.folder
    assert len(extracted) == 2


# Jobs


def test_a_misspelt_setting_is_named_with_the_right_one(tmp_path: Path) -> None:
    done = jobs.run("distill", *TINY, f"output={tmp_path}", "training.teacher.epoch=3")
    line = jobs.mistake(done)
    assert "training.teacher.epoch" in line
    assert "'epochs'" in line


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = jobs.call("train", *TINY, f"output={tmp_path / 'file' / 'run'}")
    assert f"cannot write {tmp_path / 'file' / 'run'}: Not a directory" in jobs.mistake(done)


def test_a_full_disk(tmp_path: Path) -> None:
    """On a disk of 300 kB, in a namespace of its own."""
    own = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*own, "mount", "-t", "tmpfs", "x", tmp_path], check=False).returncode:
        pytest.skip("needs user namespaces")
    mount = f'mount -t tmpfs -o size=300k small {tmp_path} && exec "$@"'
    before = (*own, "sh", "-c", mount, "sh")
    done = jobs.run("train", *TINY, f"output={tmp_path / 'run'}", before=before)
    line = jobs.mistake(done)
    assert f"cannot write {tmp_path / 'run' / 'corpus-'}" in line
    assert "No space left on device" in line
    assert done.stdout.startswith("corpus       started")


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    done = jobs.run("train", *TINY, f"output={tmp_path}", RAY_ADDRESS="127.0.0.1:1")
    assert "127.0.0.1:1" in jobs.mistake(done)
