"""A face for speech as it comes: chunks of audio in, frames out, a stated look-ahead behind.

The frames are the same however the audio is cut into chunks: everything that changes with time
(level, voice, noise) follows the count of frames, never the count of pushes. From a whole recording
``Student.animate`` makes a slightly other face, because it knows the level and the voice of all of
it from the first frame on.

A stream holds what it has heard; ``together`` takes the next piece out of each of many streams,
lets the student hear them and move their faces at once, and gives each what is its own.
"""

import functools
from collections.abc import Iterable

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE, mono
from diffusiontalker.errors import UserError
from diffusiontalker.runtime import together
from diffusiontalker.runtime.level import Level
from diffusiontalker.runtime.log_mel import (
    BANDS,
    OVERLAP,
    PER_FRAME,
    STEM,
    WINDOW,
    complete,
    frame_count,
    look_ahead_ms,
    start,
)
from diffusiontalker.runtime.post import Post
from diffusiontalker.runtime.resampler import Resampler
from diffusiontalker.runtime.student import Noise, Student
from diffusiontalker.runtime.voice import AUTO, Choice, Fading, unit

EARLY, UPDATES = 60, (2, 10)
"""Identity and emotion are taken from the voice anew every so many frames: in the first two
seconds, when a little more speech says much more of it, and later."""
IDENTITY_SECONDS, EMOTION_SECONDS = 60.0, 8.0
"""After so long, what the voice was weighs 1/e: who speaks changes seldom, how he does often."""
GLIDES = (1.0, 0.5)
"""Share of the way to a new embedding that each update goes, early and later: at first the voice
must be found, then no face may jump."""
MIN_RATE, MAX_RATE = 8_000, 192_000


