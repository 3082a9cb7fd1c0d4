"""A folder of the user's own: ``name.wav`` beside ``name.csv``, and an ``index.csv`` of labels."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from diffusiontalker import arkit, storage
from diffusiontalker.animation import beat, files, livelink, tables, timing
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import SUFFIXES, read_recording
from diffusiontalker.corpus.sources import beat2, folder_names, live_link_export
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.corpus.sources.columns import ColumnOptions
from diffusiontalker.corpus.sources.folder_files import COEFFICIENTS, files_by_stem
from diffusiontalker.corpus.sources.label_index import Labels, read_index
from diffusiontalker.corpus.sources.listing import (
    MAX_BYTES,
    TOO_LARGE,
    Skipped,
    examples,
    label_groups,
)
from diffusiontalker.errors import UserError

TIME_COLUMNS = ("time", "timestamp")
"""Columns of seconds in a table of coefficients."""


class FolderOptions(ColumnOptions):
    """How to read files that do not say everything themselves."""

    index: str = "index.csv"
    """Table of ``name,identity,emotion,group,split`` below the root; it may be absent, and so may
    all its columns but the first. An empty cell means unknown."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Rate of arrays, tables and JSON that hold none; overrides the timecodes of Live Link Face
    CSV. None: 30, and the rate of the timecodes."""
    stem: str | None = None
    """Regular expression, searched for in the name relative to the root and without its suffix,
    whose groups ``identity``, ``emotion`` and ``group`` (equal for takes that must share a split,
    such as those of a sentence) label the takes that the index does not label, such as
    ``(?P<identity>[a-z]+)_(?P<emotion>[a-z]+)_``. Of a match across folders the last part counts.
    Without a match a label is unknown, except that the identity is then ``speaker`` or the name of
    the take's subfolder."""
    speaker: Annotated[str, Field(min_length=1)] | None = None
    """The speaker of all takes that neither the index nor ``stem`` labels. None: the subfolder, or
    for exports of the Live Link Face app, which have one for each take, the slate."""
    split_folders: bool = True
    """Whether folders ``train``, ``val`` and ``test`` at the root are splits. They are never
    speakers."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the coefficients; 0.01 for percent."""

    @field_validator("stem")
    @classmethod
    def _has_groups(cls, pattern: str | None) -> str | None:
        if pattern is not None and not label_groups(pattern):
            raise ValueError(
                "needs named groups: (?P<identity>...), (?P<emotion>...) or (?P<group>...)"
            )
        return pattern


