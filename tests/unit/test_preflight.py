"""What is found before Ray starts: nothing that a configuration can get wrong is left for later."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests import refusals

from diffusiontalker import cluster, config, preflight, storage
from diffusiontalker.config import DataSettings, Settings, SweepSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.tuning import sweep as tuning

ROOT = Path(__file__).resolve().parents[2]
RUNS = sorted(p for p in (ROOT / "configs").glob("*.yaml") if not p.name.startswith("sweep"))
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
MINIMAL = sorted((ROOT / "configs" / "papers").glob("*-min.yaml"))
"""The papers' runs whose encoder is on no hub."""
Check = Callable[..., Settings]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """A machine of 16 CPUs and 4 GPUs, or of others."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(ROOT)

    def has(cpus: int, gpus: int) -> None:
        monkeypatch.setattr(cluster, "local_cpus", lambda: cpus)
        monkeypatch.setattr(preflight, "_gpus", lambda: gpus)

    has(16, 4)
    return has


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check the quickstart with these overrides, or another file."""

    def run(*overrides: str, file: Path = QUICKSTART, measured: bool = True) -> Settings:
        given = [f"output={tmp_path / 'run'}", *overrides]
        settings = config.load(file, given)
        preflight.check(settings, str(file), measured)
        return settings

    return run


def refusal(check: Check, *overrides: str, **options: object) -> str:
    return refusals.refusal(lambda: check(*overrides, **options))


@pytest.mark.parametrize("path", [*RUNS, *MINIMAL], ids=lambda path: path.name)
def test_every_shipped_run_passes(path: Path, check: Check) -> None:
    recordings = ["pseudo_labels.recordings=web/examples"]  # are fetched, where a run has some
    own = recordings if config.load(path).pseudo_labels.recordings else []
    settings = check(*own, file=path)
    assert config.load(path).output.startswith("runs/")
    # And what it was is found again beside its results.
    assert config.load(storage.location(settings.output) / "settings.yaml") == settings


@pytest.mark.parametrize("name", ["sweep.yaml", "sweep-quick.yaml"])
def test_every_shipped_sweep_passes(name: str, tmp_path: Path) -> None:
    output = [f"output={tmp_path}", f"changes.output={tmp_path / 'base'}"]
    tuning.begin(config.load_as(SweepSettings, ROOT / "configs" / name, output))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs/data").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_shipped_data_set_loads(path: Path) -> None:
    given = config.load_data(path, ["output=shards", "source.root=takes"])
    assert isinstance(given, DataSettings)


# Whose the output is


