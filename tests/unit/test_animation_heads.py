"""The head that pages show."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pygltflib
import pytest

from diffusiontalker import arkit
from diffusiontalker.animation import facecap
from diffusiontalker.animation.heads import head_glb
from diffusiontalker.animation.rig import default_rig


@pytest.fixture(scope="module")
def head() -> pygltflib.GLTF2:
    return pygltflib.GLTF2.load_from_bytes(head_glb())


def vectors(head: pygltflib.GLTF2, index: int) -> np.ndarray:
    """A VEC3 accessor, dense or sparse, as (V, 3)."""
    blob, accessor = head.binary_blob(), head.accessors[index]

    def read(view: int, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(blob, dtype, count, head.bufferViews[view].byteOffset)

    if accessor.sparse is None:
        return read(accessor.bufferView, "<f4", 3 * accessor.count).reshape(-1, 3)
    found = np.zeros((accessor.count, 3), np.float32)
    rows = read(accessor.sparse.indices.bufferView, "<u4", accessor.sparse.count)
    values = read(accessor.sparse.values.bufferView, "<f4", 3 * accessor.sparse.count)
    found[rows] = values.reshape(-1, 3)
    return found


def test_the_head_has_the_names_the_credit_and_no_movement(head: pygltflib.GLTF2) -> None:
    (mesh,) = head.meshes
    assert mesh.extras["targetNames"] == list(arkit.CHANNELS)
    assert len(mesh.primitives[0].targets) == 52
    assert not any(mesh.weights)
    assert head.asset.copyright == facecap.CREDIT
    (sampler,) = head.animations[0].samplers
    assert head.accessors[sampler.input].count == 1


def test_the_skin_moves_as_the_rig_does(head: pygltflib.GLTF2) -> None:
    rig = default_rig()
    target = head.meshes[0].primitives[0].targets[arkit.INDEX["jawOpen"]]
    moved = vectors(head, target["POSITION"])
    np.testing.assert_array_equal(moved[: len(rig.mean)], rig.deltas[24])  # brows come after it


@pytest.mark.parametrize(
    ("channel", "axis", "sign", "side"),
    [
        ("eyeLookOutLeft", 0, 1, 1),
        ("eyeLookInLeft", 0, -1, 1),
        ("eyeLookOutRight", 0, -1, -1),
        ("eyeLookInRight", 0, 1, -1),
        ("eyeLookUpLeft", 1, 1, 1),
        ("eyeLookDownRight", 1, -1, -1),
    ],
)
def test_pupils_turn_to_where_they_look(
    head: pygltflib.GLTF2, channel: str, axis: int, sign: int, side: int
) -> None:
    rig = default_rig()
    assert rig.colors is not None
    pupil = rig.colors.max(1) < 0.02
    here = pupil & (rig.mean[:, 0] * side > 0)
    target = head.meshes[0].primitives[0].targets[arkit.INDEX[channel]]
    moved = vectors(head, target["POSITION"])[: len(rig.mean)]
    assert (moved[here, axis] * sign > 0.004).all(), "an eye of 2 cm, turned by 25 degrees"
    assert not moved[pupil & ~here].any()


def test_eyeballs_keep_their_size(head: pygltflib.GLTF2) -> None:
    rig = default_rig()
    assert rig.colors is not None
    white = np.isclose(rig.colors, [0.85, 0.83, 0.80]).all(1) & (rig.mean[:, 0] > 0)
    center = (rig.mean[white].min(0) + rig.mean[white].max(0)) / 2
    target = head.meshes[0].primitives[0].targets[arkit.INDEX["eyeLookUpLeft"]]
    turned = rig.mean + vectors(head, target["POSITION"])[: len(rig.mean)]
    before, after = (np.linalg.norm(p[white] - center, axis=1) for p in (rig.mean, turned))
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_the_mouth_is_dark_inside_and_the_cheeks_are_not(head: pygltflib.GLTF2) -> None:
    attributes = head.meshes[0].primitives[0].attributes
    points, colors = (vectors(head, i) for i in (attributes.POSITION, attributes.COLOR_0))
    dark = np.isclose(colors, [0.09, 0.016, 0.014]).all(1)
    assert 50 < dark.sum() < 600
    assert np.abs(points[dark, 0]).max() < 0.045
    front = points[:, 2] > 0.055
    assert not dark[front].any(), "the lips"


def test_the_lips_are_red(head: pygltflib.GLTF2) -> None:
    attributes = head.meshes[0].primitives[0].attributes
    skin = default_rig().colors
    assert skin is not None
    points, colors = (
        vectors(head, i)[: len(skin)] for i in (attributes.POSITION, attributes.COLOR_0)
    )
    red = ((colors < skin - 0.05) & (skin < 0.8) & (colors > 0.15)).any(1) & (points[:, 1] < -0.04)
    assert red.sum() > 30
    assert np.ptp(points[red, 1]) < 0.03
    assert 0.03 < np.ptp(points[red, 0]) < 0.07
    assert points[red, 2].min() > 0, "not on the back of the head"


def test_the_brows_lie_on_the_forehead_and_move_with_it(head: pygltflib.GLTF2) -> None:
    rig, primitive = default_rig(), head.meshes[0].primitives[0]
    points, colors = (
        vectors(head, i)[len(rig.mean) :]
        for i in (primitive.attributes.POSITION, primitive.attributes.COLOR_0)
    )
    assert (colors.min(1) < 0.2).sum() > 100, "dark"
    assert set(np.sign(points[:, 0])) == {-1, 1}
    np.testing.assert_allclose(
        points[points[:, 0] > 0].mean(0)[1:], points[points[:, 0] < 0].mean(0)[1:], atol=2e-3
    )
    assert 0.01 < points[:, 1].min() < points[:, 1].max() < 0.04, "above the eyes"
    distance = np.linalg.norm(points[:, None] - rig.mean, axis=-1)
    assert distance.min(1).max() < 0.01
    for channel in ("browInnerUp", "browDownLeft", "browOuterUpRight"):
        moved = vectors(head, primitive.targets[arkit.INDEX[channel]]["POSITION"])[len(rig.mean) :]
        skin = rig.deltas[arkit.INDEX[channel]][distance.argmin(1)]
        assert np.abs(moved).max() > 0.003
        np.testing.assert_allclose(moved, skin, atol=4e-3)


def test_the_module_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    command = [sys.executable, "-m", "diffusiontalker.animation.heads", str(path)]
    subprocess.run(command, check=True, timeout=120)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    assert content[:4] == b"glTF"
    assert json.loads(content[20 : 20 + length])["meshes"]