class Folder(Source):
    """Takes of one name in one folder; labels and splits of the index take precedence."""

    Options: ClassVar = FolderOptions
    splits_are_final: ClassVar[bool] = True
    shared: ClassVar[str] = "one group of the index or the names"

    def takes(self) -> TakeListing:
        """Raises UserError: nothing usable, or an index that cannot be used."""
        sizes = self.files()
        slates = live_link_export.slates(sizes)
        metadata = live_link_export.metadata_files(sizes, slates)
        found = files_by_stem(n for n in sizes if n not in (self.options.index, *metadata))
        pairs = found.pairs()
        index, index_notes = self._index(sizes, pairs)
        takes = []
        skipped = [*found.unused(), *beat2.skipped(sizes), *index_notes]
        for stem, (sound, face) in pairs.items():
            if sizes[face] > MAX_BYTES:
                skipped.append((face, TOO_LARGE))
                continue
            labels = self._labels_of_name(stem, slates) | index.get(stem, {})
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
        if metadata:
            count = f"{len(metadata)} metadata files of the app"
            skipped.append((f"{metadata[0]} and the like", count))
        skipped += folder_names.slate_notes(takes, slates)
        for pattern, number in found.others.items():
            kinds = f"audio ({', '.join(SUFFIXES)}) nor coefficients ({', '.join(COEFFICIENTS)})"
            skipped.append((pattern, f"{number} files: neither {kinds}"))
        if not takes:
            beat2.refuse(self.root, sizes)
            raise UserError(
                f"{self.root}: no take; expected name.wav (or {', '.join(SUFFIXES[1:])}) beside "
                f"name.csv (or {', '.join(COEFFICIENTS[1:])}); "
                f"{examples(skipped[:3]) or 'nothing is there'}"
            )
        if self.options.split_folders:
            takes, notes = folder_names.with_split_folders(takes)
            skipped += notes
        return TakeListing(takes, skipped)

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        face, sound = (self.path(name) for name in take.files)
        track, by_position = self._track(face)
        recording = Recording.from_track(track, read_recording(sound))
        values = recording.coefficients * np.float32(self.options.scale)
        return replace(recording, coefficients=values, by_position=by_position)

    def _track(self, path: Path) -> tuple[Track, bool]:
        """The track of a file, and whether its columns are not named."""
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
                stored = arrays.get("names")
            case _:
                values, rate, stored = files.read_npy(path), default, None
        names = None if stored is None else [str(name) for name in stored.ravel()]
        values, missing = self.options.to_channels(values, names, where)
        by_position = names is None and self.options.channels is None
        return Track(values, rate, rate, missing=missing), by_position

    def _table(self, text: str, where: str) -> Track:
        """A Live Link Face CSV, or a table whose header names channels and optionally a ``time`` in
        seconds."""
        table = tables.parse(text, where)
        header = [name.lower() for name in table.header]
        if "timecode" in header:
            return livelink.from_table(table, where, self.options.fps, self.options.ignore)
        time_columns = [i for i, name in enumerate(header) if name in TIME_COLUMNS]
        ignored = [arkit.is_left_out(name, self.options.ignore) for name in header]
        kept = [i for i in range(len(header)) if i not in time_columns and not ignored[i]]
        if len(time_columns) > 1 or not kept or not table.rows:
            raise UserError(
                f"{where}: expected a header of channels, at most one time column, and frames"
            )
        names = [table.header[i] for i in kept]
        table = tables.without_empty_end(table) if time_columns else table
        cells, tracked = tables.numbers(table, kept, where)
        values = arkit.map_by_name(files.numbers(cells, where), names, where)
        missing = arkit.missing(names)
        if not time_columns:
            rate = self.options.fps or float(arkit.FPS)
            filled = timing.fill_gaps(values, tracked, where)
            return Track(filled, rate, rate, 0.0, missing, tracked, table.notes)
        times = tables.timestamps(table, time_columns[0], where)
        even = timing.on_even_grid(times, values, where, tracked)
        notes = (*table.notes, *even.notes)
        return Track(
            even.values, even.fps, even.measured_fps, float(times[0]), missing, even.tracked, notes
        )

    def _labels_of_name(self, stem: str, slates: Mapping[str, str]) -> Labels:
        """Labels from the name and the folders of a take."""
        match = re.search(self.options.stem, stem) if self.options.stem is not None else None
        groups = match.groupdict() if match else {}
        labels = {key: value.rpartition("/")[2] for key, value in groups.items() if value}
        if not labels.get("identity"):
            labels["identity"] = self.options.speaker or folder_names.speaker(stem, slates)
        return {key: labels.get(key) or None for key in ("identity", "emotion", "group")}

    def _index(
        self, sizes: Mapping[str, int], stems: Collection[str]
    ) -> tuple[dict[str, Labels], Skipped]:
        """The label index, empty if there is none, with notes. Raises UserError."""
        name = self.options.index
        if name not in sizes:
            if "index" in self.options.model_fields_set:
                raise UserError(f"source.options.index: there is no {name} in {self.root}")
            return {}, []
        if sizes[name] > MAX_BYTES:
            raise UserError(f"{self.path(name)}: {TOO_LARGE}; is it the index?")
        return read_index(self.path(name), name, stems)
