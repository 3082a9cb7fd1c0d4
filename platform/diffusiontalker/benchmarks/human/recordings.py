"""Recordings of people with the times of their phones, for measuring."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import SUFFIXES, read_recording
from diffusiontalker.corpus import textgrid
from diffusiontalker.corpus.arpabet import to_ipa
from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.errors import UserError
from diffusiontalker.objectives.articulation import Phones

PHONES = "phones.json"
MAX_SECONDS = 600.0
"""The longest recording."""
BEYOND = 0.5
"""Seconds by which phones may end after their recording."""


class Listed(BaseModel):
    """A recording in ``phones.json``."""

    file: str
    """Below the folder; ``.raw`` is 16-bit PCM at 16 kHz, little-endian."""
    text: str = ""
    phones: list[tuple[str, float, float]]
    """(ARPAbet or IPA, start, end) in seconds; SIL is a pause."""


@dataclass(frozen=True)
class Recording:
    """A recording and what is spoken in it."""

    name: str
    text: str
    samples: np.ndarray
    """(n,)."""
    rate: int
    """Hz."""
    phones: Phones

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_recordings(folder: str) -> list[Recording]:
    """All recordings of a folder whose phones are known.

    The phones are those of its ``phones.json``, else of the TextGrids beside its recordings, else
    those that this package has of Debian's ``pocketsphinx-testdata``.

    Raises:
        UserError: the folder has none of these, a file is missing or unreadable, or phones do not
            lie within their recording.
    """
    root = storage.location(folder)
    names = storage.sizes(root)
    if PHONES in names:
        listed = _listed(storage.read_bytes(root / PHONES), str(root / PHONES))
        _check_files([one.file for one in listed], str(root / PHONES))
    elif not (listed := list(_with_grids(root, names))):
        own = resources.files(__package__) / PHONES
        listed = [one for one in _listed(own.read_bytes(), PHONES) if one.file in names]
    if not listed:
        raise UserError(
            f"{root}: no phones of recordings: neither {PHONES} nor name.TextGrid beside name.wav; "
            "without any, give the folder to which dpkg -x unpacks Debian's pocketsphinx-testdata"
        )
    return [_recording(root, one) for one in listed]


def _listed(content: bytes, where: str) -> list[Listed]:
    try:
        return TypeAdapter(list[Listed]).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{where}: {place or 'the content'}: {first['msg']}; needed is a list of "
            '{"file": ..., "text": ..., "phones": [[name, start, end], ...]}'
        ) from error


def _check_files(files: list[str], where: str) -> None:
    """Raises UserError unless every file is below the folder, and listed once."""
    for file in files:
        path = PurePosixPath(file.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{where}: {file!r}: leads out of the folder")
        if files.count(file) > 1:
            raise UserError(f"{where}: lists {file!r} twice")


def _with_grids(root: Path, names: dict[str, int]) -> Iterator[Listed]:
    """The recordings of a folder that have a TextGrid beside them."""
    grids = {name.lower(): name for name in names if name.lower().endswith(".textgrid")}
    for name in names:
        path = PurePosixPath(name)
        grid = grids.get(str(path.with_suffix(".textgrid")).lower())
        if grid is None or path.suffix.lower() not in SUFFIXES:
            continue
        tiers = textgrid.tiers(storage.read_bytes(root / grid), str(root / grid))
        if not (phones := textgrid.phones(tiers)):
            raise UserError(f"{root / grid}: has no tier of phones; tiers: {', '.join(tiers)}")
        yield Listed(
            file=name,
            text=" ".join(word.label for word in textgrid.words(tiers)),
            phones=[(phone.label, phone.start, phone.end) for phone in phones],
        )


def _recording(root: Path, listed: Listed) -> Recording:
    path = root / listed.file
    if path.suffix == ".raw":
        samples, rate = _raw(path), SAMPLE_RATE
    else:
        decoded = read_recording(path, MAX_SECONDS)
        samples, rate = decoded.samples, decoded.rate
    phones = [(base_phoneme(to_ipa(name)), start, end) for name, start, end in listed.phones]
    seconds = len(samples) / rate
    for name, start, end in phones:
        if not 0 <= start <= end <= seconds + BEYOND:
            raise UserError(
                f"{path}: its phone {name!r} lasts from {start:g} to {end:g} s, but the recording "
                f"{seconds:.2f} s; are these its phones, with times in seconds?"
            )
    return Recording(listed.file, listed.text, samples, rate, phones)


def _raw(path: Path) -> np.ndarray:
    content = storage.read_bytes(path)
    if len(content) > 2 * MAX_SECONDS * SAMPLE_RATE:
        raise UserError(f"{path}: longer than {MAX_SECONDS:g} s")
    return np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float32) / 2**15