def test_a_changed_setting_goes_on_in_the_same_folder_and_is_named(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    check()
    check()
    check("resources.threads=2", "extraction.actors=1")  # which determine nothing
    assert capsys.readouterr().out == ""
    check("training.round.epochs=7")
    assert "training.round.epochs" in capsys.readouterr().out


def test_the_run_of_another_configuration_is_not_replaced(check: Check, tmp_path: Path) -> None:
    first = check()
    kept = (tmp_path / "run" / "settings.yaml").read_text()
    other = RUNS[-1]
    said = refusal(check, file=other)
    assert "quickstart.yaml" in said
    assert "output=" in said
    with pytest.raises(UserError, match=r"quickstart\.yaml"):  # nor by the built-in settings
        preflight.check(config.load(None, [f"output={first.output}"]), None)
    assert (tmp_path / "run" / "settings.yaml").read_text() == kept
    # The run's own settings go on with it, changed or not.
    own = tmp_path / "run" / "settings.yaml"
    check(file=own)
    check("training.round.epochs=7", file=own)
    check()


def test_the_run_on_another_corpus_is_not_replaced(check: Check, tmp_path: Path) -> None:
    check()
    own = corpus(tmp_path / "mine", WHOLE)
    assert "corpus.path" in refusal(check, own, ONE)
    check()


def test_settings_of_another_release_are_only_told_of(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "run" / "settings.yaml"
    check()
    own.write_text(own.read_text().replace("\nlosses:\n", "\nlosses:\n  forgotten: 3\n"))
    check()
    assert "losses.forgotten" in capsys.readouterr().out


def test_settings_under_the_names_of_another_release_are_the_same(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "run" / "settings.yaml"
    check()
    head, _, text = own.read_text().partition("\n")
    tree = yaml.safe_load(text)
    tree["audio_dim"] = tree["model"]["shared"].pop("audio_dim")
    tree["student_losses"] = tree["losses"].pop("student")
    own.write_text(f"{head}\n{yaml.safe_dump(tree)}")
    check()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("what", [preflight.SWEEP, preflight.SHARDS, preflight.ARTIFACT])
def test_a_folder_that_holds_something_else(check: Check, tmp_path: Path, what: str) -> None:
    mark = tmp_path / "run" / preflight.MARKS[what]
    mark.parent.mkdir()
    mark.write_text("{}")
    assert what in refusal(check)


def test_settings_of_somebody_else_are_not_replaced(check: Check, tmp_path: Path) -> None:
    own = tmp_path / "run" / "settings.yaml"
    own.parent.mkdir()
    own.write_text("debug: true\n")
    assert str(own) in refusal(check)
    sweep = config.load_as(SweepSettings, "configs/sweep-quick.yaml", [f"output={own.parent}"])
    with pytest.raises(UserError, match=r"settings\.yaml"):
        tuning.begin(sweep)
    assert own.read_text() == "debug: true\n"
    # A run of a release that did not note the configuration is one.
    (own.parent / preflight.MARKS[preflight.RUN]).write_text("{}")
    check()


def test_no_hour_of_training_before_the_student_is_refused_its_folder(
    check: Check, tmp_path: Path
) -> None:
    mine = tmp_path / "run" / "student" / "thesis.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert "thesis.md" in refusal(check)
    check(measured=False)  # the teacher alone needs none


def test_neither_a_sweep_nor_a_set_goes_into_a_run(tmp_path: Path) -> None:
    (tmp_path / preflight.MARKS[preflight.RUN]).write_text("{}")
    for own in (preflight.SWEEP, preflight.SHARDS):
        with pytest.raises(UserError, match="holds a run"):
            preflight.check_holds(tmp_path, own)
    sweep = config.load_as(SweepSettings, "configs/sweep-quick.yaml", [f"output={tmp_path}"])
    with pytest.raises(UserError, match="holds a run"):
        tuning.begin(sweep)


# What a run works with


def test_a_chain_without_students(check: Check) -> None:
    check("diffusion.rounds=[]")
    check("diffusion.rounds=[]", measured=False)


def test_an_unknown_emotion(check: Check) -> None:
    assert "corpus.emotions" in refusal(check, "corpus.emotions=[neutral, bored]")


def test_more_workers_than_the_machine_holds(
    check: Check, machine: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2, 0)
    check("training.workers=2", "resources.worker_cpus=0.5")
    check("training.workers=0", "resources.worker_cpus=8")
    said = refusal(check, "training.workers=2", "resources.worker_cpus=1")
    assert "training.workers" in said
    assert "2.5 CPUs" in said
    assert "resources.gpu" in refusal(check, "resources.gpu=true")
    machine(2, 1)
    check("resources.gpu=true", "training.workers=1")
    assert "resources.gpu" in refusal(check, "resources.gpu=true")  # the file has two workers
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")  # a cluster may grow
    check("training.workers=8", "resources.gpu=true")


def test_pseudo_labels_without_recordings_or_with_an_unknown_emotion(
    check: Check, tmp_path: Path
) -> None:
    own = f"pseudo_labels.recordings={tmp_path / 'speech'}"
    assert "no such folder" in refusal(check, own)
    (tmp_path / "speech").mkdir()
    assert "holds no recordings" in refusal(check, own)
    (tmp_path / "speech" / "a.wav").write_bytes(b"RIFF")
    check(own)
    said = refusal(check, own, "pseudo_labels.emotion=boredom")
    assert "boredom" in said
    assert "neutral" in said
    check(own, "pseudo_labels.emotion=null")
    shards = corpus(tmp_path / "mine", WHOLE)
    said = refusal(check, shards, ONE, own, f"output={tmp_path / 'other'}")
    assert "not an emotion of the corpus" in said


def test_a_rig_that_is_not_there(check: Check, tmp_path: Path) -> None:
    rig = f"evaluation.rig={tmp_path / 'none.npz'}"
    assert "none.npz" in refusal(check, rig)
    check(rig, measured=False)


def test_an_encoder_that_is_not_there_or_has_not_so_many_layers(
    check: Check, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    named = f"encoder.name={model}"
    assert "encoder.name" in refusal(check, named)
    model.mkdir()
    about = {"model_type": "hubert", "num_hidden_layers": 2, "hidden_size": 16}
    (model / "config.json").write_text(json.dumps(about))
    assert "model.safetensors" in refusal(check, named, "encoder.layers=[0, 2]")
    (model / "model.safetensors").write_bytes(b"")
    check(named, "encoder.layers=[0, 2]")
    assert "hidden states 0 to 2" in refusal(check, named, "encoder.layers=[6, 12]")
    (model / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "bert" in refusal(check, named)


# The user's shards


def corpus(folder: Path, splits: tuple[str, ...], phones: bool = True) -> str:
    """A set of one clip a split; the override that names it."""
    rng = np.random.default_rng(0)
    own = {"phones": ["a"], "phone_starts": np.zeros(1, np.float32)} if phones else {}
    folder.mkdir()
    infos = [
        shards.write_shard(
            folder / f"{split}-00000.parquet",
            [
                Clip(
                    id=split, identity="ada", emotion=None, split=split, text=None,
                    audio=rng.uniform(-1, 1, 16_000).astype(np.float32),
                    coefficients=rng.random((30, 52), np.float32), **own,
                )
            ],
        )
        for split in splits
    ]  # fmt: skip
    write_manifest(folder, Manifest("hand", infos, ["ada"], []))
    return f"corpus.path={folder}"


WHOLE = ("train", "val", "test_seen")
ONE = "training.workers=1"


def test_splits_that_are_missing(check: Check, tmp_path: Path) -> None:
    assert "no complete corpus" in refusal(check, f"corpus.path={tmp_path / 'none'}")
    assert "'val'" in refusal(check, corpus(tmp_path / "a", ("train", "test_seen")))
    tests = corpus(tmp_path / "b", ("train", "val"))
    assert "test_unseen" in refusal(check, tests, ONE)
    check(tests, ONE, measured=False)
    check(corpus(tmp_path / "c", WHOLE), ONE, f"output={tmp_path / 'other'}")


def test_shards_without_phones_need_an_encoder_by_name(check: Check, tmp_path: Path) -> None:
    assert "encoder.name" in refusal(check, corpus(tmp_path / "a", WHOLE, phones=False))


def test_fewer_batches_than_workers(check: Check, tmp_path: Path) -> None:
    own = corpus(tmp_path / "a", WHOLE)
    passes = (
        "training.teacher.passes=6",
        "training.first_round.passes=6",
        "training.round.passes=3",
    )
    assert "training.round" in refusal(check, own, *passes, "training.workers=4")
    check(own, *passes, "training.workers=3")
