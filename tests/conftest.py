"""For all tests: a graph is traced once, and kept until what it is traced with changes."""

import gc
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import grimp
import pytest
from filelock import FileLock
from hypothesis import settings

from diffusiontalker.export import artifact
from diffusiontalker.model.talker import Talker

# A limit on the time of an example finds busy machines, not faults.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# To walk again and again through all that is imported takes a quarter of the time of importing it.
gc.disable()
SOURCES = Path(__file__).parents[1] / "platform"
TRACING = "diffusiontalker.export.graph"
PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Garbage is collected from then on, but not looked for among the modules."""
    found = yield
    gc.freeze()
    gc.enable()
    return found


@pytest.fixture(scope="session", autouse=True)
def _each_graph_is_traced_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Tracing takes 10 s, and many tests in several processes export the same weights.

    Graphs are kept in pytest's cache, below a key of all that they are traced with.
    """
    traced = artifact.export_onnx

    @cache
    def graphs() -> Path:
        folder = _cache(request.config, tmp_path_factory) / _traced_with()
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.parent.iterdir():
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
        return folder

    def remembered(talker: Talker, steps: int, folder: Path) -> None:
        key = hashlib.sha256(json.dumps([_shape(talker), steps]).encode())
        for name, weights in talker.state_dict().items():
            key.update(name.encode() + weights.numpy().tobytes())
        place = graphs() / key.hexdigest()
        with FileLock(f"{place}.lock"):
            if not place.exists():
                fresh = place.with_suffix(".partial")
                fresh.mkdir(exist_ok=True)
                gc.disable()  # a sixth of the time, for garbage that is little
                try:
                    traced(talker, steps, fresh)
                finally:
                    gc.enable()
                fresh.rename(place)
        shutil.copytree(place, folder, dirs_exist_ok=True)

    patch = pytest.MonkeyPatch()
    patch.setattr(artifact, "export_onnx", remembered)
    yield
    patch.undo()


def _shape(talker: Talker) -> dict[str, object]:
    """The configuration without what graphs do not depend on: names, and how far a causal student
    looks ahead. Every export compares its graphs with the model."""
    shape: dict[str, object] = dict(talker.config.to_dict())
    del shape["identities"], shape["emotions"]
    return shape | {"look_ahead": talker.config.look_ahead is not None}


def _cache(config: pytest.Config, temporary: pytest.TempPathFactory) -> Path:
    if kept := getattr(config, "cache", None):
        return Path(kept.mkdir("graphs"))
    base = temporary.getbasetemp()  # pytest -p no:cacheprovider
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"


def _traced_with() -> str:
    """A hash of every module of ours that tracing imports, and of the packages that trace."""
    modules = grimp.build_graph("diffusiontalker", cache_dir=None).find_upstream_modules(TRACING)
    key = hashlib.sha256(json.dumps([sys.version, *map(version, PACKAGES)]).encode())
    for name in sorted({TRACING, *modules}):
        path = SOURCES.joinpath(*name.split("."))
        key.update(
            (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_bytes()
        )
    return key.hexdigest()[:16]
