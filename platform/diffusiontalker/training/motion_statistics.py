"""What a talker takes from the training data before it is trained: scales, movement, blinks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffusiontalker.arkit import FPS, GAZE
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.diffusion.noise import correlations
from diffusiontalker.model.gaze import to_directions
from diffusiontalker.training.blinks import blink_shape, find_blinks, without_blinks

MAX_FRAMES = 2 * 3600 * 30
"""Two hours of motion describe a corpus; a larger one is sampled shard by shard."""
MIN_DEVIATION = 0.01
"""Least standard deviation, for channels that (almost) never move."""
SACCADE = 0.25
"""Least change of the gaze from frame to frame in a saccade, in standard deviations of its
direction: our choice."""
MIN_GAZE = 0.01
"""Least standard deviation of a gaze that moves."""
REFRACTORY = 4
"""Frames between two saccades, at least."""
MAX_SACCADES = 4 / FPS
"""Most saccades in a frame: eyes make three to four a second."""
MIN_MOVEMENT = 1e-3
"""Least mean square of differences, likewise."""


@dataclass(frozen=True)
class MotionStatistics:
    """Of all faces, per channel; without their blinks if these have a shape, and with directions of
    gaze (``model.gaze``)."""

    mean: np.ndarray
    """(52,) float32."""
    deviation: np.ndarray
    """(52,) float32, at least ``MIN_DEVIATION``."""
    correlations: np.ndarray
    """(2, 52) float32, of noise that moves as the channels do (``diffusion.noise``)."""
    movement_variance: np.ndarray
    """(2, 52) float32: mean squares of first and second differences, standardised."""
    saccade_rate: float
    """Jumps of the gaze in a frame; 0 where it does not move."""
    blink_shape: tuple[float, ...]
    """As ``BlinkParameters.shape``; empty: there are too few blinks to describe them."""
    blink_rate: float
    """Blinks in a frame."""


def motion_statistics(data: CorpusFolder, blinks: bool = True) -> MotionStatistics:
    """Read the training shards, evenly spaced ones where there are many.

    Args:
        data: the corpus.
        blinks: describe its blinks.

    Raises:
        UserError: a shard is missing or corrupt.
    """
    listed = data.manifest.of("train")
    every = max(round(sum(shard.frames for shard in listed) / MAX_FRAMES), 1)
    tables = (
        shards.read_table(data.folder / shard.file, ["id", "frames", "coefficients"])
        for shard in listed[::every]
    )
    faces = [clip.coefficients for table in tables for clip in shards.clips_of(table)]
    return statistics_of(faces, blinks)


def statistics_of(faces: Sequence[np.ndarray], blinks: bool = True) -> MotionStatistics:
    """Of faces (T, 52), as ``motion_statistics``."""
    found = [find_blinks(face) if blinks else [] for face in faces]
    bases = [without_blinks(face, each) for face, each in zip(faces, found, strict=True)]
    shape = blink_shape(zip(faces, bases, found, strict=True))
    if not shape:
        bases = list(faces)
    bases = [to_directions(torch.tensor(base)).numpy() for base in bases]
    together = np.concatenate(bases).astype(np.float64)
    deviation = np.maximum(together.std(0), MIN_DEVIATION)

    def movement(order: int) -> np.ndarray:
        each = [np.diff(base, order, axis=0) for base in bases]
        return np.concatenate(each) / deviation

    speed, acceleration = movement(1), movement(2)
    lags = correlations(np.abs(speed).mean(0), np.abs(acceleration).mean(0))
    squares = np.stack([np.square(speed).mean(0), np.square(acceleration).mean(0)])
    return MotionStatistics(
        mean=together.mean(0).astype(np.float32),
        deviation=deviation.astype(np.float32),
        correlations=lags.astype(np.float32),
        movement_variance=np.maximum(squares, MIN_MOVEMENT).astype(np.float32),
        saccade_rate=saccade_rate(bases),
        blink_shape=shape,
        blink_rate=sum(map(len, found)) / len(together),
    )


def saccade_rate(faces: Sequence[np.ndarray]) -> float:
    """Jumps of the gaze in a frame, of faces (T, 52) with directions (``model.gaze``).

    A jump is a run of frames that move by ``SACCADE``, or by four times the median movement, which
    is what a tracker's noise makes; one within ``REFRACTORY`` frames of another counts as the same.
    """
    gaze = [face[:, [GAZE.start, GAZE.start + 2]].astype(np.float64) for face in faces]
    deviation = np.concatenate(gaze).std(0)
    if deviation.max() < MIN_GAZE:
        return 0.0
    speeds = [
        np.linalg.norm(np.diff(each, axis=0) / np.maximum(deviation, MIN_GAZE), axis=1)
        for each in gaze
    ]
    least = max(SACCADE, 4 * float(np.median(np.concatenate(speeds))))
    jumps = sum(_jumps(np.flatnonzero(speed > least)) for speed in speeds)
    return min(jumps / sum(map(len, gaze)), MAX_SACCADES)


def _jumps(frames: np.ndarray) -> int:
    """Runs of frame numbers (N,) that lie apart by more than ``REFRACTORY``."""
    return int(len(frames) > 0) + int(np.count_nonzero(np.diff(frames) > REFRACTORY))
