"""Live streams: chunks of audio in, frames out, a stated look-ahead behind.

The frames do not depend on how the audio is cut into chunks: everything that changes with time
(level, voice, noise) follows the count of frames, never the count of pushes. ``Student.animate``
gives a slightly different animation, because it knows level and voice of the whole recording from
the first frame on. Until there is speech the face is at rest.
"""

from collections.abc import Sequence

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.resampler import MAX_WEIGHTS, Resampler, weights_of
from diffusiontalker.audio.waveform import check_rate, to_mono
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.conditioning import AUTO, Conditioning
from diffusiontalker.runtime.post_processing import PostProcessor
from diffusiontalker.runtime.stream_batch.batch import StreamBatch

MIN_RATE, MAX_RATE = 8_000, 192_000
USUAL_RATES = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400,
    192_000,
)  # fmt: skip
"""Hz, of microphones and files; named where another costs too much. A server takes only these."""


class Stream:
    """A live stream of one speaker; not for several threads at once.

    Identity and emotion follow the voice, or are pinned to a name, to weights over names, or to an
    embedding; ``pin`` changes that at any time.
    """

    def __init__(
        self,
        batch: StreamBatch,
        rate: int = SAMPLE_RATE,
        identity: Conditioning = AUTO,
        emotion: Conditioning = AUTO,
        seed: int = 0,
        smooth_ms: float = 0.0,
        mirror: bool = False,
        where: str = "stream",
    ) -> None:
        """Begin a stream of samples at ``rate`` Hz, which may be pushed together with others of its
        ``batch`` (``Student.streams``); the other arguments as in ``Student.animate``.

        Raises:
            UserError: a rate outside 8 to 192 kHz or without a small ratio to 16 kHz, an unknown
                name or a bad value.
        """
        rate = _rate(rate, where)
        self.batch, self.rate, self.where = batch, rate, where
        self.closed = False
        self._post = PostProcessor(smooth_ms, mirror)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._pushed = 0
        self.row = batch.claim(self, identity, emotion, seed)
        """Its row in the arrays of its batch."""

    @property
    def frames(self) -> int:
        """Frames returned so far."""
        return int(self.batch.frames[self.row])

    @property
    def look_ahead_ms(self) -> float:
        """Milliseconds of audio after its own time that a frame waits for."""
        return self.batch.look_ahead_ms + 1000 * self._resampler.delay

    @property
    def identity(self) -> str | None:
        """The library's entry nearest to the embedding in use; None: no speech so far."""
        return self.batch.voices.nearest_name(self.row, 0)

    @property
    def emotion(self) -> str | None:
        """As ``identity``."""
        return self.batch.voices.nearest_name(self.row, 1)

    def pin(
        self, identity: Conditioning | None = None, emotion: Conditioning | None = None
    ) -> None:
        """From the next frame on, glide to another identity or emotion; "auto" follows the voice
        again, None leaves things as they are.

        Raises:
            UserError: an unknown name, or a bad value; nothing changes then.
        """
        self.batch.voices.pin(self.row, identity, emotion)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next samples (n,) or (n, channels), float in [-1, 1] or integer PCM; any n.

        Returns:
            the frames (T, 52) that they complete; T may be 0.

        Raises:
            UserError: the stream is closed, NaN, or not audio; the stream is unchanged and can
                continue.
        """
        self._append(samples)
        return self._post(self.batch.advance([self.row])[0])

    def close(self) -> np.ndarray:
        """The last frames (T, 52), with silence after the end. Nothing more may be pushed.

        Raises:
            UserError: it is closed already.
        """
        if self.closed:
            raise UserError(f"{self.where}: is closed already")
        self.batch.front_end.append(self.row, self._resampler.close(self._pushed))
        self.batch.front_end.close(self.row)
        self.closed = True
        return self._post(self.batch.advance([self.row])[0])

    def _append(self, samples: np.ndarray) -> None:
        """Check, resample and buffer samples. Raises as ``push``."""
        if self.closed:
            raise UserError(f"{self.where}: is closed; begin another stream")
        mono = to_mono(samples, self.where, self._pushed).clip(-1, 1)
        self._pushed += len(mono)
        self.batch.front_end.append(self.row, self._resampler.push(mono))


def push_together(
    streams: Sequence[Stream], chunks: Sequence[np.ndarray]
) -> list[np.ndarray | UserError]:
    """The next samples of many streams of one batch, as ``Stream.push`` takes them.

    Returns:
        for each stream the frames (T, 52) that its chunk completes, or why the chunk is refused:
        that stream is unchanged, and the others are not affected.

    Raises:
        UserError: a stream is given twice or is of another batch, or there are not as many chunks
            as streams; nothing changes then.
    """
    if len(chunks) != len(streams):
        raise UserError(f"{len(chunks)} chunks for {len(streams)} streams; give each stream one")
    if len(set(streams)) < len(streams):
        raise UserError("a stream is pushed twice at once; join its chunks, or push again")
    if len({stream.batch for stream in streams}) > 1:
        raise UserError("the streams are of several batches; push those of each batch together")
    refused: dict[Stream, UserError] = {}
    for stream, chunk in zip(streams, chunks, strict=True):
        try:
            stream._append(chunk)
        except UserError as error:
            refused[stream] = error
    accepted = [stream for stream in streams if stream not in refused]
    rows = [stream.row for stream in accepted]
    frames = dict(zip(accepted, streams[0].batch.advance(rows), strict=True)) if rows else {}
    return [
        refused[stream] if stream in refused else stream._post(frames[stream]) for stream in streams
    ]


def _rate(rate: float, where: str) -> int:
    """A sample rate in Hz that a stream may have. Raises UserError."""
    check_rate(rate, where, MIN_RATE, MAX_RATE)
    if rate != int(rate) or weights_of(int(rate), SAMPLE_RATE) > MAX_WEIGHTS:
        raise UserError(
            f"{where}: a sample rate of {rate} Hz has no small ratio to {SAMPLE_RATE}; resample "
            f"the audio to one of {', '.join(map(str, USUAL_RATES))}"
        )
    return int(rate)
