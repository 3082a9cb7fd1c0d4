"""TensorBoard's files of a run: on S3 too, beyond a restart, and where they cannot be written."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from diffusiontalker import event_files, storage
from diffusiontalker.errors import UserError
from diffusiontalker.event_files import EventFiles


def events(folder: Path) -> list[Event]:
    """All events of a folder: records of length, checksum, event, checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


def tags(folder: Path) -> set[str]:
    return {value.tag for event in events(folder) for value in event.summary.value}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for one in S3: it is stored to, and never written to directly."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    monkeypatch.setattr(storage, "is_remote", lambda path: path == folder)
    return folder


def test_everything_is_stored_when_it_is_closed(bucket: Path) -> None:
    own = EventFiles(bucket)

    def steps() -> list[int]:
        return [e.step for e in events(bucket) for value in e.summary.value if value.tag == "loss"]

    for step in range(1, 40):
        own.add({"loss": 1.0 / step, "nan": float("nan")}, step)
    assert steps() == [1], "uploaded at first, and then now and then"
    own.add_hparams({"rate": 0.1}, {"best": 2.0})
    own.close()
    assert steps() == list(range(1, 40))
    assert {"loss", "_hparams_/experiment"} <= tags(bucket)
    assert "nan" not in tags(bucket)


def test_it_is_uploaded_now_and_then(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "STORE_EVERY", -1.0)
    own = EventFiles(bucket)
    for step in (1, 2):
        own.add({"loss": 1.0}, step)
        assert events(bucket)[-1].step == step
    own.close()


def test_a_step_that_comes_again_hides_what_was_after_it(tmp_path: Path) -> None:
    own = EventFiles(tmp_path)
    for step in (1, 2, 3, 2):  # a worker was lost
        own.add({"loss": 1.0}, step)
    own.close()
    starts = [e.step for e in events(tmp_path) if e.session_log.status == e.session_log.START]
    assert sorted(starts) == [1, 2]


def test_what_cannot_be_written_ends_nothing(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("no such bucket")

    monkeypatch.setattr(storage, "store", refuse)
    monkeypatch.setattr(event_files, "STORE_EVERY", -1.0)
    own = EventFiles(bucket)
    for step in (1, 2):
        own.add({"loss": 1.0}, step)
    own.add_hparams({"rate": 0.1}, {"best": 2.0})
    own.close()
    assert capsys.readouterr().out.count("curves are incomplete (no such bucket)") == 1


def test_what_comes_after_its_end_is_left_out(tmp_path: Path) -> None:
    own = EventFiles(tmp_path)
    own.add({"loss": 1.0}, 1)
    own.close()
    for late in (own, EventFiles(tmp_path / "other")):  # the thread that displays a stage was late
        late.close()
        late.add({"loss": 1.0}, 2)
        late.add_hparams({"rate": 0.1}, {"best": 2.0})
    assert {e.step for e in events(tmp_path)} == {0, 1}
    assert not (tmp_path / "other").exists()


def test_hparams_of_a_run_whose_curves_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    own = EventFiles(tmp_path / "file")
    own.add({"loss": 1.0}, 1)
    own.add_hparams({"rate": 0.1}, {"best": 2.0})
    own.close()
    assert own.failed
