"""Small data sets in their published layouts, whose mouths open when their voices are loud."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from diffusiontalker import arkit
from diffusiontalker.animation import livelink

RATE = 16_000
BEAT_TAKES = (
    "1_wayne_0_1_1",
    "1_wayne_0_9_9",
    "1_wayne_0_65_65",
    "2_scott_0_1_1",
    "2_scott_0_56_56",
    "2_scott_1_12_12",
)
"""Monologues and a conversation of two speakers, of every split and two emotions."""
FOLDER_TAKES = ("ada/one.csv", "ada/two.npz", "bob/one.json", "bob/two.npy")


def openness(times: np.ndarray, seconds: float, seed: int = 0) -> np.ndarray:
    """How far the mouth is open at ``times`` (T,) seconds, 0 to 1: some four syllables a second,
    of uneven length and strength, so that only one lag fits."""
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.uniform(0.18, 0.34, int(seconds / 0.18) + 1))
    strengths = rng.uniform(0.3, 1.0, len(onsets))
    nearest = np.searchsorted((onsets[1:] + onsets[:-1]) / 2, times)
    since = np.clip((times - onsets[nearest]) / 0.08, -1, 1)
    return np.asarray(strengths[nearest] * (0.5 + 0.5 * np.cos(np.pi * since)))


def speech(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A buzz with some hiss, as loud as ``openness``: (n,) float32."""
    times = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 9))
    hiss = np.random.default_rng(seed).normal(0, 0.3, len(times))
    return (0.2 * openness(times, seconds, seed) * (buzz + hiss)).astype(np.float32)


def face(seconds: float, seed: int = 0, fps: float = 60.0, lag: float = 0.0) -> np.ndarray:
    """Coefficients (T, 52) whose jaw follows ``openness``, ``lag`` seconds late."""
    times = np.arange(round(seconds * fps)) / fps
    values = np.full((len(times), len(arkit.CHANNELS)), 0.01, np.float32)
    values[:, arkit.INDEX["jawOpen"]] = 0.7 * openness(times - lag, seconds, seed)
    values[:, arkit.INDEX["mouthFunnel"]] = 0.2 * openness(times - lag, seconds, seed)
    values[:, arkit.INDEX["browInnerUp"]] = 0.3 + 0.2 * np.sin(times)
    values[:, arkit.INDEX["tongueOut"]] = 0.0
    return values


def beat_json(values: np.ndarray, times: np.ndarray, names: Sequence[str]) -> str:
    """A take's JSON as published: no rate, and time stamps in seconds."""
    columns = values[:, [arkit.INDEX[name] for name in names]]
    frames = [
        {"weights": row, "time": time, "rotation": []}
        for row, time in zip(columns.astype(float).tolist(), times.tolist(), strict=True)
    ]
    return json.dumps({"names": list(names), "frames": frames})


def text_grid(seconds: float) -> str:
    """As the aligner writes it: "hello" in the first half of a take, "wide world" in the second."""
    half = seconds / 2
    words = [(0.0, half, "hello"), (half, 1.5 * half, "wide"), (1.5 * half, seconds, "world")]
    phones = [(0.0, half, "AH0"), (half, 1.5 * half, "sil"), (1.5 * half, seconds, "W")]
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {seconds}\n'
    text = f"{head}tiers? <exists>\nsize = 2\nitem []:\n"
    for number, (name, spans) in enumerate((("words", words), ("phones", phones)), start=1):
        text += f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n'
        text += f"        xmin = 0\n        xmax = {seconds}\n        intervals: size = 3\n"
        for place, (start, end, label) in enumerate(spans, start=1):
            text += f"        intervals [{place}]:\n            xmin = {start}\n"
            text += f'            xmax = {end}\n            text = "{label}"\n'
    return text


def make_beat(
    root: Path,
    takes: Sequence[str] = BEAT_TAKES,
    seconds: float = 3.0,
    fps: float = 60.0,
    lag: float = 0.0,
    start: float = 0.0,
    channels: Sequence[str] = arkit.CHANNELS[:-1],
) -> Path:
    """BEAT of these takes below ``root``; every one sounds different. Time stamps begin at
    ``start``, before which the face is not recorded."""
    for seed, take in enumerate(takes):
        folder = root / take.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        values = face(seconds, seed, fps, lag)[round(start * fps) :]
        times = start + np.arange(len(values)) / fps
        (folder / f"{take}.json").write_text(beat_json(values, times, channels))
        soundfile.write(folder / f"{take}.wav", speech(seconds, seed), RATE, subtype="PCM_16")
        (folder / f"{take}.TextGrid").write_text(text_grid(seconds))
        (folder / f"{take}.csv").write_text("1_neutral,0,3\n")
    return root


def make_folder(
    root: Path,
    takes: Sequence[str] = FOLDER_TAKES,
    index: str | None = None,
    seconds: float = 3.0,
    fps: float = 30.0,
    lag: float = 0.0,
) -> Path:
    """A user's folder of these files of coefficients with a ``.wav`` beside each, and the text of
    an ``index.csv``. Arrays hold what they can: an ``.npz`` names and rate, an ``.npy`` nothing."""
    for seed, take in enumerate(takes):
        path = root / take
        path.parent.mkdir(parents=True, exist_ok=True)
        values = face(seconds, seed, fps, lag)
        if path.suffix == ".csv":
            path.write_text(livelink.encode(values, fps))
        elif path.suffix == ".json":
            path.write_text(beat_json(values, np.arange(len(values)) / fps, arkit.CHANNELS))
        elif path.suffix == ".npz":
            np.savez(path, coefficients=values, names=np.array(arkit.CHANNELS), fps=fps)
        else:
            np.save(path, values)
        sound = path.with_suffix(".wav")
        soundfile.write(sound, speech(seconds, seed), RATE, subtype="PCM_16")
    if index is not None:
        (root / "index.csv").write_text(index, encoding="utf-8")
    return root
