"""What every data set must say: which takes it holds, and what is in one of them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from diffusiontalker import arkit
from diffusiontalker.animation import files
from diffusiontalker.animation.tracks import Track
from diffusiontalker.audio.recording import DecodedAudio
from diffusiontalker.config import Section
from diffusiontalker.corpus import data_folder
from diffusiontalker.corpus.data_folder import Tree
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError


@dataclass(frozen=True)
class Take:
    """One recording of one speaker, as far as names and tables tell before anything is read."""

    id: str
    """Unique within the source, such as ``1_wayne_0_1_8``."""
    identity: str | None = None
    """None: unknown."""
    emotion: str | None = None
    """None: unknown, which is not neutral."""
    group: str = ""
    """Takes of one group share a split, so that a sentence is not heard in training and asked in
    the test. Empty: the take alone."""
    split: str | None = None
    """The data set's own split, or the user's; None: by share."""
    text: str | None = None
    bytes: int = 0
    """Size of its audio, by which shards are filled evenly."""
    files: tuple[str, ...] = ()
    """Its files, relative to the root: for the record and for ``Source.read``."""


@dataclass(frozen=True)
class Listing:
    """What a source found: its takes, and what it passed over."""

    takes: list[Take]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Names relative to the root, and why each was passed over."""


@dataclass(frozen=True)
class Recording:
    """The content of a take, as published: nothing is resampled yet."""

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
    seen: np.ndarray | None = None
    """(frames,) bool: which frames show a face; the others are filled in between. None: all."""
    notes: tuple[str, ...] = ()
    """What was mended in reading, or could not be used, a line each."""
    counted: bool = False
    """As ``Track.counted``."""
    words: tuple[Span, ...] = ()
    """When which word is spoken, in seconds of the audio; of them each clip has its text."""
    phones: tuple[Span, ...] = ()
    """Likewise phones, in IPA; ``""`` is a pause."""
    by_position: bool = False
    """Whether channels were taken in the project's order, because nothing names them."""

    @classmethod
    def of(cls, track: Track, sound: DecodedAudio) -> "Recording":
        """A face and its audio, each out of a file."""
        return cls(
            sound.samples, sound.rate, track.values, track.fps, track.start, track.missing,
            track.seen, (*track.notes, *sound.notes), track.counted,
        )  # fmt: skip


MAX_BYTES = 64 << 20
"""Of a file of coefficients or labels: a quarter of an hour of JSON at 60 fps (our choice)."""


def _order(names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(names, str) and names not in arkit.ORDERS:
        raise ValueError(f"expected a list of names, or one of {', '.join(arkit.ORDERS)}")
    return names


Order = Annotated[str | tuple[str, ...], AfterValidator(_order)]
"""An option that names the columns of arrays: all of them, or an order that is known."""
Ignored = tuple[str, ...]
"""An option that names columns which are no channels, to be left out."""


class ColumnOptions(Section):
    """How the columns of coefficients are called."""

    channels: Annotated[Order, Field(min_length=1)] | None = None
    """Names of the columns of arrays that hold none: a list, or an order by its name: arkit (the
    project's own), mediapipe (``_neutral`` first) or livelink (52 curves, or 61 with the angles of
    head and eyes). None: arkit."""
    ignore: Ignored = ()
    """Columns that are no channels and are left out, by their names: ``frame``, ``headPitch``."""

    @model_validator(mode="after")
    def _known(self) -> "ColumnOptions":
        if isinstance(self.channels, tuple):
            blank = np.zeros(len(self.channels))
            arkit.map_by_name(blank, self.channels, "source.options.channels", self.ignore)
        return self

    def array(
        self, values: np.ndarray, names: Sequence[str] | None, where: str
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Values (T, n) as finite float32 (T, 52), and the channels that no column holds.

        Args:
            values: of an array.
            names: of its columns, where the file holds them; else they are the option's.
            where: what messages begin with.

        Raises:
            UserError: another number of columns, no frames, or not finite.
        """
        orders = [tuple(names)] if names is not None else self._orders()
        for order in orders:
            if values.ndim == 2 and len(values) and values.shape[1] == len(order):
                found = files.numbers(values, where)
                return (
                    arkit.map_by_name(found, order, where, self.ignore), arkit.missing(order)
                )  # fmt: skip
        widths = " or ".join(str(len(order)) for order in orders)
        raise UserError(
            f"{where}: shape {values.shape}, expected (frames, {widths}); "
            "source.options.channels names other columns, source.options.ignore those to leave out"
        )

    def _orders(self) -> Sequence[tuple[str, ...]]:
        if isinstance(self.channels, tuple):
            return [self.channels]
        return arkit.ORDERS[self.channels or "arkit"]


class Source(ABC):
    """A data set. To add one, write one file with a subclass of this, and name it in
    ``source.kind`` as ``path/to/file.py:Class``.

    It is made anew in every worker, so ``__init__`` must be cheap: keep what ``takes`` read out of
    it, and put into ``Take.files`` what ``read`` needs.
    """

    Options: ClassVar[type[Section]] = Section
    """The settings below ``source.options``."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Names of options that are paths: workers get them absolute."""
    splits_are_final: ClassVar[bool] = False
    """True where ``Take.split`` also says who is unseen; else speakers are set aside by share."""

    shared: ClassVar[str] = "one group"
    """What takes of one group have in common, for the page."""

    def __init__(self, root: Path, options: Any) -> None:
        self.root = root
        self.options = options

    @abstractmethod
    def takes(self) -> Listing:
        """All takes, from names and tables alone: no audio is opened.

        Raises:
            UserError: the folder is missing or does not look like this data set at all.
        """

    @abstractmethod
    def read(self, take: Take) -> Recording:
        """Audio and coefficients of a take.

        Raises:
            UserError: whatever is wrong with it, in one line; the take is then put in quarantine.
        """

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """What is to be known of this data set's splits beyond that, each in a few words."""
        return []

    @functools.cached_property
    def tree(self) -> Tree:
        """The files below the root, as they are when it is first asked for. Raises UserError."""
        return data_folder.look(self.root)

    def files(self) -> dict[str, int]:
        """Bytes of every file below the root by its relative name. Raises UserError."""
        return {name: file.bytes for name, file in self.tree.files.items()}

    def path(self, name: str) -> Path:
        """The file of that name below the root, where links may lead to other disks.

        Raises:
            UserError: the name itself leads out of the root.
        """
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name.startswith(("/", "\\")) or "\0" in name:
            raise UserError(f"{name!r}: leads out of {self.root}")
        return self.root / name


def unique(takes: Sequence[Take]) -> Listing:
    """A listing in which every id stands once; of takes with one id the first is kept."""
    kept: dict[str, Take] = {}
    skipped = []
    for take in takes:
        if take.id in kept:
            name = take.files[0] if take.files else take.id
            skipped.append((name, f"the take {take.id!r} was found already"))
        else:
            kept[take.id] = take
    return Listing(list(kept.values()), skipped)
