"""FLAC files as they are met: joined."""

import re
from itertools import islice, pairwise
from typing import BinaryIO

from diffusiontalker.containers.parts import MOST, Part, find, size_of

BEGINS = re.compile(rb"fLaC[\0\x80]\0\0\x22")
"""With these and a block of 34 bytes every FLAC file begins."""


def parts(file: BinaryIO) -> list[Part]:
    """The recordings of a FLAC file, one behind the other."""
    size = size_of(file)
    found = islice(find(file, BEGINS, 8), MOST + 1)
    return [Part((span,)) for span in pairwise([*found, size])]
