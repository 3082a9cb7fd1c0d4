"""The interface of an aligner, and what it finds."""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np

from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import needs_extra

EXTRA = "speech"
"""Of the package that brings the included aligners."""


@dataclass(frozen=True)
class Alignment:
    """Words and phones of a recording, in seconds."""

    phones: tuple[Span, ...]
    """In IPA, without gaps; ``""`` is a pause."""
    words: tuple[Span, ...] = ()
    """Empty where the aligner knows none."""
    score: float | None = None
    """How well the phones fit the sound, on the aligner's own scale; more is better."""


class Aligner(ABC):
    """Finds the phones in a recording. To add one, write one file with a subclass of this, and name
    it in ``source.options.aligner`` as ``path/to/file.py:Class``.

    Every process constructs one: load models when they are first used, but raise UserError in
    ``__init__`` where a package is missing.
    """

    needs_text: ClassVar[bool] = True
    """Whether it must know what is spoken."""
    min_score: ClassVar[float | None] = None
    """The score below which an alignment is not trusted; None: it has no scores."""

    @abstractmethod
    def align(self, samples: np.ndarray, text: str | None) -> Alignment:
        """Align a recording (n,) float32 at 16 kHz.

        Raises:
            UserError: why it cannot be aligned, in one line; the take is then put in quarantine.
        """


def import_package(name: str) -> ModuleType:
    """The package of an aligner. Raises UserError: it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise needs_extra(f"aligner {name}", EXTRA) from error


def without_gaps(spans: list[Span], end: float) -> tuple[Span, ...]:
    """Phones from 0 to ``end`` seconds in order of time, with a pause in every gap; where two
    overlap, the later one begins later."""
    out: list[Span] = []
    at = 0.0
    for span in [*spans, Span(end, end, "")]:
        if span.start > at:
            out.append(Span(at, span.start, ""))
        if span.end > (start := max(span.start, at)):
            out.append(span._replace(start=start))
        at = max(at, span.end)
    joined: list[Span] = []
    for span in out:
        if joined and not span.label and not joined[-1].label:
            joined[-1] = joined[-1]._replace(end=span.end)
        else:
            joined.append(span)
    return tuple(joined)
