"""Whether a take can teach anything: speech that is heard, a face that moves, channels that add up.

All bounds are our choice.
"""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from diffusiontalker import storage
from diffusiontalker.audio.level import BLOCK, FLOOR_DB
from diffusiontalker.audio.recording import OTHER_SUFFIXES, SUFFIXES

STILL = 0.001
"""A face of which no channel reaches over more than this does not move."""
CANCELLED_DB = 10.0
"""Channels of which the mix is weaker than they are by more than this cancel each other. Those of
two microphones lose 3 dB, those in phase nothing."""


def is_frozen(coefficients: np.ndarray) -> bool:
    """Whether coefficients (T, 52) are of a face that does not move."""
    return bool(np.ptp(coefficients, axis=0).max() < STILL)


def lifeless(silent: bool, frozen: bool) -> str | None:
    """Why a take teaches nothing; None: it does."""
    if silent:
        return f"silent: nothing in its audio is louder than {FLOOR_DB} dB (full scale is 0)"
    if frozen:
        return f"the face does not move: no channel reaches over more than {STILL:g}"
    return None


def cancelled_db(path: Path) -> float:
    """By how much mixing its channels weakens a recording, in dB; 0 where that cannot be known.

    Local, or in S3; of one channel, nothing but the header is read.
    """

    def measure() -> float:
        if not storage.is_remote(path):
            return _loss(path)
        with storage.open_input(path) as file:
            return _loss(file)

    try:
        return storage.explained("read", path, measure)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):
        return 0.0  # ``read_recording`` says of it what there is to say


def _loss(file: Any) -> float:
    apart = mixed = 0.0
    with soundfile.SoundFile(file) as sound:
        if sound.channels == 1:
            return 0.0
        for block in sound.blocks(BLOCK, dtype="float32", always_2d=True):
            moving = block - block.mean(0)
            apart += float(np.square(moving).mean(1).sum())
            mixed += float(np.square(moving.mean(1)).sum())
        silent = apart / max(sound.frames, 1) < 10 ** (FLOOR_DB / 10)
    return 0.0 if silent else min(10 * float(np.log10(apart / max(mixed, apart * 1e-9))), 90.0)


def sound_of(files: tuple[str, ...]) -> str | None:
    """The recording among the files of a take, by its suffix."""
    kinds = (*SUFFIXES, *OTHER_SUFFIXES)
    return next((name for name in files if name.lower().endswith(kinds)), None)
