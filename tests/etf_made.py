"""A small 3D-ETF made for tests: names, shapes and rates as published, faces and voices made up."""

from pathlib import Path

import numpy as np
import soundfile

from diffusiontalker.arkit import CHANNELS, INDEX

RAVDESS = tuple(
    f"03-01-{emotion}-01-01-{repetition}-{actor}"
    for actor in ("01", "12")
    for emotion in ("01", "05")
    for repetition in ("01", "02")
)
HDTF = ("RD_Radio11_000", "RD_Radio11_001", "WDA_BarbaraLee0_000", "WRA_TomUdall_000_01")


def face(stem: str, seconds: float, fps: float = 30.0) -> np.ndarray:
    """Coefficients (T, 52) float64 that follow from the stem: a jaw that speaks, slow brows."""
    times = np.arange(round(seconds * fps)) / fps
    phase = sum(stem.encode()) % 7
    values = np.zeros((len(times), len(CHANNELS)))
    values[:, INDEX["jawOpen"]] = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * times + phase)
    values[:, INDEX["browInnerUp"]] = 0.2 + 0.1 * np.sin(times + phase)
    return values


def voice(stem: str, seconds: float, rate: int) -> np.ndarray:
    """Noise (n,) as loud as the jaw of ``face`` is open."""
    times = np.arange(round(seconds * rate)) / rate
    opening = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * times + sum(stem.encode()) % 7)
    noise = np.random.default_rng(list(stem.encode())).uniform(-1, 1, len(times))
    return opening * noise


def write_take(
    root: Path, stem: str, seconds: float = 2.5, arrays: str = "", wavs: str = ""
) -> None:
    """``stem.npy`` in the folder ``arrays`` and ``stem.wav`` in ``wavs``."""
    for folder in (root / arrays, root / wavs):
        folder.mkdir(parents=True, exist_ok=True)
    np.save(root / arrays / f"{stem}.npy", face(stem, seconds))
    soundfile.write(root / wavs / f"{stem}.wav", voice(stem, seconds, 16_000), 16_000)


def make_etf(root: Path, seconds: float = 2.5, arrays: str = "npy", wavs: str = "wav") -> Path:
    """Two actors of RAVDESS and three videos of HDTF; arrays and recordings in two folders, or
    beside each other if the folders are the same."""
    for stem in (*RAVDESS, *HDTF):
        write_take(root, stem, seconds, arrays, wavs)
    return root
