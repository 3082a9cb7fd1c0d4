"""For all tests: a graph is traced once."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusiontalker.export import artifact
from diffusiontalker.model.talker import Talker


@pytest.fixture(scope="session", autouse=True)
def _each_graph_is_traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing takes seconds, and many tests export the same weights."""
    traced = artifact.export_onnx
    known = tmp_path_factory.mktemp("graphs")

    def remembered(talker: Talker, steps: int, folder: Path) -> None:
        key = hashlib.sha256(json.dumps([talker.config.to_dict(), steps]).encode())
        for name, weights in talker.state_dict().items():
            key.update(name.encode() + weights.numpy().tobytes())
        place = known / key.hexdigest()
        if place.exists():
            shutil.copytree(place, folder, dirs_exist_ok=True)
            return
        traced(talker, steps, folder)
        place.mkdir()
        for graph in folder.glob("*.onnx"):
            shutil.copy(graph, place)

    patch = pytest.MonkeyPatch()
    patch.setattr(artifact, "export_onnx", remembered)
    yield
    patch.undo()
