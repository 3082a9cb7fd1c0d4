"""What TensorBoard finds of a sweep: a run for each trial, by its number, each epoch once."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tests.unit.sweeps import reported

from diffusiontalker.tuning.tensorboard import FOLDER, TensorBoardWriter
from diffusiontalker.tuning.trial_store import trial_config


def trial(id: str) -> Any:
    return SimpleNamespace(config=trial_config(id, {"losses.teacher.exp": 2.0}))


def tell(boards: TensorBoardWriter, one: Any, *epochs: int) -> None:
    for epoch in epochs:
        boards.on_trial_result(0, [], one, reported(epoch, 1.0 / epoch, val_loss=float("inf")))


def curve(folder: Path, name: str = "energy_score") -> list[tuple[int, float]]:
    """Steps and values of a scalar in all the files of a run: records of length, checksum, event,
    checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            found += [(event.step, v.simple_value) for v in event.summary.value if v.tag == name]
    return found


def test_a_trial_is_one_run_by_its_number_however_often_it_goes_on(tmp_path: Path) -> None:
    names = {"abc": "trial-000", "def": "trial-001"}
    boards = TensorBoardWriter(tmp_path, names.__getitem__)
    tell(boards, trial("abc"), 1, 2, 2)  # of the last epoch Tune tells twice
    boards.on_trial_complete(0, [], trial("abc"))
    tell(boards, trial("def"), 1)
    boards.on_trial_error(0, [], trial("def"))
    boards.on_trial_error(0, [], trial("def"))  # of which nothing is known any more
    again = TensorBoardWriter(tmp_path, names.__getitem__)  # the sweep was killed, and goes on
    tell(again, trial("def"), 2)
    again.on_trial_result(0, [], trial("def"), {"error": "diverged", "epochs": 0})
    again.on_trial_complete(0, [], trial("def"))
    runs = tmp_path / FOLDER
    assert {path.name for path in runs.iterdir()} == {"trial-000", "trial-001"}
    for name in ("trial-000", "trial-001"):
        # Files of one second, as here, are in no order.
        scalars = sorted((step, value) for step, value in curve(runs / name) if step)
        assert scalars == [(1, 1.0), (2, 0.5)]
    assert not curve(runs / "trial-000", "val_loss")  # what is not finite is no point of a curve
