"""VOCASET: scans of twelve speakers at 60 fps, fitted by a rig of the same mesh.

Two layouts are recognised by their files, the first of them preferred: as published
(``data_verts.npy``, ``raw_audio_fixed.pkl``, ``subj_seq_to_idx.pkl``, ``templates.pkl``), and as
most repositories prepare it (``vertices_npy/{subject}_{sequence}.npy``,
``wav/{subject}_{sequence}.wav``, ``templates.pkl``).
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from diffusiontalker import storage
from diffusiontalker.animation import files, timing
from diffusiontalker.animation.rig import Rig
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import DecodedAudio, read_recording
from diffusiontalker.config import Section
from diffusiontalker.corpus.sources import pickles
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.corpus.sources.npy_rows import read_vertices
from diffusiontalker.errors import UserError

SPLITS = {
    "train": (
        "FaceTalk_170728_03272_TA",
        "FaceTalk_170904_00128_TA",
        "FaceTalk_170725_00137_TA",
        "FaceTalk_170915_00223_TA",
        "FaceTalk_170811_03274_TA",
        "FaceTalk_170913_03279_TA",
        "FaceTalk_170904_03276_TA",
        "FaceTalk_170912_03278_TA",
    ),
    "val": ("FaceTalk_170811_03275_TA", "FaceTalk_170908_03277_TA"),
    "test_unseen": ("FaceTalk_170809_00138_TA", "FaceTalk_170731_00024_TA"),
}
"""The published split, by speaker."""
EVALUATION_SENTENCES = range(21, 41)
"""Sentences of val and test in the published split. The first 20 of a speaker are shared, at least
in part, with other speakers (Cudeiro et al.), so val and test leave them out."""
VERTICES, AUDIO, FRAMES = "data_verts.npy", "raw_audio_fixed.pkl", "subj_seq_to_idx.pkl"
TEMPLATES = "templates.pkl"
RAW = (VERTICES, AUDIO, FRAMES)
MAX_DIFFERENCE = 0.5
"""Between a speaker's neutral face and the rig's, as a share of its size (our choice). Two people
on one mesh differ by about a tenth; other axes or another vertex order by about 1."""

_RAW_BYTES_PER_SECOND = 2 * 22_000
_SPLIT_OF = {subject: split for split, subjects in SPLITS.items() for subject in subjects}


class VocasetOptions(Section):
    """The rig, and the rate of the frames."""

    rig: str
    """File or s3:// location of the rig (``.npz`` with ``mean``, ``deltas``, ``names``): the mesh
    of the scans, in metres."""
    fps: Annotated[float, Field(gt=0)] = 60.0
    """Rate of the frames. 60 as published; many prepared copies keep every second frame: 30."""
    max_residual_mm: Annotated[float, Field(gt=0)] = 5.0
    """Greatest residual of the fit per vertex of a take, root mean square (our choice). Rejects
    faulty scans; a rig of another mesh is detected by the neutral faces."""
    all_sentences: bool = False
    """Whether val and test also get the first 20 sentences of their speakers."""


class Vocaset(Source):
    """Coefficients of the rig, fitted to the displacements from each speaker's neutral face."""

    Options: ClassVar = VocasetOptions
    paths: ClassVar = ("rig",)
    splits_are_final: ClassVar[bool] = True
    shared: ClassVar[str] = "one sentence's number"

    def takes(self) -> TakeListing:
        """Raises UserError: neither layout, a damaged table, or a rig that does not fit."""
        sizes = self.files()
        raw = all(name in sizes for name in RAW)
        if TEMPLATES not in sizes or not (raw or any(map(_is_vertices, sizes))):
            raise UserError(
                f"{self.root}: not VOCASET; expected {TEMPLATES} with {', '.join(RAW)}, or with "
                "the folders vertices_npy and wav"
            )
        self._check_rig()
        listing = self._raw_takes() if raw else self._derived_takes(sizes)
        return listing if self.options.all_sentences else _evaluation_sentences_only(listing)

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """How the published split works."""
        first, last = EVALUATION_SENTENCES[0], EVALUATION_SENTENCES[-1]
        which = "of all" if self.options.all_sentences else f"of {first} to {last}"
        return [f"the published split is by speaker, with sentences {which} in val and test"]

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        subject = take.identity or ""
        template = _array(_table(self.path(TEMPLATES)).get(subject), f"{TEMPLATES}: {subject}")
        if take.files[0] == VERTICES:
            times, vertices = self._raw_vertices(subject, take.id)
            sound = DecodedAudio(*self._raw_audio(subject, take.id))
        else:
            vertices = read_vertices(self.path(take.files[0]), None, take.files[0])
            times = np.arange(len(vertices)) / self.options.fps
            sound = read_recording(self.path(take.files[1]))
        rig = _rig(self.options.rig)
        values, residual = rig.coefficients(
            files.numbers(vertices, take.id), files.numbers(template, take.id)
        )
        if residual * 1000 > self.options.max_residual_mm:
            raise UserError(
                f"{take.id}: the rig does not fit: vertices stay {residual * 1000:.3g} mm from "
                f"where it can bring them, and source.options.max_residual_mm is "
                f"{self.options.max_residual_mm:g}; give a rig of this mesh, in metres"
            )
        even = timing.on_even_grid(times, values, take.id)
        track = Track(
            even.values, even.fps, even.measured_fps, float(times[0]), rig.static_channels,
            even.tracked, even.notes,
        )  # fmt: skip
        return Recording.from_track(track, sound)

    def _check_rig(self) -> None:
        """Compare the speakers' neutral faces with the rig's: another mesh, unit or axis is an
        error here, where otherwise the coefficients would silently be wrong."""
        rig, path = _rig(self.options.rig), self.path(TEMPLATES)
        for subject, template in _table(path).items():
            where = f"{path}: {subject}"
            face = files.numbers(_array(template, where), where)
            if face.shape != rig.mean.shape:
                raise UserError(
                    f"{where} has the shape {face.shape}, but the rig {self.options.rig} has "
                    f"{len(rig.mean)} vertices; give a rig of the same mesh"
                )
            size, distance = _rms_radius(rig.mean), _rms_radius(face - rig.mean)
            if distance > MAX_DIFFERENCE * size:
                raise UserError(
                    f"{where} lies {distance * 1000:.3g} mm per vertex from the rig "
                    f"{self.options.rig}, whose vertices lie {size * 1000:.3g} mm from its middle; "
                    "give a rig of the same mesh, in metres, with the axes of the scans"
                )

    def _raw_takes(self) -> TakeListing:
        takes, skipped = [], []
        path = self.path(FRAMES)
        subjects = _table(self.path(TEMPLATES))
        for subject, sequences in _table(path).items():
            if not isinstance(sequences, dict):
                raise UserError(f"{path}: {subject!r} holds no table of sequences")
            for sequence, frames in sequences.items():
                name = f"{subject}_{sequence}"
                if subject not in subjects:
                    skipped.append((name, f"{TEMPLATES} has no {subject}"))
                elif not isinstance(frames, dict) or not frames:
                    skipped.append((name, f"no frames in {FRAMES}"))
                else:
                    seconds = len(frames) / self.options.fps
                    size = round(seconds * _RAW_BYTES_PER_SECOND)
                    takes.append(_take(name, subject, size, (*RAW, TEMPLATES)))
        return TakeListing(takes, skipped)

    def _derived_takes(self, sizes: dict[str, int]) -> TakeListing:
        subjects = sorted(_table(self.path(TEMPLATES)), key=len, reverse=True)
        stems = {PurePosixPath(name).stem for name in sizes if _is_vertices(name) or _is_wav(name)}
        takes, skipped = [], []
        for stem in sorted(stems):
            pair = f"vertices_npy/{stem}.npy", f"wav/{stem}.wav"
            there = [name for name in pair if name in sizes]
            subject = next((s for s in subjects if stem.startswith(f"{s}_")), None)
            if len(there) == 1:
                (lost,) = {*pair} - {*there}
                skipped.append((there[0], f"there is no {lost}"))
            elif subject is None:
                skipped.append((pair[0], f"begins with no subject of {TEMPLATES}"))
            else:
                takes.append(_take(stem, subject, sizes[pair[1]], (*pair, TEMPLATES)))
        return TakeListing(takes, skipped)

    def _raw_vertices(self, subject: str, take: str) -> tuple[np.ndarray, np.ndarray]:
        """Times (T,) in seconds and vertices (T, V, 3) of a take, in the order of its frames."""
        path = self.path(FRAMES)
        index = _entry(_table(path), subject, take, str(path))
        if not all(_is_index(v) for pair in index.items() for v in pair):
            raise UserError(f"{path}: {take}: frames and their places must be whole numbers")
        frames = sorted(index)
        times = np.array(frames, dtype=np.float64) / self.options.fps
        rows = [int(index[frame]) for frame in frames]
        return times, read_vertices(self.path(VERTICES), rows, FRAMES)

    def _raw_audio(self, subject: str, take: str) -> tuple[np.ndarray, int]:
        """Samples (n,) float32 in -1 to 1 and their rate."""
        path = self.path(AUDIO)
        where = f"{path}: {take}"
        entry = _entry(_table(path), subject, take, str(path))
        samples = _array(entry.get("audio"), where)
        rate = files.rate(entry.get("sample_rate"), where)
        full = np.iinfo(samples.dtype).max + 1 if samples.dtype.kind == "i" else 1
        if samples.ndim != 1 or len(samples) == 0:
            raise UserError(f"{where}: audio of shape {samples.shape}, expected (samples,)")
        return files.numbers(samples, where) / np.float32(full), round(rate)


