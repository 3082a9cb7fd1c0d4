"""3D-ETF, EmoTalk's coefficients of RAVDESS and HDTF: ``name.npy`` and ``name.wav``."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from diffusiontalker.animation import files
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.config import Section
from diffusiontalker.corpus.sources import beat2
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.corpus.sources.columns import ColumnOptions
from diffusiontalker.corpus.sources.listing import (
    MAX_BYTES,
    TOO_LARGE,
    Skipped,
    examples,
    first_and_count,
    label_groups,
    without_duplicates,
)
from diffusiontalker.errors import UserError

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
"""RAVDESS's codes, under the names that the other data sets use."""

_RAVDESS = re.compile(r"\d\d-0[12](?:-\d\d){5}")
_SONG = re.compile(r"\d\d-02(?:-\d\d){5}")
_PARTNERS = {".npy": ".wav", ".wav": ".npy"}


class StemOptions(Section):
    """Labels in the file names of one collection."""

    pattern: str
    """Regular expression of the whole stem. Optional groups: ``identity``, ``emotion`` (a code) and
    ``group`` (equal for takes of a speaker that must share a split)."""
    prefix: str = ""
    """Put before the identity, which may be a mere number."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        label_groups(pattern)
        return pattern


class EtfOptions(ColumnOptions):
    """How to read names and columns; the columns are EmoTalk's, in the project's order."""

    fps: Annotated[float, Field(gt=0)] = 30.0
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the coefficients; 0.01 for percent."""
    stems: Annotated[tuple[StemOptions, ...], Field(min_length=1)] = (
        # RAVDESS: modality-channel-emotion-intensity-statement-repetition-actor. Repetitions share
        # a split, and so do video and audio-only versions.
        StemOptions(
            pattern=r"\d\d-(?P<group>\d\d-(?P<emotion>\d\d)-\d\d-\d\d)-\d\d-(?P<identity>\d\d)",
            prefix="ravdess-",
        ),
        # HDTF: a video and the number of a segment, sometimes with that of a part. Where it names
        # people, as Ann-MarieLee, the number after a name is that of their video.
        StemOptions(pattern=r"(?P<group>(?P<identity>W[DR]A_\S+?)\d*)_\d{3}(?:_\d\d)?"),
        StemOptions(pattern=r"(?P<group>(?P<identity>[A-Z]+_\S+?))_\d{3}(?:_\d\d)?"),
    )
    """The first that matches gives the labels of a take."""
    emotions: dict[str, str] = EMOTIONS
    """Names of the codes in stems."""


class Etf(Source):
    """Arrays (T, 52) and recordings of one stem, in one folder or in two (``npy/``, ``wav/``).

    A stem is the id of its take. RAVDESS has emotions; HDTF has none, which means unknown.
    """

    Options: ClassVar = EtfOptions
    shared: ClassVar[str] = "one video, or of one actor's statement, mood and strength"

    def takes(self) -> TakeListing:
        """Raises UserError: there is no ``.npy`` with a ``.wav`` at all."""
        sizes = self.files()
        pairs, skipped = _pairs(sizes)
        takes = []
        for face, sound in pairs:
            if sizes[face] > MAX_BYTES:
                skipped.append((face, TOO_LARGE))
                continue
            try:
                labels = self._labels(PurePosixPath(face).stem)
            except UserError as error:
                skipped.append((face, str(error)))
            else:
                takes.append(Take(bytes=sizes[sound], files=(face, sound), **labels))
        if not pairs:
            beat2.refuse(self.root, sizes)
            raise UserError(
                f"{self.root}: no name.npy with a name.wav, as 3D-ETF has them; "
                f"{examples(skipped[:3]) or 'source.root is the unpacked data set'}"
            )
        listing = without_duplicates(takes)
        if songs := [take.files[0] for take in listing.takes if _SONG.fullmatch(take.id)]:
            reason = "kept, but sung, not spoken (RAVDESS's channel 02)"
            skipped.append((first_and_count(songs), reason))
        return TakeListing(listing.takes, skipped + listing.skipped)

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """What a split of RAVDESS cannot separate."""
        if any(_RAVDESS.fullmatch(take.id) for take in takes):
            return ["RAVDESS has two statements, which stand in every split"]
        return []

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        face, sound = (self.path(name) for name in take.files)
        values, missing = self.options.to_channels(files.read_npy(face), None, str(face))
        fps, values = self.options.fps, values * np.float32(self.options.scale)
        recording = Recording.from_track(
            Track(values, fps, fps, missing=missing), read_recording(sound)
        )
        return replace(recording, by_position=self.options.channels is None)

    def _labels(self, stem: str) -> dict[str, Any]:
        """The labels in a stem, as arguments of ``Take``. Raises UserError if no pattern
        matches."""
        for rule in self.options.stems:
            if match := re.fullmatch(rule.pattern, stem):
                break
        else:
            raise UserError("its name matches no pattern; add one to source.options.stems")
        found = match.groupdict()
        identity, code, group = (found.get(name) for name in ("identity", "emotion", "group"))
        if code is not None and code not in self.options.emotions:
            raise UserError(f"emotion {code!r} has no name; add one to source.options.emotions")
        speaker = None if identity is None else rule.prefix + identity
        return {
            "id": stem,
            "identity": speaker,
            "emotion": None if code is None else self.options.emotions[code],
            "group": "" if group is None else f"{speaker} {group}",
        }


def _pairs(names: Iterable[str]) -> tuple[list[tuple[str, str]], Skipped]:
    """(array, recording) of every stem, and the files without a partner with the reason.

    A partner is in the same folder, or else is the only file of its stem and kind.
    """
    found: dict[tuple[str, str], list[PurePosixPath]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in _PARTNERS and not path.name.startswith("."):
            found[path.stem, path.suffix.lower()].append(path)
    pairs, skipped = [], []
    for (stem, suffix), paths in found.items():
        partners = found.get((stem, _PARTNERS[suffix]), [])
        for path in paths:
            near = [p for p in partners if p.parent == path.parent]
            if not near and len(partners) == len(paths) == 1:
                near = partners
            if not near:
                reason = f"there are several {stem}" if partners else f"there is no {stem}"
                skipped.append((str(path), reason + _PARTNERS[suffix]))
            elif suffix == ".npy":
                pairs.append((str(path), str(near[0])))
    return pairs, skipped
