"""The Face Cap head, decoded at run time from the asset in the installed openfacefx package.

The asset is a GLB packed by gltfpack: quantised vertices (KHR_mesh_quantization) in compressed
buffer views (EXT_meshopt_compression). Its textures are not read. This repository holds no copy.
"""

import json
import struct
from importlib import resources
from typing import Any, NamedTuple

import meshopt
import numpy as np

from diffusiontalker.errors import UserError

CREDIT = "Face Cap head by Niels Jansson"
HEIGHT_M = 0.24
"""Height of the head mesh, chin and neck to crown; our choice, the size of an adult's head. It
puts the eyes 67 mm apart, and the squared errors of LVE and EVE on the papers' 1e-5 scale."""

_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class Head(NamedTuple):
    """Geometry in metres, +Y up and +Z out of the face; deltas are in the order of ``names``."""

    mean: np.ndarray
    deltas: np.ndarray
    names: list[str]
    faces: np.ndarray
    colors: np.ndarray


def load() -> Head:
    """Decode the head (with eyes and teeth, which no channel moves) from openfacefx.

    Raises:
        UserError: the installed openfacefx does not carry the asset.
    """
    asset = resources.files("openfacefx") / "studio_web" / "assets" / "facecap.glb"
    if not asset.is_file():
        raise UserError(
            "the installed openfacefx has no studio_web/assets/facecap.glb: install openfacefx "
            "0.24.0, or give a rig of your own as .npz"
        )
    return _assemble(_Glb(asset.read_bytes()))


def _assemble(glb: "_Glb") -> Head:
    """All meshes of the scene as one, scaled to HEIGHT_M and centred between the eyes."""
    parts = {name: (mesh, matrix) for name, mesh, matrix in glb.meshes()}
    head, matrix = parts["head"]
    names = head["extras"]["targetNames"]
    points, faces, colors, offset = [], [], [], 0
    for name, (mesh, to_world) in parts.items():
        primitive = mesh["primitives"][0]
        local = glb.accessor(primitive["attributes"]["POSITION"])
        points.append(local @ to_world[:3, :3].T + to_world[:3, 3])
        faces.append(glb.accessor(primitive["indices"]).astype(np.int64).reshape(-1, 3) + offset)
        colors.append(_vertex_colors(name, points[-1]))
        offset += len(local)
    mean = np.concatenate(points)
    deltas = np.zeros((len(names), len(mean), 3))
    start = sum(len(p) for p in points[: list(parts).index("head")])
    stop = start + len(points[list(parts).index("head")])
    for channel, target in enumerate(head["primitives"][0]["targets"]):
        deltas[channel, start:stop] = glb.accessor(target["POSITION"]) @ matrix[:3, :3].T
    scale = HEIGHT_M / np.ptp(mean[start:stop, 1])
    eyes = np.concatenate([p for n, p in zip(parts, points, strict=True) if n.startswith("eye")])
    return Head(
        ((mean - eyes.mean(0)) * scale).astype(np.float32),
        (deltas * scale).astype(np.float32),
        names,
        np.concatenate(faces),
        np.concatenate(colors),
    )


def _vertex_colors(part: str, points: np.ndarray) -> np.ndarray:
    """Linear RGB (V, 3) in place of the textures (our choice; for appearance only)."""
    if part.startswith("eye"):
        centred = points - (points.min(0) + points.max(0)) / 2
        forward = centred[:, 2] / np.linalg.norm(centred, axis=1)
        shades = [(0.01, 0.01, 0.01), (0.08, 0.16, 0.22), (0.85, 0.83, 0.80)]
        return np.array(shades, np.float32)[np.digitize(-forward, [-0.97, -0.87])]
    color = (0.80, 0.76, 0.66) if part == "teeth" else (0.72, 0.45, 0.34)
    return np.tile(np.array(color, np.float32), (len(points), 1))


class _Glb:
    """The parts of glTF 2.0 that the asset uses."""

    def __init__(self, data: bytes) -> None:
        (length,) = struct.unpack_from("<I", data, 12)
        self.tree: dict[str, Any] = json.loads(data[20 : 20 + length])
        self.body = data[20 + length + 8 :]

    def view(self, index: int) -> bytes:
        """The decompressed bytes of a buffer view."""
        view = self.tree["bufferViews"][index]
        packed = view.get("extensions", {}).get("EXT_meshopt_compression")
        source = packed or view
        start = source.get("byteOffset", 0)
        raw = self.body[start : start + source["byteLength"]]
        if packed is None:
            return raw
        return meshopt.decode_gltf_buffer(
            raw, packed["count"], packed["byteStride"], packed["mode"], packed.get("filter")
        ).tobytes()

    def accessor(self, index: int) -> np.ndarray:
        """An accessor as (count, width) numbers; integers keep their quantised units, which the
        node's transform converts to lengths (KHR_mesh_quantization)."""
        accessor = self.tree["accessors"][index]
        dtype = np.dtype(_DTYPES[accessor["componentType"]])
        width = _WIDTHS[accessor["type"]]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        stride = view.get("byteStride", dtype.itemsize * width)
        return np.ndarray(
            (accessor["count"], width),
            dtype,
            self.view(accessor["bufferView"]),
            accessor.get("byteOffset", 0),
            (stride, dtype.itemsize),
        )

    def meshes(self) -> list[tuple[str, dict[str, Any], np.ndarray]]:
        """(name of the nearest named node, mesh, matrix to world) of every mesh in the scene."""
        found: list[tuple[str, dict[str, Any], np.ndarray]] = []

        def visit(index: int, parent: np.ndarray, name: str) -> None:
            node = self.tree["nodes"][index]
            name = node.get("name", name)
            matrix = parent @ _matrix(node)
            if "mesh" in node:
                found.append((name, self.tree["meshes"][node["mesh"]], matrix))
            for child in node.get("children", []):
                visit(child, matrix, name)

        for root in self.tree["scenes"][0]["nodes"]:
            visit(root, np.eye(4), "")
        return found


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """A node's (4, 4) transform: translation, rotation (x, y, z, w) and scale, glTF 2.0 3.5.3."""
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ) * node.get("scale", (1.0, 1.0, 1.0))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
