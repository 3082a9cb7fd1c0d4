"""From clips to training windows: crops of fixed length with masks, as NumPy arrays.

Pure functions of a table of clips and a seed; Ray Data calls them on one shard at a time.
"""

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.shards import Clip, clips_of, read_table
from diffusiontalker.runtime.log_mel import PER_FRAME

Example = dict[str, np.ndarray]
Examples = Callable[[Clip, np.random.Generator], list[Example]]
UNKNOWN = -1
"""Index of an identity or emotion that the clip does not name."""
IGNORED = -100
"""Phoneme label of audio that counts for nothing, as in torch's cross-entropy."""


def windows_in(frames: int, window: int) -> int:
    """How many windows a pass takes from a clip: about as many as cover it once."""
    return max(round(frames / window), 1)


class MotionExamples:
    """Windows of coefficients with cached features and log-mel, for the teacher and the rounds."""

    columns = ("id", "identity", "emotion", "frames", "coefficients", "features", "log_mel")

    def __init__(self, window: int, identities: Sequence[str], emotions: Sequence[str]) -> None:
        self.window = window
        self.identities = {name: i for i, name in enumerate(identities)}
        self.emotions = {name: i for i, name in enumerate(emotions)}

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Example]:
        """Random windows of one clip; a shorter clip is padded and masked."""
        assert clip.features is not None
        assert clip.log_mel is not None
        frames, size = len(clip.coefficients), self.window
        out: list[Example] = []
        for _ in range(windows_in(frames, size)):
            start = int(rng.integers(0, max(frames - size, 0) + 1))
            stop = min(start + size, frames)
            out.append(
                {
                    "coefficients": _pad(clip.coefficients[start:stop], size),
                    "features": _pad(clip.features[start:stop], size),
                    "log_mel": _pad(
                        clip.log_mel[start * PER_FRAME : stop * PER_FRAME], size * PER_FRAME
                    ),
                    "mask": _pad(np.ones(stop - start, np.float32), size),
                    "identity": np.array(self.identities.get(clip.identity or "", UNKNOWN)),
                    "emotion": np.array(self.emotions.get(clip.emotion or "", UNKNOWN)),
                }
            )
        return out


class PhonemeExamples:
    """Windows of audio with a phoneme for each output of the encoder."""

    columns = ("id", "frames", "audio", "phones", "phone_starts")

    def __init__(self, seconds: float, phonemes: Sequence[str], stride: int, field: int) -> None:
        self.samples = round(seconds * SAMPLE_RATE)
        self.phonemes = {name: i for i, name in enumerate(phonemes)}
        self.stride, self.field = stride, field

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Example]:
        """Random windows of one clip, with a random level and a little noise.

        A clip without phoneme times counts for nothing, but gives as many windows as any other:
        the number of steps is known beforehand.
        """
        labels, starts = np.array([IGNORED]), np.zeros(1)
        if clip.phones and clip.phone_starts is not None:
            labels = np.array([self.phonemes.get(base_phoneme(p), IGNORED) for p in clip.phones])
            starts = clip.phone_starts
        out: list[Example] = []
        for _ in range(windows_in(len(clip.audio), self.samples)):
            start = int(rng.integers(0, max(len(clip.audio) - self.samples, 0) + 1))
            audio = clip.audio[start : start + self.samples] * 10 ** (rng.uniform(-6, 6) / 20)
            noise = 10 ** (-rng.uniform(25, 60) / 20) * 0.07
            outputs = (self.samples - self.field) // self.stride + 1
            centres = np.arange(outputs) * self.stride + self.field / 2
            times = (start + centres) / SAMPLE_RATE
            at = np.searchsorted(starts, times, side="right") - 1
            label = np.where(centres < len(audio), labels[np.maximum(at, 0)], IGNORED)
            audio = _pad(audio, self.samples) + noise * rng.normal(size=self.samples)
            out.append({"audio": audio.astype(np.float32), "labels": label.astype(np.int64)})
        return out


def base_phoneme(ipa: str) -> str:
    """An IPA symbol without stress, length or other marks."""
    return "".join(c for c in ipa if c not in "ˈˌːˑ" and not unicodedata.combining(c))


class ShardReader:
    """Reads whole shards in tasks of Ray Data. It lives here, where torch is not imported: every
    process that runs it would otherwise load torch first."""

    def __init__(self, columns: Sequence[str], examples: Examples) -> None:
        self.columns, self.examples = list(columns), examples

    def __call__(self, batch: dict[str, Any]) -> Example:
        """All examples of the one shard that ``batch`` names: path and seed."""
        rng = np.random.default_rng(list(batch["seed"][0]))
        rows: list[Example] = []
        for clip in clips_of(read_table(Path(batch["path"][0]), self.columns)):
            rows.extend(self.examples(clip, rng))
        rng.shuffle(rows)
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _pad(values: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, *values.shape[1:]), np.float32)
    out[: len(values)] = values
    return out
