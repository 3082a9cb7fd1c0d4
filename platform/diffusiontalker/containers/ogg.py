"""Ogg files: the links of a chained one, which may be truncated."""

import re
from itertools import pairwise
from typing import BinaryIO

from diffusiontalker.containers.parts import MAX_PARTS, Part, file_size, find, read

HEADER = 27
"""Bytes of a page before its segment table."""
PAGE = re.compile(rb"OggS\0")
MAX_RESYNCS = 100
"""Times that the next page is searched for where there is none."""
FIRST_PAGE = 2
"""Flag of the first page of a logical stream."""
CODECS = {
    b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC", b"Speex   ": "Speex",
    b"\x80theora": "Theora video", b"fishead": "a skeleton", b"CELT    ": "CELT",
}  # fmt: skip


def parts(file: BinaryIO) -> list[Part]:
    """The links of a chained Ogg file, in order."""
    size, at = file_size(file), 0
    begins: list[int] = []
    inside, truncated, resyncs = True, False, 0
    while at < size and len(begins) <= MAX_PARTS:
        head = read(file, at, HEADER + 255)
        if truncated := len(head) < HEADER:
            break
        if not PAGE.match(head):
            resyncs += 1
            at = next(find(file, PAGE, 5, at + 1), size) if resyncs <= MAX_RESYNCS else size
            continue
        count = head[HEADER - 1]
        after = at + HEADER + count + sum(head[HEADER : HEADER + count])
        if head[5] & FIRST_PAGE:
            # Several streams may begin together, such as audio and video.
            if inside:
                begins.append(at)
            inside = False
        else:
            inside = True
        if truncated := after > size:
            break
        at = after
    return [
        Part(((begin, end),), truncated and end == at)
        for begin, end in pairwise([*begins, min(at, size)])
        if end > begin
    ]


def codec(head: bytes) -> str:
    """Name of the codec, by the first page of an Ogg file."""
    content = head[HEADER + head[HEADER - 1] :] if len(head) > HEADER else b""
    known = (name for magic, name in CODECS.items() if content.startswith(magic))
    return next(known, "an unknown codec")
