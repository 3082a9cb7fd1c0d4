"""The student as people embed it: audio in, coefficients out, on numpy and ONNX Runtime.

An artifact is a folder: ``config.yaml``, ``model.safetensors``, ``student.onnx``, ``README.md``.
The graph holds the audio encoder, the personalizer and all sampling steps; the front end and the
noise are numpy.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import yaml

from diffusiontalker import audio, storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.log_mel import frame_count, log_mel

FORMAT_VERSION = 1
FILES = ("config.yaml", "model.safetensors", "student.onnx", "README.md")
MAX_CONFIG_BYTES = 2**24
MAX_BYTES = 2**31
"""Largest graph that is read: ONNX files cannot be larger."""
AUTO = "auto"


@dataclass(frozen=True)
class Animation:
    """A face for a recording."""

    coefficients: np.ndarray
    """(frames, 52) float32 in 0-1, channels in ``arkit.CHANNELS``."""
    identity: str
    """The library entry used: named, or the one most like the voice."""
    emotion: str
    fps: int = FPS


class Student:
    """A loaded artifact."""

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        """Load and check an artifact.

        Args:
            folder: the artifact, local or ``s3://``; nothing is kept on disk of the latter.
            threads: CPU threads of ONNX Runtime.

        Raises:
            UserError: a file is missing or damaged, two of them do not belong together, the
                channels are in another order, or S3 refuses or does not answer.
        """
        self.folder = storage.location(folder)
        self.config = read_config(self.folder)
        self.identities: list[str] = self.config["identities"]
        self.emotions: list[str] = self.config["emotions"]
        self.steps: int = self.config["steps"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = self.folder / "student.onnx"
        graph = storage.read_bytes(path, MAX_BYTES)
        try:
            self.session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise UserError(f"{path}: cannot be loaded ({str(error)[:200]})") from error
        sizes = {node.name: node.shape[-1] for node in self.session.get_inputs()}
        for kind, names in (("identity", self.identities), ("emotion", self.emotions)):
            if sizes.get(kind) != len(names):
                raise UserError(
                    f"{self.folder}: student.onnx does not belong to config.yaml, which has "
                    f"{len(names)} names for {kind}; export it again"
                )

    def animate(
        self,
        samples: np.ndarray,
        rate: int,
        identity: str = AUTO,
        emotion: str = AUTO,
        seed: int = 0,
        where: str = "audio",
    ) -> Animation:
        """Animate a recording.

        Args:
            samples: (n,) or (n, channels), float in [-1, 1] or integer PCM.
            rate: sample rate in Hz; anything is resampled.
            identity: a name of ``identities``, or "auto" for the one most like the voice.
            emotion: a name of ``emotions``, or "auto".
            seed: of the noise; the same seed gives the same face.
            where: names the recording in errors.

        Raises:
            UserError: bad audio (see ``audio.prepare``), an unknown name or a negative seed.
        """
        if seed < 0:
            raise UserError(f"seed {seed}: must be 0 or more")
        given_identity, own_identity = self._choice(identity, self.identities, "identity")
        given_emotion, own_emotion = self._choice(emotion, self.emotions, "emotion")
        prepared = audio.prepare(samples, rate, where)
        frames = frame_count(len(prepared))
        noise = np.random.default_rng(seed).standard_normal((1, frames, len(CHANNELS)), np.float32)
        coefficients, heard_identity, heard_emotion = self.session.run(
            ["coefficients", "identity_similarity", "emotion_similarity"],
            {
                "log_mel": log_mel(prepared)[None],
                "noise": noise,
                "identity": given_identity,
                "emotion": given_emotion,
                "from_voice": np.array([own_identity, own_emotion], np.float32),
            },
        )
        return Animation(
            coefficients=coefficients[0],
            identity=self.identities[int(heard_identity.argmax())] if own_identity else identity,
            emotion=self.emotions[int(heard_emotion.argmax())] if own_emotion else emotion,
        )

    @staticmethod
    def _choice(name: str, names: list[str], kind: str) -> tuple[np.ndarray, bool]:
        """One-hot weights (1, N) over the library, and whether the voice decides instead."""
        weights = np.zeros((1, len(names)), np.float32)
        if name == AUTO:
            return weights, True
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names[:20])}"
            raise UserError(f"unknown {kind} {name!r}; {hint} (or {AUTO!r})")
        weights[0, names.index(name)] = 1.0
        return weights, False


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check an artifact's ``config.yaml`` and the presence of its other files.

    Raises:
        UserError: not an artifact, a missing file, another version, other channels.
    """
    missing = [name for name in FILES if not storage.is_file(folder / name)]
    if len(missing) == len(FILES):
        raise UserError(f"{folder}: no such artifact folder")
    if missing:
        raise UserError(f"{folder}: the artifact lacks {missing[0]}; export it again")
    path = folder / "config.yaml"
    content = storage.read_bytes(path, MAX_CONFIG_BYTES)
    try:
        config = yaml.safe_load(content)
        version = config["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(
                f"{folder}: artifact format {version}, but this release reads {FORMAT_VERSION}"
            )
        channels, names = config["channels"], [*config["identities"], *config["emotions"]]
        sound = all(isinstance(name, str) for name in names) and int(config["steps"]) > 0
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not an artifact's configuration") from error
    if not sound:
        raise UserError(f"{path}: not an artifact's configuration")
    if channels != list(CHANNELS):
        raise UserError(
            f"{path}: the channels are not the 52 in this release's order; "
            "an artifact's channel order must not be edited"
        )
    return config
