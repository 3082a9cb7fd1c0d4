"""The student as people embed it: audio in, coefficients out, on numpy and ONNX Runtime.

``Student.animate`` takes a whole recording, ``Student.stream`` takes speech as it comes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.runtime import offline
from diffusiontalker.runtime.artifact import SHIPPED, location, read_config
from diffusiontalker.runtime.conditioning import AUTO, Conditioning, Library
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.offline import Animation, ChunkedAnimation, Recognised, no_operation
from diffusiontalker.runtime.stream import Stream
from diffusiontalker.runtime.stream_batch.batch import StreamBatch


class Student:
    """A loaded artifact. It keeps no state of what it animates: threads may share it."""

    def __init__(
        self, folder: str | Path = SHIPPED, threads: int = 1, provider: str = "cpu"
    ) -> None:
        """Load and check an artifact.

        Args:
            folder: the artifact, local or ``s3://``, of which nothing is kept on disk; by default
                the student that is part of the package.
            threads: CPU threads of ONNX Runtime.
            provider: cpu, cuda or tensorrt.

        Raises:
            UserError: a file is missing or damaged, two of them do not belong together, the
                channels are in another order, S3 refuses or does not answer, or the provider is
                not available.
        """
        if not folder:  # such as an environment variable that is not set
            raise UserError(f"no artifact: give its folder, not {folder!r}")
        self.folder = location(folder)
        self.config = read_config(self.folder)
        self.graphs = Graphs(self.folder, self.config, threads, provider)

    @property
    def steps(self) -> int:
        """Sampling steps."""
        return self.config.steps

    @property
    def look_ahead(self) -> int | None:
        """Mel frames (``log_mel.look_ahead_ms``); None: it takes whole recordings only."""
        return self.config.look_ahead

    @property
    def libraries(self) -> list[Library]:
        """Of identities and of emotions."""
        return self.graphs.libraries

    @property
    def identities(self) -> list[str]:
        """Names of the library."""
        return self.libraries[0].names

    @property
    def emotions(self) -> list[str]:
        """Names of the library."""
        return self.libraries[1].names

    def animate(
        self, samples: np.ndarray, rate: int, identity: Conditioning = AUTO,
        emotion: Conditioning = AUTO, seed: int = 0, where: str = "audio",
        smooth_ms: float = 0.0, mirror: bool = False,
    ) -> Animation:  # fmt: skip
        """Animate a recording. Without speech in it the face is at rest: all zeros.

        Args:
            samples: (n,) or (n, channels), float in [-1, 1] or integer PCM; channels are averaged,
                or the louder one is used where they cancel each other out.
            rate: sample rate in Hz; anything is resampled.
            identity: "auto" for the library's entry most like the voice; a name of
                ``identities``; weights over names; or an embedding from ``recognise``.
            emotion: likewise.
            seed: of the noise, 0 to 2^64 - 1; the same seed gives the same animation everywhere.
            where: names the recording in errors.
            smooth_ms: time constant of a moving average; lip closures are kept.
            mirror: swap left and right.

        Raises:
            UserError: bad audio (see ``as_waveform``), an unknown name or a bad value.
        """
        made = self.animate_chunks(samples, rate, identity, emotion, seed, where, smooth_ms, mirror)
        return Animation(made.concatenate(), made.identity, made.emotion, notes=made.notes)

    def animate_chunks(
        self, samples: np.ndarray, rate: int, identity: Conditioning = AUTO,
        emotion: Conditioning = AUTO, seed: int = 0, where: str = "audio",
        smooth_ms: float = 0.0, mirror: bool = False, check: Callable[[], None] = no_operation,
    ) -> ChunkedAnimation:  # fmt: skip
        """``animate``, whose frames are computed chunk by chunk as they are taken. Before that the
        whole recording is encoded; ``check`` is called before every 10 s of it, and an exception
        that it raises ends the work."""
        return offline.animate_chunks(
            self.graphs, samples, rate, identity, emotion, seed, where, smooth_ms, mirror, check
        )

    def recognise(
        self, samples: np.ndarray, rate: int, where: str = "audio",
        check: Callable[[], None] = no_operation,
    ) -> Recognised:  # fmt: skip
        """Identity and emotion of the voice in a recording; ``check`` as in ``animate_chunks``.

        Raises:
            UserError: as ``animate``.
        """
        return offline.recognise(self.graphs, samples, rate, where, check)

    def stream(self, rate: int = SAMPLE_RATE, **options: Any) -> Stream:
        """Begin a live stream; the options are those of ``Stream``. Many streams take less time as
        ``streams``.

        Raises:
            UserError: as ``Stream`` and ``streams``.
        """
        return Stream(self.streams(), rate, **options)

    def streams(self) -> StreamBatch:
        """A batch for ``Stream``: its streams can be advanced together (``stream.push_together``).

        Raises:
            UserError: the student takes whole recordings only.
        """
        return StreamBatch(self.graphs)