def _take(name: str, subject: str, size: int, names: tuple[str, ...]) -> Take:
    return Take(
        name,
        identity=subject,
        group=name.removeprefix(f"{subject}_"),
        split=_SPLIT_OF.get(subject),
        bytes=size,
        files=names,
    )


def _evaluation_sentences_only(listing: TakeListing) -> TakeListing:
    """The listing with only ``EVALUATION_SENTENCES`` in val and test."""
    kept, left_out = [], Counter[str]()
    for take in listing.takes:
        number = re.fullmatch(r"sentence(\d+)", take.group)
        evaluated = number is None or int(number[1]) in EVALUATION_SENTENCES
        if take.split in (None, "train") or evaluated:
            kept.append(take)
        else:
            left_out[take.identity or ""] += 1
    reason = (
        "which the published split leaves out: it validates and tests on "
        f"{EVALUATION_SENTENCES[0]} to {EVALUATION_SENTENCES[-1]}; "
        "source.options.all_sentences=true keeps them"
    )
    skipped = [
        (f"{subject}_sentence*", f"{count} other sentences, {reason}")
        for subject, count in left_out.items()
    ]
    return TakeListing(kept, listing.skipped + skipped)


def _is_vertices(name: str) -> bool:
    return PurePosixPath(name).match("vertices_npy/[!.]*.npy") and name.count("/") == 1


