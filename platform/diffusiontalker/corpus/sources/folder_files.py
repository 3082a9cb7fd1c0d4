"""The files of a user's data set by stem: audio, coefficients, videos, and what has no partner."""

import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from diffusiontalker.audio.recording import ALL_SUFFIXES, SUFFIXES

COEFFICIENTS = (".csv", ".npz", ".json", ".npy")
"""Suffixes of coefficients; of two files of one stem the earlier suffix is used: the app's own
first, then what holds names and rate, and an ``.npy`` only if nothing else is there."""
VIDEO = (".mov", ".mp4", ".m4v", ".avi", ".mkv")
"""Suffixes of videos, from which audio can be extracted."""


@dataclass(frozen=True)
class FilesByStem:
    """Files by name without suffix; of several the preferred one first."""

    audio: Mapping[str, list[str]]
    coefficients: Mapping[str, list[str]]
    videos: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    """Number of files of every other suffix, as a pattern such as ``*.txt``."""

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Audio and coefficients of every take."""
        return {
            stem: (names[0], self.coefficients[stem][0])
            for stem, names in self.audio.items()
            if stem in self.coefficients
        }

    def unused(self) -> Iterator[tuple[str, str]]:
        """Files that no take uses, and why; first those that a command would make usable."""
        for stem, video in self.videos.items():
            if stem in self.coefficients and stem not in self.audio:
                sound = str(PurePosixPath(video).with_suffix(".wav"))
                command = f"ffmpeg -i {shlex.quote(video)} -vn -ac 1 {shlex.quote(sound)}"
                yield video, f"the sound of a take is in its video; extract it: {command}"
        for suffix, count in Counter(
            PurePosixPath(video).suffix for stem, video in self.videos.items()
            if stem in self.audio or stem not in self.coefficients
        ).items():  # fmt: skip
            yield f"*{suffix}", f"{count} files: videos, which are not read"
        for kind, found, partners, suffixes in (
            ("audio without coefficients", self.audio, self.coefficients, COEFFICIENTS),
            ("coefficients without audio", self.coefficients, self.audio, SUFFIXES),
        ):
            for stem, names in found.items():
                if stem not in partners and not (
                    found is self.coefficients and stem in self.videos
                ):
                    yield names[0], f"{kind} of its name ({', '.join(suffixes)})"
                for name in names[1:]:
                    yield name, f"{names[0]} is used instead"


def files_by_stem(names: Iterable[str]) -> FilesByStem:
    """Sort files by stem and kind; hidden files are left out. Of several files of one stem and kind
    the first is the one whose suffix comes first in ``ALL_SUFFIXES`` or ``COEFFICIENTS``.

    Stems are normalised to composed Unicode (NFC), as tables are typed; a Mac's file names are
    decomposed.
    """
    audio, coefficients = defaultdict(list), defaultdict(list)
    videos: dict[str, str] = {}
    others: Counter[str] = Counter()
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        stem = unicodedata.normalize("NFC", name[: len(name) - len(suffix)])
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if suffix in ALL_SUFFIXES:
            audio[stem].append(name)
        elif suffix in COEFFICIENTS:
            coefficients[stem].append(name)
        elif suffix in VIDEO:
            videos[stem] = name
        else:
            others[f"*{suffix}"] += 1
    for suffixes, found in ((ALL_SUFFIXES, audio), (COEFFICIENTS, coefficients)):
        for several in found.values():
            several.sort(key=lambda name: suffixes.index(PurePosixPath(name).suffix.lower()))
    return FilesByStem(dict(audio), dict(coefficients), videos, others)
