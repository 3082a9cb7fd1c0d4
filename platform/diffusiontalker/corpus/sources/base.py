"""What every data set must say: which takes it holds, and what is in one of them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from diffusiontalker import arkit
from diffusiontalker.config import Section
from diffusiontalker.corpus import tree
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.corpus.tree import Tree
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
    words: tuple[Span, ...] = ()
    """When which word is spoken, in seconds of the audio; of them each clip has its text."""
    phones: tuple[Span, ...] = ()
    """Likewise phones, in IPA; ``""`` is a pause."""
    notes: tuple[str, ...] = ()
    """What was amiss with the take although it can be used, each in a line."""


MAX_BYTES = 64 << 20
"""Of a file of coefficients or labels: a quarter of an hour of JSON at 60 fps (our choice)."""


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    arkit.map_by_name(np.zeros(len(names)), names, "source.options.channels")
    return names


ChannelNames = Annotated[tuple[str, ...], AfterValidator(_known)]
"""An option that names the columns of arrays: channels that exist, each once."""


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
        return tree.look(self.root)

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
