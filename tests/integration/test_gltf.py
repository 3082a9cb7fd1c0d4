"""Our GLB files against the Khronos validator."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.tools import absent, tool

from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.animation.writers import write

TOOL = Path(__file__).parent / "gltf"


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the validator installed in it."""
    tool("node")
    tool("npm")
    folder = tmp_path_factory.mktemp("validator")
    shutil.copytree(TOOL, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        absent("npm could not install gltf-validator within two minutes")
    if done.returncode:
        absent(f"npm could not install gltf-validator: {done.stderr.strip()[-200:]}")
    return folder


def issues(validator: Path, path: Path) -> dict:
    command = ["node", "validate.js", str(path)]
    done = subprocess.run(command, cwd=validator, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bare_rig() -> Rig:
    """A tetrahedron and a stray vertex: no colours, and 51 channels without any delta."""
    mean = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5]], np.float32)
    deltas = np.zeros((52, 5, 3), np.float32)
    deltas[24, 3] = [0, -1, 0]
    return Rig(mean, deltas, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))


@pytest.mark.parametrize("rig", [default_rig, bare_rig], ids=lambda make: make.__name__)
@pytest.mark.parametrize("frames", [1, 45])
def test_glb_is_valid(validator: Path, tmp_path: Path, rig, frames: int) -> None:
    path = tmp_path / "clip.glb"
    write(path, np.random.default_rng(0).random((frames, 52)), 30, rig=rig())
    assert issues(validator, path)["messages"] == []


def test_validator_sees_a_fault(validator: Path, tmp_path: Path) -> None:
    """Without this, a validator that reads nothing would pass the test above."""
    path = tmp_path / "clip.glb"
    write(path, np.zeros((2, 52)), 30, rig=bare_rig())
    path.write_bytes(path.read_bytes().replace(b'"VEC3"', b'"VEC9"', 1))
    assert issues(validator, path)["numErrors"] > 0
