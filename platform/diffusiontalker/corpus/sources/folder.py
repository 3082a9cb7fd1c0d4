"""A folder of the user's own: ``name.wav`` beside ``name.csv``, and an ``index.csv`` of labels."""

import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from diffusiontalker import arkit, storage
from diffusiontalker.animation import beat, files, livelink, tables, timing
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import OTHER_SUFFIXES, SUFFIXES, read_recording
from diffusiontalker.corpus.manifest import SPLITS
from diffusiontalker.corpus.sources import app, beat2, naming
from diffusiontalker.corpus.sources.base import (
    MAX_BYTES,
    ColumnOptions,
    Listing,
    Recording,
    Source,
    Take,
)
from diffusiontalker.errors import UserError

AUDIO = SUFFIXES
"""Of two recordings of one name the earlier kind is heard; those of other kinds come after them."""
COEFFICIENTS = (".csv", ".npz", ".json", ".npy")
"""Of two files of one name the earlier kind is read: the app's own first, then what holds names
and rate, and an ``.npy`` only if nothing else is there."""
CLOCKS = ("time", "timestamp")
"""Columns of seconds in a table of coefficients."""
VIDEO = (".mov", ".mp4", ".m4v", ".avi", ".mkv")
"""Files whose sound can be taken out."""
LABELS = ("identity", "emotion", "group", "split")
"""Columns of the index beside ``name``."""
_SOUNDS = (*AUDIO, *OTHER_SUFFIXES)
_Labels = dict[str, str | None]


