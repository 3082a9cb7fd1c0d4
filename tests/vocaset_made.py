"""A small VOCASET made for tests, in both published forms: made-up speakers on a made-up mesh."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from diffusiontalker.animation.rig import Rig
from diffusiontalker.arkit import CHANNELS, INDEX

SUBJECTS = (
    "FaceTalk_170728_03272_TA",  # train
    "FaceTalk_170904_00128_TA",  # train
    "FaceTalk_170811_03275_TA",  # val
    "FaceTalk_170809_00138_TA",  # test
)
SEQUENCES = ("sentence21", "sentence22")
RATE = 22_000


def made_rig(vertices: int = 60) -> Rig:
    """Channels that move the mesh by millimetres, each in its own way; tongueOut moves nothing."""
    rng = np.random.default_rng(vertices)
    deltas = rng.normal(0, 0.004, (len(CHANNELS), vertices, 3)).astype(np.float32)
    deltas[INDEX["tongueOut"]] = 0
    return Rig(rng.normal(0, 0.05, (vertices, 3)).astype(np.float32), deltas, name="made")


def template(subject: str, rig: Rig) -> np.ndarray:
    """The speaker's own face at rest (V, 3): not the rig's."""
    rng = np.random.default_rng(list(subject.encode()))
    return 1.1 * rig.mean.astype(np.float64) + rng.normal(0, 0.005, rig.mean.shape)


def truth(subject: str, sequence: str, frames: int, fps: float = 60.0) -> np.ndarray:
    """Coefficients (T, 52) that a take is made of."""
    phase = sum(f"{subject}{sequence}".encode()) % 7
    times = np.arange(frames) / fps
    values = np.zeros((frames, len(CHANNELS)))
    values[:, INDEX["jawOpen"]] = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * times + phase)
    values[:, INDEX["mouthPucker"]] = 0.2 + 0.2 * np.sin(2 * np.pi * 1.3 * times)
    return values


def voice(subject: str, sequence: str, seconds: float) -> np.ndarray:
    """Noise (n,) int16 at ``RATE``, as loud as the jaw of ``truth`` is open."""
    phase = sum(f"{subject}{sequence}".encode()) % 7
    times = np.arange(round(seconds * RATE)) / RATE
    opening = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * times + phase)
    noise = np.random.default_rng(phase).uniform(-1, 1, len(times))
    return (opening * noise * 20_000).astype(np.int16)


def scans(subject: str, sequence: str, frames: int, rig: Rig, fps: float = 60.0) -> np.ndarray:
    """Vertices (T, V, 3) of a take, metres."""
    moved = np.tensordot(truth(subject, sequence, frames, fps), rig.deltas.astype(np.float64), 1)
    return template(subject, rig) + moved


def make_vocaset_raw(
    root: Path,
    rig: Rig,
    frames: int = 150,
    subjects: Sequence[str] = SUBJECTS,
    lost: Sequence[int] = (),
) -> Path:
    """The four files as published, pickles as Python 2 writes them.

    Args:
        root: is made.
        rig: gives the mesh.
        frames: of every take, at 60 fps.
        subjects: two sentences of each.
        lost: numbers of frames that every index lacks, as if the scanner had failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows: list[np.ndarray] = []
    audio: dict[str, Any] = {}
    index: dict[str, Any] = {}
    for subject in subjects:
        for sequence in reversed(SEQUENCES):  # rows do not lie in the order of names
            sound = voice(subject, sequence, frames / 60)
            audio.setdefault(subject, {})[sequence] = {"audio": sound, "sample_rate": RATE}
            kept = [frame for frame in range(frames) if frame not in lost]
            places = {frame: sum(map(len, rows)) + place for place, frame in enumerate(kept)}
            index.setdefault(subject, {})[sequence] = places
            rows.append(scans(subject, sequence, frames, rig)[kept])
    np.save(root / "data_verts.npy", np.concatenate(rows))
    templates = {subject: template(subject, rig) for subject in subjects}
    for name, value in (
        ("raw_audio_fixed", audio), ("subj_seq_to_idx", index), ("templates", templates)
    ):  # fmt: skip
        (root / f"{name}.pkl").write_bytes(python2_pickle(value))
    return root


def make_vocaset_derived(
    root: Path, rig: Rig, frames: int = 75, fps: float = 30.0, subjects: Sequence[str] = SUBJECTS
) -> Path:
    """``vertices_npy``, ``wav`` and ``templates.pkl`` as most repositories prepare them."""
    for folder in ("vertices_npy", "wav"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        for sequence in SEQUENCES:
            stem = f"{subject}_{sequence}"
            flat = scans(subject, sequence, frames, rig, fps).reshape(frames, -1)
            np.save(root / "vertices_npy" / f"{stem}.npy", flat.astype(np.float32))
            sound = voice(subject, sequence, frames / fps)
            soundfile.write(root / "wav" / f"{stem}.wav", sound, RATE)
    templates = {subject: template(subject, rig) for subject in subjects}
    (root / "templates.pkl").write_bytes(python2_pickle(templates))
    return root


def python2_pickle(value: Any, protocol: int = 2) -> bytes:
    """A pickle as Python 2 and numpy 1 write it: strings of bytes, and numpy's older names."""
    file = io.BytesIO()
    _Python2(file, protocol).dump(value)
    return file.getvalue()


class _Python2(pickle._Pickler):
    write: Any
    memoize: Any
    bin: bool

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    def save_string(self, text: str | bytes) -> None:
        raw = text.encode("ascii") if isinstance(text, str) else text
        if not self.bin:
            self.write(b"S" + repr(raw).removeprefix("b").encode() + b"\n")
        elif len(raw) < 256:
            self.write(b"U" + bytes([len(raw)]) + raw)
        else:
            self.write(b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(text)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}
