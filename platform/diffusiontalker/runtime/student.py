"""The student as people embed it: audio in, coefficients out, on numpy and ONNX Runtime.

The front end and the noise are numpy; graphs hold the audio encoder, the personalizer, and the
decoder with all its sampling steps. ``Student.animate`` takes a whole recording, and
``Student.stream`` takes it as it is spoken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING, FrontEnd
from diffusiontalker.audio.level import apply_level, is_quiet, speech_level
from diffusiontalker.audio.log_mel import around, frame_count, power, standardise, starts
from diffusiontalker.audio.waveform import CANCELLED, as_waveform, lone_channel
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import read_config
from diffusiontalker.runtime.layer_history import History
from diffusiontalker.runtime.noise import Noise
from diffusiontalker.runtime.post_processing import Post
from diffusiontalker.runtime.sessions import load_sessions
from diffusiontalker.runtime.voice import AUTO, KINDS, Choice, Library, Statistics, moments

if TYPE_CHECKING:
    from diffusiontalker.runtime.stream import Stream

CHUNK = 10 * FPS
"""Frames of a recording that pass through the graphs together: memory does not follow its length,
and what they need stays in the processor's cache."""

TRIED = 3
"""Frames, or streams, that each graph is given once when it is loaded."""
MAX_WIDTH = 1 << 20
"""Most numbers that a graph may remember of a clip."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Animation:
    """A face for a recording."""

    coefficients: np.ndarray
    """(frames, 52) float32 in 0-1, channels in ``arkit.CHANNELS``."""
    identity: str | None
    """The library entry used: named, or the one most like the voice; None: weights or an
    embedding were given, or nobody speaks."""
    emotion: str | None
    fps: int = FPS
    notes: tuple[str, ...] = ()
    """As in ``Performance``."""


@dataclass(frozen=True)
class Performance:
    """A face for a recording, while it is made."""

    frames: int
    parts: Iterator[np.ndarray]
    """Coefficients (T, 52) of ``CHUNK`` frames and, at the end, of the rest; once."""
    identity: str | None
    """As in ``Animation``."""
    emotion: str | None
    notes: tuple[str, ...] = ()
    """What is odd about the recording, a line each: ``silent``, ``CANCELLED``."""

    def all(self) -> np.ndarray:
        """All parts as one (frames, 52), of which memory holds no second copy."""
        face, at = np.empty((self.frames, len(CHANNELS)), np.float32), 0
        for part in self.parts:
            face[at : at + len(part)] = part
            at += len(part)
        return face


@dataclass(frozen=True)
class Recognised:
    """What a student hears in a voice."""

    identity: np.ndarray
    """(E,) unit: may be kept, and given to ``animate`` as an identity."""
    emotion: np.ndarray
    """(E,) unit."""
    identities: dict[str, float]
    """Cosine similarity to each entry of the library."""
    emotions: dict[str, float]


class Student:
    """A loaded artifact. It holds nothing of what it animates: threads may share it."""

    def __init__(self, folder: str | Path, threads: int = 1, provider: str = "cpu") -> None:
        """Load and check an artifact.

        Args:
            folder: the artifact, local or ``s3://``; nothing is kept on disk of the latter.
            threads: CPU threads of ONNX Runtime.
            provider: cpu, cuda or tensorrt.

        Raises:
            UserError: a file is missing or damaged, two of them do not belong together, the
                channels are in another order, S3 refuses or does not answer, or the provider is
                not to be had.
        """
        if not folder:  # such as an environment variable that is not set
            raise UserError(f"no artifact: give its folder, not {folder!r}")
        self.folder = storage.location(folder)
        self.config = read_config(self.folder)
        self.steps = self.config.steps
        self.look_ahead = self.config.look_ahead
        """Mel frames (``log_mel.look_ahead_ms``); None: it hears whole recordings alone."""
        self.front_end = self.config.front_end
        loaded = load_sessions(self.folder, self.config.graphs, threads, provider)
        self._encoder, self._personalizer, self._modulation, self._decoder, *frame = loaded.values()
        self._frame = frame[0] if frame else None
        entries = self._try()
        self.libraries: list[Library] = []
        """Of identities and of emotions."""
        for kind, names, rows in zip(
            KINDS,
            (self.config.identities, self.config.emotions),
            entries,
            strict=True,
        ):
            if len(rows) != len(names):
                raise UserError(
                    f"{self.folder}: personalizer.onnx does not belong to config.yaml, which has "
                    f"{len(names)} names for {kind}; export it again"
                )
            self.libraries.append(Library(kind, names, rows))

    def _try(self) -> list[np.ndarray]:
        """Run every graph once, on ``TRIED`` frames, so that one which does not fit is found now,
        and by its name. Returns both libraries: (I, E) and (M, E). Raises UserError."""
        noise = np.zeros((TRIED, len(CHANNELS)), np.float32)
        with self._naming("encoder"):
            self._sizes = [_width(self._encoder, "state")]
            state = self.new_state()
            front_end = self.front_end
            rows = front_end.mel_per_frame * TRIED + front_end.overlap
            log_mel = np.zeros((rows, front_end.bands), np.float32)
            features, voice = self.listen(log_mel, state)
            _expect(features, TRIED, features.shape[-1])
            _expect(voice, TRIED, voice.shape[-1])
            _expect(state[0], 1, self._sizes[0])
        with self._naming("personalizer"):
            self.voice_width = _width(self._personalizer, "mean")
            moments = np.zeros((TRIED, voice.shape[-1]), np.float32)
            found = self._run(
                self._personalizer, ["identity", "emotion", "identities", "emotions"],
                mean=moments, variance=moments + 1,
            )  # fmt: skip
            size = found[0].shape[-1]
            for embeddings in found[:2]:
                _expect(embeddings, TRIED, size)
            for entries in found[2:]:
                _expect(entries, len(entries), size)
        with self._naming("modulation"):
            modulation = self.modulate(*found[:2])
            _expect(modulation, TRIED, 1, modulation.shape[-1])
        with self._naming("decoder"):
            self._sizes.append(_width(self._decoder, "state"))
            state = self.new_state()
            _expect(self.move(features, noise, modulation[:1], state), *noise.shape)
            _expect(state[1], 1, self._sizes[1])
        if self._frame is not None:
            with self._naming("frame"):
                self._try_frame(log_mel[: front_end.stem], noise, modulation)
        return found[2:]

    def _try_frame(self, log_mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray) -> None:
        """``TRIED`` streams at once."""
        history, rows = self.history(), np.zeros(TRIED, np.int64)
        face, voice, now = self.frame(
            np.repeat(log_mel[None], TRIED, 0), noise[:, None], modulation, history.past(rows, rows)
        )
        history.keep(rows, rows, now)
        _expect(face, *noise.shape)
        _expect(voice, TRIED, self.voice_width)

    @contextmanager
    def _naming(self, graph: str) -> Iterator[None]:
        """What goes wrong within is that graph's fault, or that of its neighbours."""
        try:
            yield
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.folder / graph}.onnx: is not this student's; export it again ({said})"
            ) from error

    @property
    def identities(self) -> list[str]:
        """Names of the library."""
        return self.libraries[0].names

    @property
    def emotions(self) -> list[str]:
        """Names of the library."""
        return self.libraries[1].names

    def animate(
        self, samples: np.ndarray, rate: int, identity: Choice = AUTO, emotion: Choice = AUTO,
        seed: int = 0, where: str = "audio", smooth_ms: float = 0.0, mirror: bool = False,
    ) -> Animation:  # fmt: skip
        """Animate a recording. Of one in which nobody speaks the face is at rest: all zeros.

        Args:
            samples: (n,) or (n, channels), float in [-1, 1] or integer PCM; channels are averaged,
                or the louder one is used where they cancel each other out.
            rate: sample rate in Hz; anything is resampled.
            identity: "auto" for the library's entry most like the voice; a name of
                ``identities``; weights over names; or an embedding from ``recognise``.
            emotion: likewise.
            seed: of the noise, 0 to 2^64 - 1; the same seed gives the same face everywhere.
            where: names the recording in errors.
            smooth_ms: time constant of an average over time; lip closures are kept.
            mirror: swap left and right.

        Raises:
            UserError: bad audio (see ``as_waveform``), an unknown name or a bad value.
        """
        made = self.perform(samples, rate, identity, emotion, seed, where, smooth_ms, mirror)
        return Animation(made.all(), made.identity, made.emotion, notes=made.notes)

    def perform(
        self, samples: np.ndarray, rate: int, identity: Choice = AUTO, emotion: Choice = AUTO,
        seed: int = 0, where: str = "audio", smooth_ms: float = 0.0, mirror: bool = False,
        check: Callable[[], None] = _nothing,
    ) -> Performance:  # fmt: skip
        """``animate``, whose face comes part by part. The whole recording is heard first, with
        ``check`` called before every 10 s of it: to raise there ends the work."""
        choices = self._choices(identity, emotion)
        noise, post = Noise(seed), Post(smooth_ms, mirror)
        heard = as_waveform(samples, rate, where)
        notes = () if lone_channel(samples) is None else (CANCELLED,)
        if is_quiet(heard, self.front_end):
            return _at_rest(
                frame_count(len(heard)), identity, emotion, (*notes, silent(self.front_end))
            )
        features, statistics = self._hear(heard, check)
        names: list[str | None] = []
        embeddings = []
        voice = self.embed(statistics) if any(c is None for c in choices) else (None, None)
        for library, given, embedding, choice in zip(
            self.libraries, choices, voice, (identity, emotion), strict=True
        ):
            if given is None:
                assert embedding is not None
                index = library.nearest(embedding)
                names.append(library.names[index])
                embeddings.append(library.entries[index])
            else:
                names.append(choice if isinstance(choice, str) else None)
                embeddings.append(given)
        state = self.new_state()
        modulation = self.modulate(embeddings[0][None], embeddings[1][None])
        parts = (
            post(self.move(chunk, noise(len(chunk)), modulation, state))
            for chunk in _released(features)
        )
        return Performance(sum(map(len, features)), parts, names[0], names[1], notes)

    def recognise(
        self, samples: np.ndarray, rate: int, where: str = "audio",
        check: Callable[[], None] = _nothing,
    ) -> Recognised:  # fmt: skip
        """Who speaks in a recording, and how; ``check`` as in ``perform``. Raises UserError as
        ``animate``."""
        _, statistics = self._hear(as_waveform(samples, rate, where), check)
        identity, emotion = self.embed(statistics)
        return Recognised(
            identity,
            emotion,
            *(
                dict(zip(library.names, (library.entries @ heard).tolist(), strict=True))
                for library, heard in zip(self.libraries, (identity, emotion), strict=True)
            ),
        )

    def stream(self, rate: int = SAMPLE_RATE, **options: Any) -> "Stream":
        """A face for speech as it comes; the options are those of ``Stream``. Many streams are
        quicker if they share their ``Streams`` and are pushed together."""
        from diffusiontalker.runtime.stream import Stream
        from diffusiontalker.runtime.stream_batch import Streams

        return Stream(Streams(self), rate, **options)

    # The parts, for whole recordings and streams alike.

    def new_state(self) -> list[np.ndarray]:
        """What encoder and decoder remember, at the beginning of a clip; they change it."""
        return [np.zeros((1, size), np.float32) for size in self._sizes]

    def listen(self, log_mel: np.ndarray, state: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The next chunk of T frames: log-mel (2T + 3, 80), mel frames from 2t + R - 4 on, to audio
        features (T, A) and what ``Statistics`` takes (T, H)."""
        features, voice, state[0] = self._run(
            self._encoder, ["audio", "voice", "next_state"], log_mel=log_mel[None], state=state[0]
        )
        return features[0], voice[0]

    def embed(self, statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
        """Identity and emotion embeddings (E,) of the voice."""
        identity, emotion = self.personalise(*statistics())
        return identity[0], emotion[0]

    def move(
        self, features: np.ndarray, noise: np.ndarray, modulation: np.ndarray,
        state: list[np.ndarray],
    ) -> np.ndarray:  # fmt: skip
        """The face (T, 52) of the next chunk of audio features (T, A); modulation (1, 1, M)."""
        face, state[1] = self._run(
            self._decoder, ["coefficients", "next_state"], audio=features[None],
            noise=noise[None], modulation=modulation, state=state[1],
        )  # fmt: skip
        return face[0]

    # For B streams at once.

    def history(self) -> History:
        """What the layers remember of streams, at their beginning."""
        assert self._frame is not None
        widths = {node.name: node.shape[-1] for node in self._frame.get_outputs()}
        return History(
            {
                int(name.removeprefix("now_")): width
                for name, width in widths.items()
                if name.startswith("now_")
            }
        )

    def frame(
        self, log_mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray,
        past: dict[str, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:  # fmt: skip
        """The next frame: of log-mel (B, 5, 80), noise (B, 1, 52), modulations (B, 1, M) and what a
        ``History`` holds, faces (B, 52), what ``Statistics`` takes of voices (B, H), and what the
        history keeps."""
        face, voice, *now = self._run(
            self._frame, None, log_mel=log_mel, noise=noise, modulation=modulation, **past
        )
        return face[:, 0], voice[:, 0], now

    def personalise(self, mean: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
        """``embed`` statistics (B, H): identities and emotions (B, E)."""
        return self._run(self._personalizer, ["identity", "emotion"], mean=mean, variance=variance)

    def modulate(self, identity: np.ndarray, emotion: np.ndarray) -> np.ndarray:
        """What embeddings (B, E) do to the layers: (B, 1, M)."""
        return self._run(self._modulation, ["modulation"], identity=identity, emotion=emotion)[0]

    def _hear(
        self, samples: np.ndarray, check: Callable[[], None]
    ) -> tuple[list[np.ndarray], Statistics]:
        """Audio features of a recording at 16 kHz, chunk by chunk, and the statistics of all."""
        statistics, state, features = Statistics(), self.new_state(), []
        for log_mel in chunks(samples, self.look_ahead, self.front_end):
            check()
            heard, voice = self.listen(log_mel, state)
            features.append(heard)
            statistics.add(moments(voice))
        return features, statistics

    def _choices(self, identity: Choice, emotion: Choice) -> list[np.ndarray | None]:
        return [
            library.resolve(choice)
            for library, choice in zip(self.libraries, (identity, emotion), strict=True)
        ]

    @staticmethod
    def _run(session: Any, outputs: list[str] | None, **inputs: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(outputs, inputs)
        return found


def _at_rest(frames: int, identity: Choice, emotion: Choice, notes: tuple[str, ...]) -> Performance:
    """The face where nobody speaks."""
    parts = (
        np.zeros((min(CHUNK, frames - begin), len(CHANNELS)), np.float32)
        for begin in range(0, frames, CHUNK)
    )
    return Performance(frames, parts, _named(identity), _named(emotion), notes)


def _named(choice: Choice) -> str | None:
    """The name that was given, if one was."""
    return choice if isinstance(choice, str) and choice != AUTO else None


def _released(features: list[np.ndarray]) -> Iterator[np.ndarray]:
    """One after the other, each given up as soon as the next is asked for."""
    features.reverse()
    while features:
        yield features.pop()


def _width(session: Any, name: str) -> int:
    """The last axis of an input of a graph."""
    width = int(next((node.shape[-1] for node in session.get_inputs() if node.name == name), -1))
    if not 0 <= width <= MAX_WIDTH:
        raise ValueError(f"an input {name} of width {width}")
    return width


def _expect(found: np.ndarray, *shape: int) -> None:
    """Raise ValueError unless a graph gives finite numbers of this shape."""
    if found.shape != shape:
        raise ValueError(f"gives {found.shape}, expected {shape}")
    if not np.isfinite(found).all():
        raise ValueError("gives NaN or infinity")


def silent(front_end: FrontEnd) -> str:
    """The note on a recording without speech."""
    return f"silent: nothing in it is louder than {front_end.floor_db} dB, and the face is at rest"


def chunks(
    samples: np.ndarray, look_ahead: int | None, front_end: FrontEnd = TRAINING, frames: int = CHUNK
) -> Iterator[np.ndarray]:
    """The log-mel chunks (2T + 3, 80) of a recording (n,) at 16 kHz, brought to its level, for a
    look-ahead in mel frames, T at most ``frames``; for None, one chunk, which may see to either
    side."""
    total, per_frame = frame_count(len(samples)), front_end.mel_per_frame
    size = total if look_ahead is None else frames
    first = (per_frame if look_ahead is None else look_ahead) - front_end.stem + 1
    mean, gain = speech_level(samples, front_end)
    for begin in range(0, total, size):
        rows = per_frame * min(size, total - begin) + front_end.overlap
        low = per_frame * begin + first
        inside = np.clip([low, low + rows], 0, per_frame * total)
        out = np.zeros((rows, front_end.bands), np.float32)
        if inside[0] < inside[1]:  # with a long look-ahead the last frames lie beyond the end
            at = starts(int(inside[0]), int(inside[1] - inside[0]), front_end)
            part, at = around(samples, at, front_end)
            powers = power(apply_level(part, mean, gain), at, front_end)
            out[inside[0] - low : inside[1] - low] = standardise(powers, front_end=front_end)
        yield out