class FolderOptions(ColumnOptions):
    """How to read files that do not say everything themselves."""

    index: str = "index.csv"
    """Table of ``name,identity,emotion,group,split`` below the root; it may be absent, and so may
    all its columns but the first. An empty cell means unknown."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Rate of arrays, tables and JSON that hold none, and of Live Link Face CSV whatever their
    timecodes look like. None: 30, and what the timecodes say."""
    stem: str | None = None
    """Regular expression, searched for in the name relative to the root and without its suffix,
    whose groups ``identity``, ``emotion`` and ``group`` (what takes that are to share a split have
    in common, such as a sentence) are the labels of takes that the index does not label, such as
    ``(?P<identity>[a-z]+)_(?P<emotion>[a-z]+)_``. Of what spans folders the last part counts. What
    it does not find is unknown, save that the identity is then ``speaker`` or the name of the
    subfolder that the take lies in."""
    speaker: Annotated[str, Field(min_length=1)] | None = None
    """Who speaks in all takes of which neither the index nor ``stem`` says it. None: the subfolder
    tells, or for exports of the Live Link Face app, which have one for each take, the slate."""
    split_folders: bool = True
    """Whether folders ``train``, ``val`` and ``test`` at the root are splits. They are never
    speakers."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """What coefficients are multiplied by; 0.01 for percent."""

    @field_validator("stem")
    @classmethod
    def _has_groups(cls, pattern: str | None) -> str | None:
        try:
            groups = set(re.compile(pattern).groupindex) if pattern is not None else {"identity"}
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if not groups or groups - {"identity", "emotion", "group"}:
            raise ValueError(
                "needs named groups: (?P<identity>...), (?P<emotion>...) or (?P<group>...)"
            )
        return pattern


class Folder(Source):
    """Takes of one name in one folder; the index has the last word on their labels and splits."""

    Options: ClassVar = FolderOptions
    splits_are_final: ClassVar[bool] = True
    shared: ClassVar[str] = "one group of the index or the names"

    def takes(self) -> Listing:
        """Raises UserError: nothing usable, or an index that would lose labels."""
        sizes = self.files()
        slates = app.slates(sizes)
        notes = app.notes(sizes, slates)
        sounds, faces, videos, others = _by_stem(
            name for name in sizes if name not in (self.options.index, *notes)
        )
        pairs = {stem: (sounds[stem][0], faces[stem][0]) for stem in sounds if stem in faces}
        rows, said = self._index(sizes, pairs)
        takes, skipped = [], [*_unpaired(sounds, faces, videos), *beat2.skipped(sizes), *said]
        for stem, (sound, face) in pairs.items():
            if sizes[face] > MAX_BYTES:
                skipped.append((face, f"larger than {MAX_BYTES >> 20} MiB"))
                continue
            labels = self._told_by_name(stem, slates) | rows.get(stem, {})
            takes.append(
                Take(
                    stem,
                    identity=labels["identity"],
                    emotion=labels["emotion"],
                    group=labels["group"] or "",
                    split=labels.get("split"),
                    bytes=sizes[sound],
                    files=(face, sound),
                )
            )
        if notes:
            skipped.append((f"{notes[0]} and the like", f"{len(notes)} of the app's own notes"))
        skipped += naming.of_slates(takes, slates)
        for pattern, count in others.items():
            kinds = f"audio ({', '.join(AUDIO)}) nor coefficients ({', '.join(COEFFICIENTS)})"
            skipped.append((pattern, f"{count} files: neither {kinds}"))
        if not takes:
            beat2.refuse(self.root, sizes)
            why = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
            raise UserError(
                f"{self.root}: no take; expected name.wav (or {', '.join(AUDIO[1:])}) beside "
                f"name.csv (or {', '.join(COEFFICIENTS[1:])}); {why or 'nothing is there'}"
            )
        if self.options.split_folders:
            takes, told = naming.in_split_folders(takes)
            skipped += told
        return Listing(takes, skipped)

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        face, sound = (self.path(name) for name in take.files)
        track, by_position = self._track(face)
        recording = Recording.of(track, read_recording(sound))
        values = recording.coefficients * np.float32(self.options.scale)
        return replace(recording, coefficients=values, by_position=by_position)

    def _track(self, path: Path) -> tuple[Track, bool]:
        """What a file holds, and whether nothing names its columns."""
        where, fps, ignore = str(path), self.options.fps, self.options.ignore
        default = fps or float(arkit.FPS)
        match path.suffix.lower():
            case ".csv":
                return self._table(storage.read_text(path), where), False
            case ".json":
                return beat.read(storage.read_text(path), where, default, ignore), False
            case ".npz":
                arrays = files.read_npz(path)
                if beat2.holds(arrays):
                    raise UserError(f"{where}: {beat2.NAMED}")
                if "coefficients" not in arrays:
                    raise UserError(f"{where}: no array coefficients; it holds {', '.join(arrays)}")
                values = arrays["coefficients"]
                rate = files.rate(arrays["fps"], where) if "fps" in arrays else default
                held = arrays.get("names")
            case _:
                values, rate, held = files.read_npy(path), default, None
        names = None if held is None else [str(name) for name in held.ravel()]
        values, missing = self.options.array(values, names, where)
        by_position = names is None and self.options.channels is None
        return Track(values, rate, rate, missing=missing), by_position

    def _table(self, text: str, where: str) -> Track:
        """A Live Link Face CSV, or a table whose header names channels and perhaps ``time`` in
        seconds."""
        table = tables.parse(text, where)
        header = [name.lower() for name in table.header]
        if "timecode" in header:
            return livelink.of_table(table, where, self.options.fps, self.options.ignore)
        clocks = [i for i, name in enumerate(header) if name in CLOCKS]
        left_out = [arkit.is_left_out(name, self.options.ignore) for name in header]
        kept = [i for i in range(len(header)) if i not in clocks and not left_out[i]]
        if len(clocks) > 1 or not kept or not table.rows:
            raise UserError(f"{where}: expected a header of channels, one time at most, and frames")
        names = [table.header[i] for i in kept]
        table = tables.ended(table) if clocks else table
        cells, seen = tables.numbers(table, kept, where)
        values = arkit.map_by_name(files.numbers(cells, where), names, where)
        missing = arkit.missing(names)
        if not clocks:
            rate = self.options.fps or float(arkit.FPS)
            held = timing.filled(values, seen, where)
            return Track(held, rate, rate, 0.0, missing, seen, table.notes)
        times = tables.stamps(table, clocks[0], where)
        even = timing.evenly(times, values, where, seen)
        notes = (*table.notes, *even.notes)
        return Track(even.values, even.fps, even.exact, float(times[0]), missing, even.seen, notes)

    def _told_by_name(self, stem: str, slates: Mapping[str, str]) -> _Labels:
        found = re.search(self.options.stem, stem) if self.options.stem is not None else None
        told = {key: value.rpartition("/")[2] for key, value in _groups(found) if value}
        if not told.get("identity"):
            told["identity"] = self.options.speaker or naming.speaker(stem, slates)
        return {key: told.get(key) or None for key in ("identity", "emotion", "group")}

    def _index(
        self, sizes: Mapping[str, int], stems: Collection[str]
    ) -> tuple[dict[str, _Labels], list[tuple[str, str]]]:
        """The index by stems, and what it says in vain or leaves unsaid. Raises UserError."""
        name = self.options.index
        if name not in sizes:
            if "index" in self.options.model_fields_set:
                raise UserError(f"source.options.index: there is no {name} in {self.root}")
            return {}, []
        where = str(self.path(name))
        if sizes[name] > MAX_BYTES:
            raise UserError(f"{where}: larger than {MAX_BYTES >> 20} MiB; is it the index?")
        header, rows = _cells(storage.read_text(self.path(name)), where)
        if "name" not in header:
            raise UserError(f"{where}: no column 'name', only {', '.join(header)}; split by commas")
        labels: dict[str, _Labels] = {}
        said = []
        for number, cells in enumerate(rows, start=1):
            row = dict(zip(header, cells, strict=True))
            stem = _stem_of(row["name"], stems)
            if problem := _problem(row, stem in labels):
                raise UserError(f"{where}: row {number}: {problem}")
            labels[stem] = {key: row[key] or None for key in LABELS if key in row}
            if stem not in stems:
                said.append((row["name"], f"in row {number} of {name}, but there is no such take"))
        if ignored := [column for column in header if column not in ("", "name", *LABELS)]:
            said.append((name, f"columns without a meaning here: {', '.join(ignored)}"))
        if unnamed := [stem for stem in stems if stem not in labels]:
            more = f" and {len(unnamed) - 1} more" if len(unnamed) > 1 else ""
            said.append((unnamed[0] + more, f"kept, but without a row in {name}"))
        return labels, said


def _groups(found: re.Match[str] | None) -> Iterable[tuple[str, str | None]]:
    return found.groupdict().items() if found else ()


def _problem(row: Mapping[str, str], known: bool) -> str | None:
    """Why a row of the index cannot be meant so."""
    if not row["name"]:
        return "has labels but no name"
    if known:
        return f"{row['name']!r} stands twice"
    if row.get("split", "") not in ("", *SPLITS):
        return (
            f"split {row['split']!r} is none of {', '.join(SPLITS)} (test_unseen: the speaker is "
            "in no other split)"
        )
    return None


def _by_stem(
    names: Iterable[str],
) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, str], Counter[str]]:
    """Audio and coefficients by stem, what is preferred first; videos that may hold the audio; and
    how many files of what other kind there are. Hidden files do not count.

    Stems are composed Unicode, as tables are typed; a Mac's file names are not.
    """
    sounds, faces, others = defaultdict(list), defaultdict(list), Counter[str]()
    videos: dict[str, str] = {}
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        stem = unicodedata.normalize("NFC", name[: len(name) - len(suffix)])
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if suffix in _SOUNDS:
            sounds[stem].append(name)
        elif suffix in COEFFICIENTS:
            faces[stem].append(name)
        elif suffix in VIDEO:
            videos[stem] = name
        else:
            others[f"*{suffix}"] += 1
    for kinds, found in ((_SOUNDS, sounds), (COEFFICIENTS, faces)):
        for several in found.values():
            several.sort(key=lambda name: kinds.index(PurePosixPath(name).suffix.lower()))
    return dict(sounds), dict(faces), videos, others


def _unpaired(
    sounds: dict[str, list[str]], faces: dict[str, list[str]], videos: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Files that no take uses, and why; first those that a command would make takes of."""
    for stem, video in videos.items():
        if stem in faces and stem not in sounds:
            sound = str(PurePosixPath(video).with_suffix(".wav"))
            line = f"ffmpeg -i {shlex.quote(video)} -vn -ac 1 {shlex.quote(sound)}"
            yield video, f"a take's sound is in its video; take it out: {line}"
    for suffix, count in Counter(
        PurePosixPath(video).suffix for stem, video in videos.items()
        if stem in sounds or stem not in faces
    ).items():  # fmt: skip
        yield f"*{suffix}", f"{count} files: videos, of which nothing is read"
    for kind, found, partners, suffixes in (
        ("audio without coefficients", sounds, faces, COEFFICIENTS),
        ("coefficients without audio", faces, sounds, AUDIO),
    ):
        for stem, names in found.items():
            if stem not in partners and not (found is faces and stem in videos):
                yield names[0], f"{kind} of its name ({', '.join(suffixes)})"
            for name in names[1:]:
                yield name, f"{names[0]} is used instead"


def _stem_of(name: str, stems: Collection[str]) -> str:
    """The stem that a row means by its name, which may bear a suffix."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    if str(path) not in stems and path.suffix.lower() in (*_SOUNDS, *COEFFICIENTS):
        path = path.with_suffix("")
    return str(path)


def _cells(text: str, where: str) -> tuple[list[str], list[list[str]]]:
    """The header of a CSV in lower case, and its rows of as many cells. Raises UserError."""
    table = tables.parse(text, where)
    header = [cell.lower() for cell in table.header]
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{where}: the column {twice[0]!r} stands twice")
    rows = [row for row in table.rows if any(row)]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UserError(f"{where}: row {number} has {len(row)} cells, the header {len(header)}")
    return header, rows
