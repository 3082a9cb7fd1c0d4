"""Checkpoints: what comes back is what was written, and damage is named, never unpickled."""

import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit import models
from torch import nn

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.storage import folders
from diffusiontalker.training import checkpoints
from diffusiontalker.training.checkpoint_folder import CheckpointFolder, CheckpointWriter
from diffusiontalker.training.checkpoints import PartialEpoch, RunState, Weights


@pytest.mark.parametrize("kind", ["tcn", "gru"])
@pytest.mark.parametrize("teacher", [True, False])
def test_talker_comes_back(tmp_path: Path, kind: str, teacher: bool) -> None:
    talker = models.talker(kind=kind, teacher=teacher)
    folder = tmp_path / "new" / "folder"
    checkpoints.save_talker(folder, talker.train())
    again = checkpoints.load_talker(folder)
    assert again.config == talker.config
    assert not again.training
    assert again.state_dict().keys() == talker.state_dict().keys()
    for name, value in talker.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def edit(path: Path) -> None:
    plain = json.loads(path.read_text())
    plain["audio_dim"] += 1
    path.write_text(json.dumps(plain))


def rename_key(path: Path) -> None:
    path.write_text(path.read_text().replace("audio_dim", "audio_width"))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("talker.json", Path.unlink, "talker.json: the checkpoint lacks this file"),
        ("model.safetensors", Path.unlink, "model.safetensors: the checkpoint lacks this file"),
        ("talker.json", truncate, "not a checkpoint of this release"),
        ("model.safetensors", truncate, "not a checkpoint of this release"),
        ("talker.json", edit, "not a checkpoint of this release"),
        ("talker.json", rename_key, "audio_width"),
    ],
)
def test_damaged_talker(
    tmp_path: Path, name: str, damage: Callable[[Path], None], said: str
) -> None:
    checkpoints.save_talker(tmp_path, models.talker())
    damage(tmp_path / name)
    with pytest.raises(UserError) as caught:
        checkpoints.load_talker(tmp_path)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_talker_of_another_release_must_be_trained_again(tmp_path: Path) -> None:
    """Weights that it lacks are not left at random."""
    checkpoints.save_talker(tmp_path, models.talker())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["blink.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"blink\.weight.*train it again$"):
        checkpoints.load_talker(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        checkpoints.load_talker(tmp_path / "nowhere")


def trained(seed: int) -> tuple[nn.Module, Weights, torch.optim.Optimizer]:
    """A module a few AdamW steps in, something like its average, and the optimizer."""
    torch.manual_seed(seed)
    module, average = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1 * (seed + 1))
    for _ in range(3):
        module(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return module, average.state_dict(), optimizer


def saved(folder: Path) -> tuple[nn.Module, Weights, torch.optim.Optimizer]:
    run = trained(0)
    state = RunState(2, 30, 1, ["a"], [{"step": 30, "loss": 0.5}])
    checkpoints.save_run(folder, state, *run)
    return run


def test_run_resumes_exactly(tmp_path: Path) -> None:
    first = saved(tmp_path)
    second = trained(1)
    state = checkpoints.load_run(tmp_path, *second)
    assert state == RunState(2, 30, 1, ["a"], [{"step": 30, "loss": 0.5}])
    assert second[2].param_groups[0]["lr"] == pytest.approx(0.1)
    torch.manual_seed(5)
    data = torch.randn(4, 3)
    for module, _, optimizer in (first, second):  # the next step is the same step
        optimizer.zero_grad()
        module(data).square().sum().backward()
        optimizer.step()
    assert torch.equal(first[0].weight, second[0].weight)
    assert torch.equal(first[1]["weight"], second[1]["weight"])


def test_finished_run_gives_its_average(tmp_path: Path) -> None:
    _, average, _ = saved(tmp_path)
    other = nn.Linear(3, 2)
    assert checkpoints.load_average(tmp_path, other).epoch == 2
    assert torch.equal(other.weight, average["weight"])


class Malicious:
    """What a pickle can do when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_optimizer_runs_nothing(tmp_path: Path) -> None:
    saved(tmp_path)
    target = tmp_path / "owned"
    for write in (
        lambda: torch.save(Malicious(target), tmp_path / "optimizer.safetensors"),
        lambda: (tmp_path / "optimizer.safetensors").write_bytes(pickle.dumps(Malicious(target))),
    ):
        write()
        with pytest.raises(UserError, match="not a checkpoint of this release"):
            checkpoints.load_run(tmp_path, *trained(1))
        assert not target.exists()


@pytest.mark.parametrize(
    "name", ["trained.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"]
)
def test_damaged_run(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    broken = tmp_path / "broken"
    for damage in (Path.unlink, lambda path: path.write_bytes(b"{}")):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(tmp_path, broken, ignore=lambda *_: ["broken"])
        damage(broken / name)
        if name == "state.json" and (broken / name).exists():
            (broken / name).write_text('{"epoch": 1, "colour": 2}')
        with pytest.raises(UserError, match="broken"):
            checkpoints.load_run(broken, *trained(1))
        if name in ("average.safetensors", "state.json"):
            with pytest.raises(UserError, match="broken"):
                checkpoints.load_average(broken, nn.Linear(3, 2))


# what a run without Ray Train keeps


def written(folder: Path, text: str) -> Path:
    """A checkpoint of two files, as a run writes it before it is kept."""
    folder.mkdir(exist_ok=True)
    for name in ("average.safetensors", "state.json"):
        (folder / name).write_text(f"{name} {text}")
    return folder


def last(kept: CheckpointFolder) -> str | None:
    """The content of the last checkpoint."""
    with kept.last() as folder:
        if folder is None:
            return None
        assert folder.parent != kept.folder  # a copy: what is kept may be in S3
        texts = {path.read_text().removeprefix(path.name).strip() for path in folder.iterdir()}
        assert sorted(p.name for p in folder.iterdir()) == ["average.safetensors", "state.json"]
        [text] = texts
        return text


def test_the_last_checkpoint_is_kept_and_older_ones_go(tmp_path: Path) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    assert last(kept) is None
    for epoch in (1, 2, 9, 10):
        kept.save(written(tmp_path / "local", f"of {epoch}"), epoch)
        assert last(CheckpointFolder(tmp_path / "run")) == f"of {epoch}"
        assert list(storage.sizes(tmp_path / "run")) == [
            f"epoch-{epoch:04d}/average.safetensors", f"epoch-{epoch:04d}/state.json", "last.json",
        ]  # fmt: skip


def test_what_ray_train_kept_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint_7").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint_7" / "state.json").write_text("{}")
    kept = CheckpointFolder(tmp_path / "run")
    for epoch in (1, 2):
        kept.save(written(tmp_path / "local", "one"), epoch)
    assert (tmp_path / "run" / "checkpoint_7" / "state.json").is_file()


def test_a_fetched_checkpoint_is_gone_after_use(tmp_path: Path) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    kept.save(written(tmp_path / "local", "of 1"), 1)
    with kept.last() as folder:
        assert folder is not None
        assert folder.is_dir()
    assert not folder.exists()


class Killed(BaseException):
    """The end of the process, wherever it was."""


@pytest.mark.parametrize(
    ("function", "calls", "left"),
    [
        ("write_bytes", 1, "of 1"),  # before the first file of the new one
        ("write_bytes", 2, "of 1"),  # in the middle of it
        ("write_json", 1, "of 1"),  # all of it there, and not yet named
        ("remove_folder", 1, "of 2"),  # named, and the old one still there
    ],
)
def test_a_kill_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, calls: int, left: str
) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    kept.save(written(tmp_path / "local", "of 1"), 1)
    whole = getattr(storage, function)
    count = 0

    def broken(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == calls:
            raise Killed
        return whole(*arguments)

    following = written(tmp_path / "local", "of 2")
    with monkeypatch.context() as patch:
        # ``store`` writes through its own module's name.
        home = folders if function == "write_bytes" else storage
        patch.setattr(home, function, broken)
        with pytest.raises(Killed):
            kept.save(following, 2)
    assert last(kept) == left
    # The run goes on from there, and nothing of the attempt remains.
    kept.save(written(tmp_path / "local", "of 2 again"), 2)
    assert last(kept) == "of 2 again"
    assert len(storage.sizes(tmp_path / "run")) == 3


def test_checkpoints_are_stored_while_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    free, save = threading.Event(), CheckpointFolder.save
    locals_: list[Path] = []

    def slow(self: CheckpointFolder, local: Path, *number: int) -> None:
        locals_.append(local)
        assert free.wait(30)
        save(self, local, *number)

    def write(text: str) -> Callable[[Path], object]:
        return lambda folder: written(folder, text)

    monkeypatch.setattr(CheckpointFolder, "save", slow)
    within = RunState(1, partial=PartialEpoch(7, 9, 1, 0.5, {"loss": 1.0}, 1))
    with CheckpointWriter(kept) as writer:
        writer.save(RunState(1), write("of 1"))
        assert last(kept) is None  # it is not there yet, and training went on
        free.set()
        writer.save(within, write("of 1 and 7 batches"))
    assert last(kept) == "of 1 and 7 batches"
    assert (tmp_path / "run" / "epoch-0001-000007").is_dir()
    assert not any(path.exists() for path in locals_)


def test_a_checkpoint_that_cannot_be_stored_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match="cannot write"),
        CheckpointWriter(CheckpointFolder(tmp_path / "file")) as writer,
    ):
        writer.save(RunState(1), lambda folder: written(folder, "one"))

    def interrupted() -> None:
        with CheckpointWriter(CheckpointFolder(tmp_path / "file")) as writer:
            writer.save(RunState(1), lambda folder: written(folder, "one"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # which is not hidden by it
        interrupted()


def test_a_kept_checkpoint_that_is_damaged_is_named(tmp_path: Path) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    kept.save(written(tmp_path / "local", "of 1"), 1)
    shutil.rmtree(tmp_path / "run" / "epoch-0001")
    with pytest.raises(UserError, match="epoch-0001"), kept.last():
        pass
    (tmp_path / "run" / "last.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"), kept.last():
        pass


def test_a_checkpoint_that_cannot_be_used_is_named_where_it_lies(tmp_path: Path) -> None:
    kept = CheckpointFolder(tmp_path / "run")
    kept.save(written(tmp_path / "local", "of another release"), 1)
    module = nn.Linear(2, 2)

    def use() -> None:
        with kept.last() as folder:
            assert folder is not None
            checkpoints.load_run(folder, module, {}, torch.optim.AdamW(module.parameters()))

    with pytest.raises(UserError) as caught:
        use()
    said = str(caught.value)
    assert "diffusiontalker-" not in said  # the copy, which is gone
    assert str(tmp_path / "run" / "epoch-0001") in said
    assert f"remove {tmp_path / 'run'}" in said