def _is_wav(name: str) -> bool:
    return PurePosixPath(name).match("wav/[!.]*.wav") and name.count("/") == 1


def _rms_radius(points: np.ndarray) -> float:
    """Root mean square distance of points (V, 3) from their centroid, in metres."""
    return float(np.sqrt(np.square(points - points.mean(0)).sum(1).mean()))


def _is_index(value: Any) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) < 1 << 40


def _table(path: Path) -> dict[Any, Any]:
    """The dict in a pickle; read once per process. Raises UserError."""
    return _pickled(str(path))


# Workers construct the source for every batch, and the audio of all takes is one file.
@functools.lru_cache(maxsize=8)
def _pickled(location: str) -> dict[Any, Any]:
    path = storage.location(location)

    def read() -> Any:
        with storage.open_input(path) as file:
            return pickles.load(file, location)

    table = storage.explained("read", path, read)
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise UserError(f"{location}: expected a table of subjects")
    return table


@functools.lru_cache(maxsize=2)
def _rig(location: str) -> Rig:
    return Rig.load(location)


def _entry(table: dict[Any, Any], subject: str, take: str, where: str) -> dict[Any, Any]:
    """A table's entry for a take. Raises UserError if there is none."""
    sequences = table.get(subject)
    sequence = take.removeprefix(f"{subject}_")
    entry = sequences.get(sequence) if isinstance(sequences, dict) else None
    if not isinstance(entry, dict) or not entry:
        raise UserError(f"{where}: nothing of {take}")
    return entry


def _array(value: Any, where: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise UserError(f"{where}: expected an array, got {type(value).__name__}")
    return np.asarray(value)
