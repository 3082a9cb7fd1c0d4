"""FLAC files: the parts of one that was joined from several."""

import re
from itertools import islice, pairwise
from typing import BinaryIO

from diffusiontalker.containers.parts import MAX_PARTS, Part, file_size, find

SIGNATURE = re.compile(rb"fLaC[\0\x80]\0\0\x22")
"""First bytes of every FLAC file: the marker and the header of a STREAMINFO block of 34 bytes."""


def parts(file: BinaryIO) -> list[Part]:
    """The recordings in a FLAC file, in order."""
    size = file_size(file)
    found = islice(find(file, SIGNATURE, 8), MAX_PARTS + 1)
    return [Part((span,)) for span in pairwise([*found, size])]
