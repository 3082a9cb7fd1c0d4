"""Many live streams on one core: what each of them has heard passes through the graphs at once.

A graph takes one stream almost as long as a few, and numpy a row almost as long as a hundred. So a
server waits for the audio of a tick, some 40 ms, of all its streams and pushes it together. The
frames are those of ``Stream.push``, which is the case of one.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.log_mel import BLOCK, WINDOW, powers, standardise
from diffusiontalker.runtime.voice import moments

if TYPE_CHECKING:
    from diffusiontalker.runtime.stream import Stream


def push(streams: Sequence["Stream"], chunks: Sequence[np.ndarray]) -> list[np.ndarray | UserError]:
    """The next samples of many streams of one student, as ``Stream.push`` takes them.

    Returns:
        for each stream the frames (T, 52) that its chunk completes, or why the chunk is refused:
        that stream is as it was before, and the others do not notice.

    Raises:
        UserError: a stream stands there twice, streams of several students, or not as many chunks
            as streams; nothing changes then.
    """
    if len(chunks) != len(streams):
        raise UserError(f"{len(chunks)} chunks for {len(streams)} streams; give each stream one")
    if len(set(streams)) < len(streams):
        raise UserError("a stream is pushed twice at once; join its chunks, or push again")
    if len({stream.student for stream in streams}) > 1:
        raise UserError("streams of several students; push those of each student together")
    mistakes = {}
    for stream, chunk in zip(streams, chunks, strict=True):
        try:
            stream.take(chunk)
        except UserError as mistake:
            mistakes[stream] = mistake
    faces = iter(advance([stream for stream in streams if stream not in mistakes]))
    return [mistakes[stream] if stream in mistakes else next(faces) for stream in streams]


def advance(streams: Sequence["Stream"]) -> list[np.ndarray]:
    """The frames (T, 52) of each stream that the samples it has taken complete."""
    _hear(streams)
    faces = {stream: [np.zeros((0, len(CHANNELS)), np.float32)] for stream in streams}
    waiting = list(streams)
    while pieces := {stream: count for stream in waiting if (count := stream.piece())}:
        # All keep step with the shortest: what is left of the others is a call for many again.
        waiting = list(pieces)
        for stream, face in zip(waiting, _make(waiting, min(pieces.values())), strict=True):
            faces[stream].append(face)
    return [np.concatenate(parts) for parts in faces.values()]


def _hear(streams: Iterable["Stream"]) -> None:
    """Samples to mel frames: all that are complete."""
    windows = [stream.windows() for stream in streams]
    if not any(windows):
        return
    ends = accumulate(map(len, windows), initial=0)
    own = [slice(*span) for span in pairwise(ends)]
    blocks = _blocks([window for some in windows for window in some])
    bands, mean_squares = (np.concatenate(part) for part in zip(*map(powers, blocks), strict=True))
    gains = [stream.gain(mean_squares[rows]) for stream, rows in zip(streams, own, strict=True)]
    log_mel = standardise(bands, np.concatenate(gains))
    for stream, rows in zip(streams, own, strict=True):
        stream.see(log_mel[rows])


def _blocks(windows: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Windows (640,) as matrices (n, 640), n at most ``BLOCK``."""
    for first in range(0, len(windows), BLOCK):
        yield np.concatenate(windows[first : first + BLOCK]).reshape(-1, WINDOW)


def _make(streams: Sequence["Stream"], count: int) -> list[np.ndarray]:
    """The next ``count`` frames (count, 52) of each stream."""
    student = streams[0].student
    log_mel, noise, identity, emotion, heard, moved = _stacked(s.inputs(count) for s in streams)
    audio, voice, heard = student.encode(log_mel, heard)
    face, moved = student.decode(audio, noise, identity, emotion, moved)
    parts = face, moments(voice), heard, moved
    faces = [stream.accept(*rows) for stream, *rows in zip(streams, *parts, strict=True)]
    _update([stream for stream in streams if stream.due])
    return faces


def _update(streams: Sequence["Stream"]) -> None:
    """Let identity and emotion follow the voice, or glide to where they are pinned."""
    following = [stream for stream in streams if stream.follows]
    if following:
        mean, variance = _stacked(stream.voice() for stream in following)
        heard = following[0].student.personalise(mean, variance)
        for stream, *voice in zip(following, *heard, strict=True):
            stream.update(voice)
    for stream in streams:
        if not stream.follows:
            stream.update((None, None))


def _stacked(rows: Iterable[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """What many streams give, part by part: (B, ...)."""
    parts = list(zip(*rows, strict=True))
    # Quicker than ``np.stack`` for many small arrays.
    return [np.concatenate(part).reshape(len(part), *part[0].shape) for part in parts]
