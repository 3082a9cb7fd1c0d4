"""A set of recordings made for tests, in the layout that ``own_source.Pairs`` reads."""

from pathlib import Path

import numpy as np
import soundfile

from diffusiontalker.arkit import CHANNELS, INDEX

KIND = str(Path(__file__).parent / "own_source.py") + ":Pairs"
SPEAKERS = ("ann", "bob", "cleo", "dan")


def write_take(root: Path, name: str, seconds: float = 2.5, rate: int = 22_050) -> None:
    """``name.wav`` of syllables of noise, and ``name.npy`` whose jaw opens with them."""
    rng = np.random.default_rng(list(name.encode()))
    starts = np.cumsum(rng.uniform(0.15, 0.5, round(seconds * 4)))

    def syllables(times: np.ndarray) -> np.ndarray:
        near = starts[np.clip(np.searchsorted(starts, times), 1, len(starts) - 1)]
        before = starts[np.clip(np.searchsorted(starts, times) - 1, 0, len(starts) - 1)]
        gap = np.minimum(np.abs(times - near), np.abs(times - before))
        return np.exp(-((gap / 0.06) ** 2))

    frames = np.arange(round(seconds * 30)) / 30
    face = np.zeros((len(frames), len(CHANNELS)), np.float32)
    face[:, INDEX["jawOpen"]] = 0.6 * syllables(frames)
    face[:, INDEX["browInnerUp"]] = 0.1 + 0.1 * np.sin(frames)
    clock = np.arange(round(seconds * rate)) / rate
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_suffix(".npy"), face)
    sound = 0.3 * syllables(clock) * rng.normal(size=len(clock))
    soundfile.write(path.with_suffix(".wav"), np.clip(sound, -1, 1), rate)


def write_set(root: Path, each: int = 3, seconds: float = 2.5) -> Path:
    """``each`` takes of every speaker in anger and without a label."""
    for speaker in SPEAKERS:
        for emotion in ("anger", "unlabelled"):
            for number in range(each):
                write_take(root, f"{speaker}/{emotion}/{number}", seconds)
    return root
