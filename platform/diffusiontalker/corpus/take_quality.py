"""Detection of silent and static takes, and of audio channels in opposite phase.

All bounds are our choice.
"""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from diffusiontalker import storage
from diffusiontalker.audio.level import BLOCK, FLOOR_DB
from diffusiontalker.audio.recording import ALL_SUFFIXES

STILL = 0.001
"""A face is static if the range of every channel is below this."""
CANCELLED_DB = 10.0
"""Audio channels cancel each other if their mix is weaker than they are by more than this. Those of
two microphones lose 3 dB, those in phase nothing."""


def is_static(coefficients: np.ndarray) -> bool:
    """Whether no channel of coefficients (T, 52) changes."""
    return bool(np.ptp(coefficients, axis=0).max() < STILL)


def rejection(silent: bool, static: bool) -> str | None:
    """Why a take is of no use for training; None: it is of use."""
    if silent:
        return f"silent: nothing in its audio is louder than {FLOOR_DB} dB (full scale is 0)"
    if static:
        return f"the face does not move: no channel has a range above {STILL:g}"
    return None


def cancelled_db(path: Path) -> float:
    """Loss of level by mixing the channels of a recording to mono, in dB; 0 if it is unknown.

    The file is local or in S3; of a mono file only the header is read.
    """

    def measure() -> float:
        if not storage.is_remote(path):
            return _mixing_loss(path)
        with storage.open_input(path) as file:
            return _mixing_loss(file)

    try:
        return storage.explained("read", path, measure)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):
        return 0.0  # reported by ``read_recording``


def _mixing_loss(file: Any) -> float:
    separate = mixed = 0.0
    with soundfile.SoundFile(file) as sound:
        if sound.channels == 1:
            return 0.0
        for block in sound.blocks(BLOCK, dtype="float32", always_2d=True):
            centred = block - block.mean(0)
            separate += float(np.square(centred).mean(1).sum())
            mixed += float(np.square(centred.mean(1)).sum())
        silent = separate / max(sound.frames, 1) < 10 ** (FLOOR_DB / 10)
    if silent:
        return 0.0
    return min(10 * float(np.log10(separate / max(mixed, separate * 1e-9))), 90.0)


def audio_file(files: tuple[str, ...]) -> str | None:
    """The recording among the files of a take, by its suffix."""
    return next((name for name in files if name.lower().endswith(ALL_SUFFIXES)), None)
