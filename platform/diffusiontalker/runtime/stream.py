"""A face for speech as it comes: chunks of audio in, frames out, a stated look-ahead behind.

The frames are the same however the audio is cut into chunks: everything that changes with time
(level, voice, noise) follows the count of frames, never the count of pushes. From a whole recording
``Student.animate`` makes a slightly other face, because it knows the level and the voice of all of
it from the first frame on.
"""

import numpy as np

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE, mono
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.level import Level
from diffusiontalker.runtime.log_mel import (
    BANDS,
    OVERLAP,
    PER_FRAME,
    STEM,
    WINDOW,
    frame_count,
    look_ahead_ms,
    power,
    standardise,
    starts,
)
from diffusiontalker.runtime.post import Post
from diffusiontalker.runtime.resampler import Resampler
from diffusiontalker.runtime.student import Noise, Student
from diffusiontalker.runtime.voice import AUTO, Choice, Statistics, unit

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
        self._statistics: Statistics | None = None
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
        if self.closed:
            raise UserError(f"{self.where}: is closed; begin another stream")
        mono = self._mono(samples)
        self._pushed += len(mono)
        self._hear(self._resampler.push(mono))
        return self._move(final=False)

    def close(self) -> np.ndarray:
        """The last frames (T, 52), silence behind the end. Nothing more may be pushed.

        Raises:
            UserError: it is closed already.
        """
        if self.closed:
            raise UserError(f"{self.where}: is closed already")
        self.closed = True
        self._hear(self._resampler.close(self._pushed))
        if self._samples == 0:
            return np.zeros((0, len(CHANNELS)), np.float32)
        self._audio = np.pad(self._audio, (0, WINDOW), mode="edge")
        self._hear(np.zeros(0, np.float32), PER_FRAME * frame_count(self._samples))
        return self._move(final=True)

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        kind = np.asarray(samples).dtype
        if not (np.issubdtype(kind, np.signedinteger) or np.issubdtype(kind, np.floating)):
            raise UserError(f"{self.where}: samples of type {kind}; give float or PCM")
        return np.clip(mono(samples, self.where), -1, 1)

    def _hear(self, samples: np.ndarray, until: int | None = None) -> None:
        """Samples at 16 kHz to mel frames: all that are complete, or up to number ``until``."""
        if self._samples == 0 and len(samples):
            self._audio = np.full(WINDOW // 2, samples[0])  # as ``log_mel.around``
        self._samples += len(samples)
        self._audio = np.concatenate([self._audio, samples])
        known = self._audio_first + len(self._audio)
        if until is None:
            until = int((known - WINDOW) * FPS * PER_FRAME / SAMPLE_RATE) + 2
        at = starts(self._mels, max(until - self._mels, 0))
        at = at[at + WINDOW <= known]
        if not len(at):
            return
        at = at - self._audio_first
        windows = np.lib.stride_tricks.sliding_window_view(self._audio, WINDOW)[at]
        gain = self._level(windows.var(axis=1))
        mel = standardise(power(self._audio, at), gain)
        self._mels += len(at)
        drop = min(self._skip, len(mel))
        self._skip -= drop
        self._mel = np.concatenate([self._mel, mel[drop:]])
        keep = int(starts(self._mels, 1)[0]) - self._audio_first
        keep = min(keep, len(self._audio))
        self._audio, self._audio_first = self._audio[keep:], self._audio_first + keep

    def _move(self, final: bool) -> np.ndarray:
        """The frames that can be made of the mel frames that are there."""
        within = frame_count(self._samples) if self._samples else 0
        if final:
            rows = PER_FRAME * (within - self.frames) + OVERLAP
            missing = max(rows - len(self._mel), 0)
            self._mel = np.concatenate([self._mel, np.zeros((missing, BANDS), np.float32)])
        ready = min((len(self._mel) - OVERLAP) // PER_FRAME, within - self.frames)
        face = [np.zeros((0, len(CHANNELS)), np.float32)]
        while ready > 0:
            # Never beyond the next update, so that it comes at the same frame however audio came.
            count = min(ready, self._until_update())
            face.append(self._make(count))
            ready -= count
        return np.concatenate(face)

    def _make(self, count: int) -> np.ndarray:
        features, voice = self.student.listen(self._mel[: PER_FRAME * count + OVERLAP], self._state)
        self._mel = self._mel[PER_FRAME * count :]
        if self._statistics is None:
            self._statistics = Statistics(_keep(voice.shape[1]))
        noise = self._noise(count)
        made = self.student.move(
            features, noise, self._embeddings[0], self._embeddings[1], self._state
        )
        self._statistics.add(voice)
        due = count == self._until_update()
        self.frames += count
        if due:
            self._update(self._statistics)
        return self._post(made)

    def _until_update(self) -> int:
        every = UPDATES[self.frames >= EARLY]
        return every - self.frames % every

    def _update(self, statistics: Statistics) -> None:
        heard = (
            self.student.embed(statistics) if any(g is None for g in self._given) else [None, None]
        )
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

    def _nearest(self, number: int) -> str:
        library = self._libraries[number]
        return library.names[library.nearest(self._embeddings[number])]


def _keep(width: int) -> np.ndarray:
    """Shares (H,) that a frame's weight keeps: the identity head's half, then the emotion's."""
    seconds = np.repeat([IDENTITY_SECONDS, EMOTION_SECONDS], width // 2)
    return np.exp(-1 / (FPS * seconds))
