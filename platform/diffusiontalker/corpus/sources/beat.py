"""BEAT as published: ``{speaker}/{speaker}_{name}_{type}_{start}_{end}.json``, ``.wav`` and
optionally ``.TextGrid``."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from diffusiontalker import arkit, storage
from diffusiontalker.animation import beat
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.config import Section
from diffusiontalker.corpus import textgrid
from diffusiontalker.corpus.sources import beat2
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.corpus.sources.listing import MAX_BYTES, TOO_LARGE, Skipped, examples
from diffusiontalker.errors import UserError

TYPES = tuple(
    f"{language} {kind}"
    for language in ("English", "Chinese", "Spanish", "Japanese")
    for kind in ("monologue", "conversation")
)
"""Meaning of the type number in a name; even: monologue, odd: conversation."""
EMOTIONS = {
    "neutral": range(1, 65),
    "happiness": range(65, 73),
    "anger": range(73, 81),
    "sadness": range(81, 87),
    "contempt": range(87, 95),
    "surprise": range(95, 103),
    "fear": range(103, 111),
    "disgust": range(111, 119),
}
"""Scripts of monologues by emotion; conversations have no label."""
SCRIPTS = range(1, 119)
"""All scripts of monologues; takes with another number are read, with unknown emotion."""
TEST = ({*range(1, 9), 65, 73, 81, 87, 95, 103, 111}, {1})
"""Scripts of the data set's own test split, for monologues and conversations."""
VALIDATION = ({*range(56, 65), 72, 80, 86, 94, 102, 110, 118}, {12})
CLOCK_TOLERANCE = 1e-4
"""Greatest relative difference of two devices' clocks: twice a quartz's 50 ppm (our choice)."""

_PARTNERS = {".json": ".wav", ".wav": ".json"}
_STEM = re.compile(r"([0-9]+_.+)_([0-7])_([0-9]{1,3})_([0-9]{1,3})")


class _Name(NamedTuple):
    stem: str
    identity: str
    type: int
    start: int
    end: int


class BeatOptions(Section):
    """Which takes of BEAT are used."""

    types: Annotated[tuple[Annotated[int, Field(ge=0, le=7)], ...], Field(min_length=1)] = (0, 1)
    """0 English monologue, 1 English conversation, 2-3 Chinese, 4-5 Spanish, 6-7 Japanese."""
    fps: Annotated[float, Field(gt=0)] | None = 60.0
    """The rate that the data set states: takes whose time stamps contradict it are refused. None:
    use the time stamps."""


class Beat(Source):
    """Speakers reading the same scripts, 51 channels (no tongueOut), the data set's own split."""

    Options: ClassVar = BeatOptions
    shared: ClassVar[str] = "the same scripts"

    def takes(self) -> TakeListing:
        """Takes are found by name, in any folder. Raises UserError."""
        sizes = self.files()
        pairs, skipped = _pairs(sizes)
        grids = _grids(sizes)
        takes = []
        unwanted: Counter[int] = Counter()
        for name, files in pairs.items():
            if name.type not in self.options.types:
                unwanted[name.type] += 1
            elif len(files) == 1:
                (suffix, file), *_ = files.items()
                skipped.append((file, f"there is no {name.stem}{_PARTNERS[suffix]}"))
            elif sizes[files[".json"]] > MAX_BYTES:
                skipped.append((files[".json"], TOO_LARGE))
            else:
                takes.append(_take(name, files, grids.get(name.stem), sizes[files[".wav"]]))
                if note := _emotion_note(name):
                    skipped.append((files[".json"], note))
        skipped += beat2.skipped(sizes)
        wanted = ", ".join(str(kind) for kind in self.options.types)
        for kind, count in sorted(unwanted.items()):
            reason = f"{count} of type {kind} ({TYPES[kind]}); source.options.types is {wanted}"
            skipped.append((f"*_{kind}_*_*", reason))
        if not takes:
            beat2.refuse(self.root, sizes)
            raise UserError(
                f"{self.root}: no take of BEAT, such as 1/1_wayne_0_1_1.json and .wav; "
                f"{examples(skipped[-3:]) or 'source.root is the unpacked data set'}"
            )
        return TakeListing(takes, skipped)

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        face, sound, *grids = (self.path(name) for name in take.files)
        track = beat.read(storage.read_text(face), str(face))
        _check_rate(track, self.options.fps, str(face))
        recording = Recording.from_track(track, read_recording(sound))
        try:
            tiers = {} if not grids else textgrid.tiers(
                storage.read_bytes(grids[0], MAX_BYTES), take.files[2]
            )  # fmt: skip
        except UserError as error:  # a take is usable without its text
            note = f"its text is unknown: {error}"
            return replace(recording, notes=(*recording.notes, note))
        return replace(recording, words=textgrid.words(tiers), phones=textgrid.phones(tiers))

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """How the authors' split works."""
        return [
            "the authors' split is by script, and a take of several is of the test if one of them "
            "is; speakers of test_unseen read the scripts that others read"
        ]


