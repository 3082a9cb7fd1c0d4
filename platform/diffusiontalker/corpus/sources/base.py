"""The interface of a data set: list its takes, and read one of them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import DecodedAudio
from diffusiontalker.config import Section
from diffusiontalker.corpus import data_folder
from diffusiontalker.corpus.data_folder import FolderListing
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError


@dataclass(frozen=True)
class Take:
    """One recording of one speaker, as described by names and tables, without its content."""

    id: str
    """Unique within the source, such as ``1_wayne_0_1_8``."""
    identity: str | None = None
    """None: unknown."""
    emotion: str | None = None
    """None: unknown, which is not neutral."""
    group: str = ""
    """Takes of one group share a split, so that no sentence occurs both in training and in a test.
    Empty: the take alone."""
    split: str | None = None
    """The data set's own split, or the user's; None: by share."""
    text: str | None = None
    bytes: int = 0
    """Size of its audio, by which takes are distributed over shards."""
    files: tuple[str, ...] = ()
    """Its files, relative to the root: for reports and for ``Source.read``."""


@dataclass(frozen=True)
class TakeListing:
    """The takes of a source, and the files that were skipped."""

    takes: list[Take]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Names relative to the root, and why each was skipped."""


@dataclass(frozen=True)
class Recording:
    """The content of a take as published, not resampled."""

    audio: np.ndarray
    """(n,) float32, mono."""
    rate: int
    """Hz."""
    coefficients: np.ndarray
    """(frames, 52) float32 in ``arkit.CHANNELS``, evenly spaced in time."""
    fps: float
    start: float = 0.0
    """Seconds of audio before the first frame; negative if the frames begin earlier."""
    missing: tuple[str, ...] = ()
    """Channels that the take does not name; their coefficients are 0."""
    tracked: np.ndarray | None = None
    """(frames,) bool: frames in which the face was tracked; the others are interpolated. None:
    all."""
    notes: tuple[str, ...] = ()
    """Corrections made while reading, or what could not be used, a line each."""
    nominal_rate: bool = False
    """As ``Track.nominal_rate``."""
    words: tuple[Span, ...] = ()
    """Words with their times in seconds of the audio, from which clips get their text."""
    phones: tuple[Span, ...] = ()
    """Likewise phones, in IPA; ``""`` is a pause."""
    by_position: bool = False
    """Whether columns were mapped in the project's order, because the file does not name them."""

    @classmethod
    def from_track(cls, track: Track, sound: DecodedAudio) -> "Recording":
        """A face track and its audio, read from two files."""
        return cls(
            sound.samples, sound.rate, track.values, track.fps, track.start, track.missing,
            track.tracked, (*track.notes, *sound.notes), track.nominal_rate,
        )  # fmt: skip


class Source(ABC):
    """A data set. To add one, write one file with a subclass of this, and name it in
    ``source.kind`` as ``path/to/file.py:Class``.

    Every worker constructs its own instance for each batch, so ``__init__`` must be cheap: keep no
    state between ``takes`` and ``read``, and put into ``Take.files`` what ``read`` needs.
    """

    Options: ClassVar[type[Section]] = Section
    """The settings below ``source.options``."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Names of options that are paths: workers get them absolute."""
    plugins: ClassVar[tuple[str, ...]] = ()
    """Names of options that name a class, as ``source.kind`` does."""
    splits_are_final: ClassVar[bool] = False
    """True where ``Take.split`` also determines the unseen speakers; else they are chosen by
    share."""

    shared: ClassVar[str] = "one group"
    """What takes of one group have in common, for the page."""

    def __init__(self, root: Path, options: Any) -> None:
        self.root = root
        self.options = options

    @abstractmethod
    def takes(self) -> TakeListing:
        """All takes, from names and tables alone, without opening audio.

        Raises:
            UserError: the folder is missing or is not this data set.
        """

    @abstractmethod
    def read(self, take: Take) -> Recording:
        """Audio and coefficients of a take.

        Raises:
            UserError: what is wrong with it, in one line; the take is then put in quarantine.
        """

    def plugin_classes(self) -> Sequence[type]:
        """The classes that options name. Raises UserError."""
        return ()

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """Remarks on this data set's splits for the page, each in a few words."""
        return []

    @functools.cached_property
    def folder_listing(self) -> FolderListing:
        """The files below the root, listed at the first access. Raises UserError."""
        return data_folder.list_files(self.root)

    def files(self) -> dict[str, int]:
        """Bytes of every file below the root by its relative name. Raises UserError."""
        return {name: file.bytes for name, file in self.folder_listing.files.items()}

    def path(self, name: str) -> Path:
        """The file of that name below the root; links to other disks are allowed.

        Raises:
            UserError: the name itself leads out of the root.
        """
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name.startswith(("/", "\\")) or "\0" in name:
            raise UserError(f"{name!r}: leads out of {self.root}")
        return self.root / name
