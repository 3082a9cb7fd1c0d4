"""glTF 2.0 binary (GLB): the rig with its morph targets, and the clip as a weights animation."""

import numpy as np
import pygltflib as gltf

from diffusiontalker import arkit
from diffusiontalker.animation.rig import Rig
from diffusiontalker.errors import UserError

_SKIN = [0.72, 0.45, 0.34, 1.0]
"""Linear base colour of a rig without vertex colours; for appearance only."""


def encode(coefficients: np.ndarray, fps: float, rig: Rig) -> bytes:
    """A GLB of ``rig`` animated by coefficients (T, 52), one linear key frame per frame.

    Morph targets are sparse accessors, as most channels move a small part of the face, and carry
    normals, without which a smile would be shaded like a neutral face.

    Raises:
        UserError: the rig has no faces.
    """
    if len(rig.faces) == 0:
        raise UserError(f"rig {rig.name!r} has no faces, which a GLB needs: add them to its .npz")
    pack = _Packer()
    place = positions(rig.mean)
    normals = vertex_normals(rig.mean, rig.faces, place)
    attributes = gltf.Attributes(
        POSITION=pack.dense(rig.mean, gltf.VEC3, gltf.ARRAY_BUFFER, bounds=True),
        NORMAL=pack.dense(normals, gltf.VEC3, gltf.ARRAY_BUFFER),
    )
    if rig.colors is not None:
        attributes.COLOR_0 = pack.dense(rig.colors, gltf.VEC3, gltf.ARRAY_BUFFER)
    small = len(rig.mean) < 2**16 - 1
    indices = rig.faces.ravel().astype(np.uint16 if small else np.uint32)
    primitive = gltf.Primitive(
        attributes=attributes,
        indices=pack.dense(indices, gltf.SCALAR, gltf.ELEMENT_ARRAY_BUFFER),
        material=0,
        targets=[
            {
                "POSITION": pack.sparse(delta, bounds=True),
                "NORMAL": pack.sparse(vertex_normals(rig.mean + delta, rig.faces, place) - normals),
            }
            for delta in rig.deltas
        ],
    )
    times = (np.arange(len(coefficients)) / fps).astype(np.float32)
    sampler = gltf.AnimationSampler(
        input=pack.dense(times, gltf.SCALAR, None, bounds=True),
        output=pack.dense(coefficients.astype(np.float32).ravel(), gltf.SCALAR, None),
        interpolation=gltf.ANIM_LINEAR,
    )
    channel = gltf.AnimationChannel(
        sampler=0, target=gltf.AnimationChannelTarget(node=0, path="weights")
    )
    document = gltf.GLTF2(
        asset=gltf.Asset(generator="DiffusionTalker", copyright=rig.credit or None),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(name=rig.name, mesh=0)],
        meshes=[
            gltf.Mesh(
                name=rig.name,
                primitives=[primitive],
                weights=[0.0] * len(arkit.CHANNELS),
                extras={"targetNames": list(arkit.CHANNELS)},
            )
        ],
        materials=[
            gltf.Material(
                name="face",
                doubleSided=True,
                alphaMode=None,
                alphaCutoff=None,
                pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                    baseColorFactor=_SKIN if rig.colors is None else [1.0] * 4,
                    metallicFactor=0.0,
                    roughnessFactor=0.6,
                ),
            )
        ],
        animations=[gltf.Animation(name="speech", samplers=[sampler], channels=[channel])],
        accessors=pack.accessors,
        bufferViews=pack.views,
        buffers=[gltf.Buffer(byteLength=len(pack.blob))],
    )
    document.set_binary_blob(bytes(pack.blob))
    return b"".join(document.save_to_bytes())


def positions(points: np.ndarray) -> np.ndarray:
    """(V,) index of the distinct position of each of ``points`` (V, 3): equal for duplicates."""
    return np.unique(points, axis=0, return_inverse=True)[1].ravel()


def vertex_normals(points: np.ndarray, faces: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32 of points (V, 3): face normals weighted by area.

    ``place`` (V,) is ``positions`` of the neutral face. Vertices at one position share a normal, so
    that texture seams do not show as creases.
    """
    corners = points[faces].astype(np.float64)
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((place.max() + 1, 3))
    for corner in range(3):
        np.add.at(total, place[faces[:, corner]], area)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])  # for vertices without a face: the format requires unit length
    return np.where(length > 0, total / np.where(length > 0, length, 1), up)[place].astype("f4")


class _Packer:
    """Collects arrays into one buffer with their views and accessors."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.views: list[gltf.BufferView] = []
        self.accessors: list[gltf.Accessor] = []

    def dense(self, array: np.ndarray, kind: str, target: int | None, bounds: bool = False) -> int:
        """Index of a new accessor over the whole array."""
        accessor = gltf.Accessor(
            bufferView=self._view(array, target),
            componentType=_component(array),
            count=len(array),
            type=kind,
        )
        return self._add(accessor, array if bounds else None)

    def sparse(self, array: np.ndarray, bounds: bool = False) -> int:
        """Index of a new VEC3 accessor that stores only the rows that are not zero."""
        # One row at least: an accessor without data is legal, but not every reader supports it.
        rows = np.flatnonzero(array.any(axis=1)) if array.any() else np.array([0])
        places, values = rows.astype(np.uint32), array[rows].astype(np.float32)
        accessor = gltf.Accessor(
            byteOffset=None,  # the library's default of 0 is not allowed without a buffer view
            componentType=gltf.FLOAT,
            count=len(array),
            type=gltf.VEC3,
            sparse=gltf.Sparse(
                count=len(rows),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self._view(places), componentType=gltf.UNSIGNED_INT
                ),
                values=gltf.AccessorSparseValues(bufferView=self._view(values)),
            ),
        )
        return self._add(accessor, array if bounds else None)

    def _add(self, accessor: gltf.Accessor, bounded: np.ndarray | None) -> int:
        if bounded is not None:
            columns = bounded.astype(np.float32).reshape(accessor.count, -1)
            accessor.min = columns.min(0).tolist()
            accessor.max = columns.max(0).tolist()
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def _view(self, array: np.ndarray, target: int | None = None) -> int:
        data = np.ascontiguousarray(array).tobytes()
        self.views.append(
            gltf.BufferView(
                buffer=0, byteOffset=len(self.blob), byteLength=len(data), target=target
            )
        )
        self.blob += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1


def _component(array: np.ndarray) -> int:
    return {"f4": gltf.FLOAT, "u2": gltf.UNSIGNED_SHORT, "u4": gltf.UNSIGNED_INT}[
        array.dtype.str[1:]
    ]