def emotion(kind: int, start: int, end: int) -> str | None:
    """The emotion of a take by its type and its scripts, ``start`` to ``end``; None where BEAT
    gives none, or several."""
    if kind % 2:
        return None
    return next((name for name, of in EMOTIONS.items() if start in of and end in of), None)


def official_split(kind: int, start: int, end: int) -> str:
    """The data set's own split of a take of the scripts ``start`` to ``end``.

    A take of several scripts belongs to the test as soon as one of them does, then to validation.
    """
    scripts = set(range(start, end + 1))
    if scripts & TEST[kind % 2]:
        return "test_seen"
    return "val" if scripts & VALIDATION[kind % 2] else "train"


def _pairs(names: Iterable[str]) -> tuple[dict[_Name, dict[str, str]], Skipped]:
    """The .json and .wav of every take by suffix, and the files that belong to none and why."""
    pairs: dict[_Name, dict[str, str]] = defaultdict(dict)
    skipped = []
    for file in names:
        path = PurePosixPath(file)
        suffix = path.suffix.lower()
        if suffix not in _PARTNERS or path.name.startswith("."):
            continue
        name = _parse(path.stem)
        if name is None:
            reason = "not named {speaker}_{name}_{type}_{start}_{end} with a type from 0 to 7"
            skipped.append((file, reason))
        elif (first := pairs[name].setdefault(suffix, file)) != file:
            skipped.append((file, f"the same take as {first}"))
    return pairs, skipped


def _grids(names: Iterable[str]) -> dict[str, str]:
    """TextGrids by the stems of their takes."""
    paths = [PurePosixPath(name) for name in names if name.lower().endswith(".textgrid")]
    return {path.stem: str(path) for path in reversed(paths) if not path.name.startswith(".")}


def _emotion_note(name: _Name) -> str | None:
    """Why a monologue has no emotion: several emotions, or scripts that are not BEAT's."""
    if name.type % 2:
        return None
    if name.start not in SCRIPTS or name.end not in SCRIPTS:
        return f"kept, but BEAT's scripts are {SCRIPTS[0]} to {SCRIPTS[-1]}: its emotion is unknown"
    if emotion(name.type, name.start, name.end) is None:
        return "kept, but its scripts are of several emotions: its emotion is unknown"
    return None


def _parse(stem: str) -> _Name | None:
    found = _STEM.fullmatch(stem)
    if found is None or int(found[4]) < int(found[3]):
        return None
    return _Name(stem, found[1], int(found[2]), int(found[3]), int(found[4]))


def _take(name: _Name, files: dict[str, str], grid: str | None, size: int) -> Take:
    return Take(
        name.stem,
        identity=name.identity,
        emotion=emotion(name.type, name.start, name.end),
        group=f"{name.type}_{name.start}_{name.end}",
        split=official_split(name.type, name.start, name.end),
        bytes=size,
        files=(files[".json"], files[".wav"], *([] if grid is None else [grid])),
    )


def _check_rate(track: Track, stated: float | None, where: str) -> None:
    """Refuse a take whose time stamps drift from the stated rate by more than half a frame in all,
    unless the two rates differ by no more than ``CLOCK_TOLERANCE``."""
    if stated is None:
        return
    seconds = (len(track.values) - 1) / track.fps
    deviation = abs(track.stated_fps / stated - 1)
    if (drift := seconds * deviation) > 0.5 / arkit.FPS and deviation > CLOCK_TOLERANCE:
        raise UserError(
            f"{where}: its time stamps run at {track.stated_fps:.6g} fps, source.options.fps is "
            f"{stated:g}: {drift:.2f} s apart at its end; source.options.fps=null trusts the stamps"
        )
