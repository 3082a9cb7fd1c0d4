"""Offline animation: whole recordings, whose level and voice are known from the first frame on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio.front_end import TRAINING, FrontEnd
from diffusiontalker.audio.level import apply_level, is_quiet, speech_level
from diffusiontalker.audio.log_mel import around, frame_count, power, standardise, starts
from diffusiontalker.audio.waveform import CANCELLED, as_waveform, louder_if_cancelled
from diffusiontalker.runtime.blinks import Blinks
from diffusiontalker.runtime.conditioning import AUTO, Conditioning
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.noise import Noise
from diffusiontalker.runtime.post_processing import PostProcessor
from diffusiontalker.runtime.voice_statistics import VoiceStatistics, moments

CHUNK = 10 * FPS
"""Frames that pass through the graphs together: memory does not grow with the recording, and the
arrays of a chunk stay in the processor's cache."""


@dataclass(frozen=True)
class Animation:
    """The animation of a recording."""

    coefficients: np.ndarray
    """(frames, 52) float32 in 0-1, channels in ``arkit.CHANNELS``."""
    identity: str | None
    """The library entry used: named, or the one most like the voice; None: weights or an
    embedding were given, or there is no speech."""
    emotion: str | None
    fps: int = FPS
    notes: tuple[str, ...] = ()
    """As in ``ChunkedAnimation``."""


@dataclass(frozen=True)
class ChunkedAnimation:
    """The animation of a recording, computed while its chunks are taken."""

    frames: int
    chunks: Iterator[np.ndarray]
    """Coefficients (T, 52) of ``CHUNK`` frames and, at the end, of the rest; once."""
    identity: str | None
    """As in ``Animation``."""
    emotion: str | None
    notes: tuple[str, ...] = ()
    """What is unusual about the recording, a line each: ``silent``, ``CANCELLED``."""

    def concatenate(self) -> np.ndarray:
        """All chunks as (frames, 52), of which memory holds no second copy."""
        coefficients, at = np.empty((self.frames, len(CHANNELS)), np.float32), 0
        for chunk in self.chunks:
            coefficients[at : at + len(chunk)] = chunk
            at += len(chunk)
        return coefficients


@dataclass(frozen=True)
class Recognised:
    """Identity and emotion of the voice in a recording."""

    identity: np.ndarray
    """(E,) unit: may be kept, and given to ``animate`` as an identity."""
    emotion: np.ndarray
    """(E,) unit."""
    identities: dict[str, float]
    """Cosine similarity to each entry of the library."""
    emotions: dict[str, float]


def no_operation() -> None:
    """The default of ``check``."""


def animate_chunks(
    graphs: Graphs, samples: np.ndarray, rate: int, identity: Conditioning,
    emotion: Conditioning, seed: int, where: str, smooth_ms: float, mirror: bool,
    check: Callable[[], None],
) -> ChunkedAnimation:  # fmt: skip
    """As ``Student.animate_chunks``."""
    conditionings = identity, emotion
    given = [
        library.resolve(conditioning)
        for library, conditioning in zip(graphs.libraries, conditionings, strict=True)
    ]
    noise, post = Noise(seed, graphs.config.noise), PostProcessor(smooth_ms, mirror)
    blinks = Blinks(seed, graphs.config.blinks)
    waveform = as_waveform(samples, rate, where)
    notes = () if louder_if_cancelled(samples) is None else (CANCELLED,)
    front_end = graphs.config.front_end
    if is_quiet(waveform, front_end):
        names = [_name(conditioning) for conditioning in conditionings]
        notes = (*notes, silent(front_end))
        return _at_rest(frame_count(len(waveform)), names[0], names[1], notes)
    features, statistics = _encode(graphs, waveform, check)
    auto = any(embedding is None for embedding in given)
    voice = graphs.personalise(*statistics()) if auto else (None, None)
    names, embeddings = [], []
    for library, embedding, recognised, conditioning in zip(
        graphs.libraries, given, voice, conditionings, strict=True
    ):
        if embedding is not None:
            names.append(_name(conditioning))
            embeddings.append(embedding)
        else:
            assert recognised is not None
            index = library.nearest(recognised[0])
            names.append(library.names[index])
            embeddings.append(library.entries[index])
    state, frames = graphs.new_state(), sum(map(len, features))
    modulation = graphs.modulate(embeddings[0][None], embeddings[1][None])
    chunks = (
        post(blinks(*graphs.decode(chunk, noise(len(chunk)), modulation, state)))
        for chunk in _released(features)
    )
    return ChunkedAnimation(frames, chunks, names[0], names[1], notes)


def recognise(
    graphs: Graphs, samples: np.ndarray, rate: int, where: str, check: Callable[[], None]
) -> Recognised:
    """As ``Student.recognise``."""
    _, statistics = _encode(graphs, as_waveform(samples, rate, where), check)
    embeddings = [rows[0] for rows in graphs.personalise(*statistics())]
    identities, emotions = (
        dict(zip(library.names, (library.entries @ embedding).tolist(), strict=True))
        for library, embedding in zip(graphs.libraries, embeddings, strict=True)
    )
    return Recognised(embeddings[0], embeddings[1], identities, emotions)


def silent(front_end: FrontEnd) -> str:
    """The note on a recording without speech."""
    return f"silent: nothing in it is louder than {front_end.floor_db} dB, and the face is at rest"


def log_mel_chunks(
    samples: np.ndarray, look_ahead: int | None, front_end: FrontEnd = TRAINING, frames: int = CHUNK
) -> Iterator[np.ndarray]:
    """The log-mel chunks (2T + 3, 80) of a recording (n,) at 16 kHz, brought to its level.

    Args:
        samples: the recording.
        look_ahead: of the student, in mel frames. For None there is one chunk, for layers that look
            to either side.
        front_end: its parameters.
        frames: the most that T may be.
    """
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


def _encode(
    graphs: Graphs, samples: np.ndarray, check: Callable[[], None]
) -> tuple[list[np.ndarray], VoiceStatistics]:
    """Audio features of a recording at 16 kHz, chunk by chunk, and voice statistics over all."""
    statistics, state, features = VoiceStatistics(), graphs.new_state(), []
    config = graphs.config
    for log_mel in log_mel_chunks(samples, config.look_ahead, config.front_end):
        check()
        audio, voice = graphs.encode(log_mel, state)
        features.append(audio)
        statistics.add(moments(voice))
    return features, statistics


def _at_rest(
    frames: int, identity: str | None, emotion: str | None, notes: tuple[str, ...]
) -> ChunkedAnimation:
    """A face at rest: all zeros."""
    chunks = (
        np.zeros((min(CHUNK, frames - begin), len(CHANNELS)), np.float32)
        for begin in range(0, frames, CHUNK)
    )
    return ChunkedAnimation(frames, chunks, identity, emotion, notes)


def _name(conditioning: Conditioning) -> str | None:
    """The library entry, where one is named."""
    return conditioning if isinstance(conditioning, str) and conditioning != AUTO else None


def _released(features: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Each chunk in turn; its memory is released when the next is taken."""
    features.reverse()
    while features:
        yield features.pop()
