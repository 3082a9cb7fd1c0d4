"""For all tests: a graph is traced once."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from diffusiontalker.export import artifact
from diffusiontalker.model.talker import Talker

# A limit on the time of an example finds busy machines, not faults.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _each_graph_is_traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing takes half a minute, and many tests in several processes export the same weights."""
    traced = artifact.export_onnx
    known = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        known = known.parent
    known /= "graphs"
    known.mkdir(exist_ok=True)

    def remembered(talker: Talker, steps: int, folder: Path) -> None:
        key = hashlib.sha256(json.dumps([talker.config.to_dict(), steps]).encode())
        for name, weights in talker.state_dict().items():
            key.update(name.encode() + weights.numpy().tobytes())
        place = known / key.hexdigest()
        with FileLock(f"{place}.lock"):
            if not place.exists():
                fresh = place.with_suffix(".partial")
                fresh.mkdir(exist_ok=True)
                traced(talker, steps, fresh)
                fresh.rename(place)
        shutil.copytree(place, folder, dirs_exist_ok=True)

    patch = pytest.MonkeyPatch()
    patch.setattr(artifact, "export_onnx", remembered)
    yield
    patch.undo()
