"""Forced alignment: the times of the phones in a recording. An aligner is one file."""

from functools import cache

from diffusiontalker.corpus.alignment.base import Aligner, Alignment
from diffusiontalker.corpus.plugins import load_class

KINDS = {
    "pocketsphinx": "diffusiontalker.corpus.alignment.sphinx:PocketSphinx",
    "hama": "diffusiontalker.corpus.alignment.hama:Hama",
}
"""The aligners included; any other is given as ``path/to/file.py:Class``."""

__all__ = ["KINDS", "Aligner", "Alignment", "open_aligner"]


@cache
def open_aligner(kind: str) -> Aligner:
    """The aligner of that kind; a process has one, whose models are loaded once.

    Raises:
        UserError: no such kind, or its package is not installed.
    """
    # Aligner is abstract, which a type variable's argument must not be for mypy.
    found = load_class("source.options.aligner", kind, KINDS, Aligner)  # type: ignore[type-abstract]
    return found()
