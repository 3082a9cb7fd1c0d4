"""A face for speech as it comes: chunks of audio in, frames out, a stated look-ahead behind.

The frames are the same however the audio is cut into chunks: everything that changes with time
(level, voice, noise) follows the count of frames, never the count of pushes. From a whole recording
``Student.animate`` makes a slightly other face, because it knows the level and the voice of all of
it from the first frame on. Until somebody speaks the face is at rest.
"""

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import look_ahead_ms
from diffusiontalker.audio.resampler import MAX_WEIGHTS, Resampler, weights_of
from diffusiontalker.audio.waveform import check_rate, to_mono
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.post_processing import Post
from diffusiontalker.runtime.stream_batch import Streams
from diffusiontalker.runtime.voice import AUTO, Choice

MIN_RATE, MAX_RATE = 8_000, 192_000
USUAL_RATES = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400,
    192_000,
)  # fmt: skip
"""Hz, of microphones and files; named where another costs too much."""


class Stream:
    """One speaker's stream; not for several threads at once.

    Identity and emotion follow the voice, or are pinned to a name, to weights over names, or to an
    embedding; ``pin`` changes that at any time.
    """

    def __init__(
        self,
        company: Streams,
        rate: int = SAMPLE_RATE,
        identity: Choice = AUTO,
        emotion: Choice = AUTO,
        seed: int = 0,
        smooth_ms: float = 0.0,
        mirror: bool = False,
        where: str = "stream",
    ) -> None:
        """Begin a stream of samples at ``rate`` Hz, which may be pushed with others of its
        ``company``; the other arguments as in ``Student.animate``.

        Raises:
            UserError: a rate outside 8 to 192 kHz or without a small ratio to 16 kHz, an unknown
                name or a bad value.
        """
        rate = _rate(rate, where)
        self.company, self.rate, self.where = company, rate, where
        self.closed = False
        self._post = Post(smooth_ms, mirror)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._pushed = 0
        self.row = company.claim(self, identity, emotion, seed)
        """Its place in the arrays of its company."""

    @property
    def frames(self) -> int:
        """Frames that came out so far."""
        return int(self.company.frames[self.row])

    @property
    def look_ahead_ms(self) -> float:
        """Milliseconds of audio after its own time that a frame waits for."""
        student = self.company.student
        assert student.look_ahead is not None
        return look_ahead_ms(student.look_ahead, student.front_end) + 1000 * self._resampler.delay

    @property
    def identity(self) -> str | None:
        """The library's entry nearest to what is used now; None: nobody has spoken yet."""
        return self.company.speakers.name(self.row, 0)

    @property
    def emotion(self) -> str | None:
        """As ``identity``."""
        return self.company.speakers.name(self.row, 1)

    def pin(self, identity: Choice | None = None, emotion: Choice | None = None) -> None:
        """From the next frame on, glide to another identity or emotion; "auto" follows the voice
        again, None leaves things as they are.

        Raises:
            UserError: an unknown name, or a bad value; nothing changes then.
        """
        self.company.speakers.pin(self.row, identity, emotion)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next samples (n,) or (n, channels), float in [-1, 1] or integer PCM; any n.

        Returns:
            the frames (T, 52) that they complete; T may be 0.

        Raises:
            UserError: the stream is closed, NaN, or not audio; the stream is as it was before, and
                goes on.
        """
        self.take(samples)
        return self.company.advance([self])[0]

    def close(self) -> np.ndarray:
        """The last frames (T, 52), silence behind the end. Nothing more may be pushed.

        Raises:
            UserError: it is closed already.
        """
        if self.closed:
            raise UserError(f"{self.where}: is closed already")
        self.company.ears.take(self.row, self._resampler.close(self._pushed))
        self.company.ears.close(self.row)
        self.closed = True
        return self.company.advance([self])[0]

    # The beginning and the end of a push, for its company.

    def take(self, samples: np.ndarray) -> None:
        """Keep samples as of ``push``, and raise as it does."""
        if self.closed:
            raise UserError(f"{self.where}: is closed; begin another stream")
        samples = self._mono(samples)
        self._pushed += len(samples)
        self.company.ears.take(self.row, self._resampler.push(samples))

    def finish(self, face: np.ndarray) -> np.ndarray:
        """The next frames (T, 52) as they go out."""
        return self._post(face)

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        return to_mono(samples, self.where, self._pushed).clip(-1, 1)


def _rate(rate: float, where: str) -> int:
    """A sample rate in Hz that a stream may have. Raises UserError."""
    check_rate(rate, where, MIN_RATE, MAX_RATE)
    if rate != int(rate) or weights_of(int(rate), SAMPLE_RATE) > MAX_WEIGHTS:
        raise UserError(
            f"{where}: a sample rate of {rate} Hz has no small ratio to {SAMPLE_RATE}; resample "
            f"the audio to one of {', '.join(map(str, USUAL_RATES))}"
        )
    return int(rate)
