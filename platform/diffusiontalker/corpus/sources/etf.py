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
from diffusiontalker.corpus.sources.base import (
    MAX_BYTES,
    ColumnOptions,
    Listing,
    Recording,
    Source,
    Take,
    unique,
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
"""RAVDESS's codes, in the names that the other data sets have."""

_RAVDESS = re.compile(r"\d\d-0[12](?:-\d\d){5}")
_SONG = re.compile(r"\d\d-02(?:-\d\d){5}")
_PARTNERS = {".npy": ".wav", ".wav": ".npy"}
_GROUPS = {"identity", "emotion", "group"}
_Pairs = list[tuple[str, str]]


class StemOptions(Section):
    """What the names of one collection say."""

    pattern: str
    """Regular expression of the whole stem; groups ``identity``, ``emotion`` (a code) and ``group``
    (what the takes of a speaker have in common that are to share a split) may be missing."""
    prefix: str = ""
    """Put before the identity, which may be a mere number."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups - _GROUPS:
            raise ValueError(f"the groups are {', '.join(sorted(_GROUPS))}")
        return pattern


class EtfOptions(ColumnOptions):
    """How to read names and columns; the columns are EmoTalk's, in the project's order."""

    fps: Annotated[float, Field(gt=0)] = 30.0
    scale: Annotated[float, Field(gt=0)] = 1.0
    """What coefficients are multiplied by; 0.01 for percent."""
    stems: Annotated[tuple[StemOptions, ...], Field(min_length=1)] = (
        # RAVDESS: modality-channel-emotion-intensity-statement-repetition-actor. What an actor
        # says twice in the same way shares a split, and so do its video and its mere sound.
        StemOptions(
            pattern=r"\d\d-(?P<group>\d\d-(?P<emotion>\d\d)-\d\d-\d\d)-\d\d-(?P<identity>\d\d)",
            prefix="ravdess-",
        ),
        # HDTF: a video and the number of a segment, which some have cut once more. Where it names
        # people, as Ann-MarieLee, the number behind a name is that of their video.
        StemOptions(pattern=r"(?P<group>(?P<identity>W[DR]A_\S+?)\d*)_\d{3}(?:_\d\d)?"),
        StemOptions(pattern=r"(?P<group>(?P<identity>[A-Z]+_\S+?))_\d{3}(?:_\d\d)?"),
    )
    """The first that matches tells what is known of a take."""
    emotions: dict[str, str] = EMOTIONS
    """Names of the codes in stems."""


class Etf(Source):
    """Arrays (T, 52) and recordings of one stem, in one folder or in two (``npy/``, ``wav/``).

    A stem is the id of its take. RAVDESS has emotions; HDTF has none, which means unknown.
    """

    Options: ClassVar = EtfOptions
    shared: ClassVar[str] = "one video, or of one actor's statement, mood and strength"

    def takes(self) -> Listing:
        """Raises UserError: there is no ``.npy`` with a ``.wav`` at all."""
        sizes = self.files()
        pairs, skipped = _pairs(sizes)
        takes = []
        for face, sound in pairs:
            if sizes[face] > MAX_BYTES:
                skipped.append((face, f"larger than {MAX_BYTES >> 20} MiB"))
                continue
            try:
                labels = self._labels(PurePosixPath(face).stem)
            except UserError as reason:
                skipped.append((face, str(reason)))
            else:
                takes.append(Take(bytes=sizes[sound], files=(face, sound), **labels))
        if not pairs:
            beat2.refuse(self.root, sizes)
            why = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
            raise UserError(
                f"{self.root}: no name.npy with a name.wav, as 3D-ETF has them; "
                f"{why or 'source.root is the unpacked data set'}"
            )
        listing = unique(takes)
        if songs := [take.files[0] for take in listing.takes if _SONG.fullmatch(take.id)]:
            more = f" and {len(songs) - 1} more" if len(songs) > 1 else ""
            skipped.append((songs[0] + more, "kept, but sung, not spoken (RAVDESS's channel 02)"))
        return Listing(listing.takes, skipped + listing.skipped)

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """What RAVDESS cannot keep apart."""
        if any(_RAVDESS.fullmatch(take.id) for take in takes):
            return ["RAVDESS has two statements, which stand in every split"]
        return []

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        face, sound = (self.path(name) for name in take.files)
        values, missing = self.options.array(files.read_npy(face), None, str(face))
        fps, values = self.options.fps, values * np.float32(self.options.scale)
        recording = Recording.of(Track(values, fps, fps, missing=missing), read_recording(sound))
        return replace(recording, by_position=self.options.channels is None)

    def _labels(self, stem: str) -> dict[str, Any]:
        """What a stem says, as arguments of ``Take``. Raises UserError if no pattern matches."""
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


def _pairs(names: Iterable[str]) -> tuple[_Pairs, _Pairs]:
    """(array, recording) of one stem, and the files that have no partner with the reason.

    A partner lies in the same folder, or else is the only file of its stem and kind.
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
