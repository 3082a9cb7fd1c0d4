"""The ONNX graphs of a student: one method for each, and its libraries of embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import ArtifactConfig
from diffusiontalker.runtime.conditioning import KINDS, Library
from diffusiontalker.runtime.sessions import load_sessions

DRY_RUN = 3
"""Frames, or streams, of the dry run of each graph when it is loaded."""
MAX_STATE = 1 << 20
"""Most numbers that a graph may carry from chunk to chunk."""


@dataclass
class ChunkState:
    """What encoder and decoder carry from one chunk of a recording to the next, (1, S) each."""

    encoder: np.ndarray
    decoder: np.ndarray


class Graphs:
    """The graphs of one artifact, loaded and checked. Stateless: threads may share it."""

    def __init__(
        self, folder: Path, config: ArtifactConfig, threads: int = 1, provider: str = "cpu"
    ) -> None:
        """Raises UserError as ``Student``."""
        self.folder, self.config = folder, config
        sessions = load_sessions(folder, config.graphs, threads, provider)
        self._encoder, self._personalizer = sessions["encoder"], sessions["personalizer"]
        self._modulation, self._decoder = sessions["modulation"], sessions["decoder"]
        self._frame = sessions.get("frame")
        self.history_sizes: dict[int, int] = {}
        """Of ``frame.onnx``: numbers per frame that the layers of each dilation read again later;
        dilation 0 stands for recurrent layers."""
        self.libraries: list[Library] = []
        """Of identities and of emotions."""
        names = config.identities, config.emotions
        for kind, known, entries in zip(KINDS, names, self._dry_run(), strict=True):
            if len(entries) != len(known):
                raise UserError(
                    f"{folder}: personalizer.onnx does not belong to config.yaml, which has "
                    f"{len(known)} names for {kind}; export it again"
                )
            self.libraries.append(Library(kind, known, entries))

    def new_state(self) -> ChunkState:
        """The state at the beginning of a recording."""
        return ChunkState(*(np.zeros((1, size), np.float32) for size in self._state_sizes))

    def encode(self, log_mel: np.ndarray, state: ChunkState) -> tuple[np.ndarray, np.ndarray]:
        """``encoder.onnx``: the next chunk of T frames of a recording, and the next ``state``.

        Args:
            log_mel: (2T + 3, 80), mel frames from 2t + R - 4 on (``offline.log_mel_chunks``).
            state: of the chunk before; updated.

        Returns:
            audio features (T, A) and voice features (T, H).
        """
        features, voice, state.encoder = _run(
            self._encoder, ["audio", "voice", "next_state"],
            log_mel=log_mel[None], state=state.encoder,
        )  # fmt: skip
        return features[0], voice[0]

    def personalise(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``personalizer.onnx``: mean and variance over time of voice features (B, H) to identity
        and emotion embeddings, unit (B, E)."""
        identity, emotion = _run(
            self._personalizer, ["identity", "emotion"], mean=mean, variance=variance
        )
        return identity, emotion

    def modulate(self, identity: np.ndarray, emotion: np.ndarray) -> np.ndarray:
        """``modulation.onnx``: embeddings (B, E) to FiLM scale and shift of all layers in all
        sampling steps, (B, 1, M)."""
        return _run(self._modulation, ["modulation"], identity=identity, emotion=emotion)[0]

    def decode(
        self, features: np.ndarray, noise: np.ndarray, modulation: np.ndarray, state: ChunkState
    ) -> tuple[np.ndarray, np.ndarray]:
        """``decoder.onnx``: the next chunk, and the next ``state``.

        Args:
            features: audio features (T, A).
            noise: (T, 52), standard normal.
            modulation: (1, 1, M).
            state: of the chunk before; updated.

        Returns:
            coefficients (T, 52), and the probability (T,) that a blink begins in a frame.
        """
        coefficients, blink, state.decoder = _run(
            self._decoder, ["coefficients", "blink", "next_state"], audio=features[None],
            noise=noise[None], modulation=modulation, state=state.decoder,
        )  # fmt: skip
        return coefficients[0], blink[0]

    def frame(
        self, log_mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray,
        history: dict[str, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:  # fmt: skip
        """``frame.onnx``: one frame of each of B streams.

        Args:
            log_mel: (B, 5, 80).
            noise: (B, 1, 52), standard normal.
            modulation: (B, 1, M).
            history: (B, 1, C) by name, as ``LayerHistory.read`` gives it.

        Returns:
            coefficients (B, 52), the probability (B,) that a blink begins, voice features (B, H),
            and what ``LayerHistory.write`` takes.
        """
        assert self._frame is not None
        coefficients, blink, voice, *layers = _run(
            self._frame, None, log_mel=log_mel, noise=noise, modulation=modulation, **history
        )
        return coefficients[:, 0], blink[:, 0], voice[:, 0], layers

    def _dry_run(self) -> list[np.ndarray]:
        """Run every graph once, so that one that does not fit is found and named now.

        Returns:
            the entries of both libraries: (I, E) and (M, E).

        Raises:
            UserError: a graph fails, or gives other shapes, NaN or infinity.
        """
        front_end, count = self.config.front_end, DRY_RUN
        noise = np.zeros((count, len(CHANNELS)), np.float32)
        with self._blame("encoder"):
            size = _last_axis(self._encoder, "state")
            state = ChunkState(np.zeros((1, size), np.float32), np.zeros(0))
            rows = front_end.mel_per_frame * count + front_end.overlap
            log_mel = np.zeros((rows, front_end.bands), np.float32)
            features, voice = self.encode(log_mel, state)
            _expect(features, count, features.shape[-1])
            _expect(voice, count, voice.shape[-1])
            _expect(state.encoder, 1, size)
        with self._blame("personalizer"):
            self.voice_width = _last_axis(self._personalizer, "mean")
            """Numbers of voice features, H; the first half serves identity, the second emotion."""
            mean = np.zeros((count, voice.shape[-1]), np.float32)
            outputs = ["identity", "emotion", "identities", "emotions"]
            identity, emotion, *libraries = _run(
                self._personalizer, outputs, mean=mean, variance=mean + 1
            )
            width = identity.shape[-1]
            _expect(identity, count, width)
            _expect(emotion, count, width)
            for entries in libraries:
                _expect(entries, len(entries), width)
        with self._blame("modulation"):
            modulation = self.modulate(identity, emotion)
            _expect(modulation, count, 1, modulation.shape[-1])
        with self._blame("decoder"):
            self._state_sizes = size, _last_axis(self._decoder, "state")
            state = self.new_state()
            coefficients, blink = self.decode(features, noise, modulation[:1], state)
            _expect(coefficients, *noise.shape)
            _expect(blink, count)
            _expect(state.decoder, 1, self._state_sizes[1])
        if self._frame is not None:
            with self._blame("frame"):
                self.history_sizes = _history_sizes(self._frame)
                batch = np.repeat(log_mel[None, : front_end.stem], count, 0)
                self._dry_run_frame(batch, noise[:, None], modulation)
        return libraries

    def _dry_run_frame(
        self, log_mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray
    ) -> None:
        history = {
            f"{tap}_{dilation}": np.zeros((len(noise), 1, size), np.float32)
            for dilation, size in self.history_sizes.items()
            for tap in (("far", "near") if dilation else ("near",))
        }
        coefficients, blink, voice, layers = self.frame(log_mel, noise, modulation, history)
        _expect(coefficients, len(noise), len(CHANNELS))
        _expect(blink, len(noise))
        _expect(voice, len(noise), self.voice_width)
        for layer, size in zip(layers, self.history_sizes.values(), strict=True):
            _expect(layer, len(noise), 1, size)

    @contextmanager
    def _blame(self, graph: str) -> Iterator[None]:
        """Name the graph in what goes wrong within."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.folder / graph}.onnx: is not this student's; export it again ({reason})"
            ) from error


def _run(
    session: onnxruntime.InferenceSession, outputs: list[str] | None, **inputs: np.ndarray
) -> list[np.ndarray]:
    found: list[np.ndarray] = session.run(outputs, inputs)
    return found


def _history_sizes(frame: onnxruntime.InferenceSession) -> dict[int, int]:
    """Width of each output ``now_DILATION`` of ``frame.onnx``, by dilation."""
    prefix = "now_"
    return {
        int(node.name.removeprefix(prefix)): node.shape[-1]
        for node in frame.get_outputs()
        if node.name.startswith(prefix)
    }


def _last_axis(session: onnxruntime.InferenceSession, name: str) -> int:
    """Size of the last axis of an input of a graph."""
    size = int(next((node.shape[-1] for node in session.get_inputs() if node.name == name), -1))
    if not 0 <= size <= MAX_STATE:
        raise ValueError(f"an input {name} of width {size}")
    return size


def _expect(found: np.ndarray, *shape: int) -> None:
    """Raise ValueError unless a graph gives finite numbers of this shape."""
    if found.shape != shape:
        raise ValueError(f"gives {found.shape}, expected {shape}")
    if not np.isfinite(found).all():
        raise ValueError("gives NaN or infinity")
