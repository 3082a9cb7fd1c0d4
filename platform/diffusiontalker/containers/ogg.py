"""Ogg files as they are met: chained, or cut off."""

import re
from itertools import pairwise
from typing import BinaryIO

from diffusiontalker.containers.parts import MOST, Part, find, read, size_of

HEAD = 27
"""Bytes of a page in front of its table of segments."""
PAGE = re.compile(rb"OggS\0")
HOLES = 100
"""Times that pages are looked for behind something else."""
BEGINS = 2
"""Flag of the page with which a stream begins."""
CODECS = {
    b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC", b"Speex   ": "Speex",
    b"\x80theora": "Theora video", b"fishead": "a skeleton", b"CELT    ": "CELT",
}  # fmt: skip


def parts(file: BinaryIO) -> list[Part]:
    """The links of a chained Ogg file, one behind the other."""
    size, at = size_of(file), 0
    begins: list[int] = []
    within, cut, holes = True, False, 0
    while at < size and len(begins) <= MOST:
        head = read(file, at, HEAD + 255)
        if cut := len(head) < HEAD:
            break
        if not PAGE.match(head):
            holes += 1
            at = next(find(file, PAGE, 5, at + 1), size) if holes <= HOLES else size
            continue
        count = head[HEAD - 1]
        after = at + HEAD + count + sum(head[HEAD : HEAD + count])
        if head[5] & BEGINS:
            # Several may begin together, as sound and pictures do.
            if within:
                begins.append(at)
            within = False
        else:
            within = True
        if cut := after > size:
            break
        at = after
    return [
        Part(((begin, end),), cut and end == at)
        for begin, end in pairwise([*begins, min(at, size)])
        if end > begin
    ]


def codec(head: bytes) -> str:
    """What the first page of an Ogg file carries."""
    content = head[HEAD + head[HEAD - 1] :] if len(head) > HEAD else b""
    known = (name for magic, name in CODECS.items() if content.startswith(magic))
    return next(known, "an unknown codec")