class Stream:
    """One speaker's stream; not for several threads at once.

    Identity and emotion follow the voice, or are pinned to a name, to weights over names, or to an
    embedding; ``pin`` changes that at any time.
    """

    def __init__(
        self,
        student: Student,
        rate: int = SAMPLE_RATE,
        identity: Choice = AUTO,
        emotion: Choice = AUTO,
        seed: int = 0,
        smooth_ms: float = 0.0,
        mirror: bool = False,
        where: str = "stream",
    ) -> None:
        """Begin a stream of samples at ``rate`` Hz; the other arguments as in ``animate``.

        Raises:
            UserError: a student that hears whole recordings alone, a rate outside 8 to 192 kHz, an
                unknown name or a bad value.
        """
        if student.look_ahead is None:
            raise UserError(
                f"{student.folder}: this student hears whole recordings alone; distil one with "
                "student.look_ahead_ms"
            )
        if not MIN_RATE <= rate <= MAX_RATE:
            raise UserError(
                f"{where}: a sample rate of {rate} Hz; expected {MIN_RATE} to {MAX_RATE}"
            )
        self.student, self.rate, self.where = student, rate, where
        self.frames = 0
        """Frames that came out so far."""
        self.closed = False
        self._noise, self._post = Noise(seed), Post(smooth_ms, mirror)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._pushed = 0
        self._samples = 0
        """At 16 kHz, as all that follows."""
        self._audio = np.zeros(0, np.float32)
        self._audio_first = 0
        self._level = Level()
        # Mel frames from the first that the next frame of the face sees; those before the stream
        # are zeros, and those that no frame sees are left out.
        first = student.look_ahead - STEM + 1
        self._mel = np.zeros((max(-first, 0), BANDS), np.float32)
        self._mels = 0
        self._skip = max(first, 0)
        self._state = student.new_state()
        self._libraries = [student.library(kind) for kind in ("identity", "emotion")]
        self._embeddings = [library.middle() for library in self._libraries]
        self._given: list[np.ndarray | None] = [None, None]
        self._statistics = Fading(_keep(student.voice_width))
        self.pin(identity=identity, emotion=emotion)
        for number, given in enumerate(self._given):
            if given is not None:
                self._embeddings[number] = given

    @property
    def look_ahead_ms(self) -> float:
        """Milliseconds of audio after its own time that a frame waits for."""
        assert self.student.look_ahead is not None
        return look_ahead_ms(self.student.look_ahead) + 1000 * self._resampler.delay

    @property
    def identity(self) -> str:
        """The library's entry nearest to what is used now."""
        return self._nearest(0)

    @property
    def emotion(self) -> str:
        """The library's entry nearest to what is used now."""
        return self._nearest(1)

    def pin(self, identity: Choice | None = None, emotion: Choice | None = None) -> None:
        """From the next frame on, glide to another identity or emotion; "auto" follows the voice
        again, None leaves things as they are.

        Raises:
            UserError: an unknown name, or a bad value; nothing changes then.
        """
        given = [
            old if choice is None else library.resolve(choice)
            for old, choice, library in zip(
                self._given, (identity, emotion), self._libraries, strict=True
            )
        ]
        self._given = given

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next samples (n,) or (n, channels), float in [-1, 1] or integer PCM; any n.

        Returns:
            the frames (T, 52) that they complete; T may be 0.

        Raises:
            UserError: the stream is closed, NaN, or not audio; the stream is as it was before.
        """
        self.take(samples)
        return together.advance([self])[0]

    def close(self) -> np.ndarray:
        """The last frames (T, 52), silence behind the end. Nothing more may be pushed.

        Raises:
            UserError: it is closed already.
        """
        if self.closed:
            raise UserError(f"{self.where}: is closed already")
        self._append(self._resampler.close(self._pushed))
        self.closed = True
        if self._samples:
            self._audio = np.pad(self._audio, (0, WINDOW), mode="edge")
        return together.advance([self])[0]

    # The steps of a push, for ``together``: in this order.

    def take(self, samples: np.ndarray) -> None:
        """Keep samples as of ``push``, and raise as it does."""
        if self.closed:
            raise UserError(f"{self.where}: is closed; begin another stream")
        mono = self._mono(samples)
        self._pushed += len(mono)
        self._append(self._resampler.push(mono))

    def windows(self) -> list[np.ndarray]:
        """The windows (640,) that are complete, or lie before the end of a closed stream: once."""
        first = self._audio_first
        mels = complete(first + len(self._audio))
        if self.closed:
            mels = min(mels, PER_FRAME * self._within())
        places = [start(mel) - first for mel in range(self._mels, mels + 1)]
        if len(places) < 2:
            return []
        *at, keep = places
        windows = [self._audio[begin : begin + WINDOW] for begin in at]
        self._mels = mels
        self._audio, self._audio_first = self._audio[keep:], first + min(keep, len(self._audio))
        return windows

    def gain(self, mean_square: np.ndarray) -> np.ndarray:
        """The factors (n, 1) that bring windows of so much power (n,) to the common level."""
        return self._level(mean_square)

    def see(self, log_mel: np.ndarray) -> None:
        """Keep the windows' log-mel (n, 80)."""
        drop = min(self._skip, len(log_mel))
        self._skip -= drop
        self._mel = np.concatenate([self._mel, log_mel[drop:]])

    def piece(self) -> int:
        """Frames of the next piece; 0: they wait for more audio."""
        ready = self._within() - self.frames
        if not self.closed:
            ready = min(ready, (len(self._mel) - OVERLAP) // PER_FRAME)
        # Never beyond the next update, so that it comes at the same frame however audio came.
        return min(max(ready, 0), self._every() - self.frames % self._every())

    def inputs(self, count: int) -> tuple[np.ndarray, ...]:
        """What the graphs make the next frames of: log-mel (2 * count + 3, 80), noise (count, 52),
        identity and emotion (E,), states of encoder and decoder (S,)."""
        rows = PER_FRAME * count + OVERLAP
        log_mel = self._mel[:rows]
        if len(log_mel) < rows:  # behind the end
            log_mel = np.pad(log_mel, ((0, rows - len(log_mel)), (0, 0)))
        heard, moved = self._state
        return log_mel, self._noise(count), *self._embeddings, heard[0], moved[0]

    def accept(
        self, face: np.ndarray, moments: np.ndarray, heard: np.ndarray, moved: np.ndarray
    ) -> np.ndarray:
        """What the graphs made of them, rows of a batch, and the ``moments`` of what they say of
        the voice: the frames (count, 52) as they go out."""
        self._mel = self._mel[PER_FRAME * len(face) :]
        # Copied: a stream that pauses must not keep the states of all the others.
        self._state[0][0], self._state[1][0] = heard, moved
        self._statistics.add(moments)
        self.frames += len(face)
        return self._post(face)

    @property
    def due(self) -> bool:
        """Whether identity and emotion are to be updated before the next frame."""
        return self.frames % self._every() == 0

    @property
    def follows(self) -> bool:
        """Whether the voice decides on identity, emotion or both."""
        return any(given is None for given in self._given)

    def voice(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (H,) of the voice so far."""
        mean, variance = self._statistics()
        return mean[0], variance[0]

    def update(self, heard: Iterable[np.ndarray | None]) -> None:
        """Glide to identity and emotion: (E,) as heard in the voice, unused where pinned."""
        for number, (given, voice) in enumerate(zip(self._given, heard, strict=True)):
            goal = given
            if goal is None:
                assert voice is not None
                library = self._libraries[number]
                goal = library.entries[library.nearest(voice)]
            now = self._embeddings[number]
            between = now + GLIDES[self.frames > EARLY] * (goal - now)
            # From one pole to the other, half way is nowhere.
            far = np.linalg.norm(between) < 0.1
            self._embeddings[number] = goal if far else unit(between)

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        kind = np.asarray(samples).dtype
        if kind.kind not in "if":
            raise UserError(f"{self.where}: samples of type {kind}; give float or PCM")
        return mono(samples, self.where).clip(-1, 1)

    def _append(self, samples: np.ndarray) -> None:
        """Samples at 16 kHz."""
        if self._samples == 0 and len(samples):
            self._audio = np.full(WINDOW // 2, samples[0])  # as ``log_mel.around``
        self._samples += len(samples)
        self._audio = np.concatenate([self._audio, samples])

    def _within(self) -> int:
        """Frames whose time lies within what was pushed."""
        return frame_count(self._samples) if self._samples else 0

    def _every(self) -> int:
        return UPDATES[self.frames >= EARLY]

    def _nearest(self, number: int) -> str:
        library = self._libraries[number]
        return library.names[library.nearest(self._embeddings[number])]


@functools.cache
def _keep(width: int) -> np.ndarray:
    """Shares (H,) that a frame's weight keeps: the identity head's half, then the emotion's."""
    seconds = np.repeat([IDENTITY_SECONDS, EMOTION_SECONDS], width // 2)
    return np.exp(-1 / (FPS * seconds))
