"""LBE of streams, which know neither level nor voice beforehand, against whole recordings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from statistics import fmean

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.objectives import metrics
from diffusiontalker.runtime.conditioning import AUTO
from diffusiontalker.runtime.student import Student
from diffusiontalker.summary.run import Streaming, StreamingCost

PUSH = SAMPLE_RATE // 25
"""Samples of a push: 40 ms."""
SEEDS = 4
SETTLED = FPS
"""Frames, a second, after which the moving averages of a stream know something of its voice."""


def measure(
    student: Student, clips: Sequence[Clip], most: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Streaming | None:  # fmt: skip
    """``compare`` for the first ``most`` clips, and, as ``joined``, for each speaker's clips one
    after another: a stream of clips of a few seconds is mostly its beginning.

    ``progress`` is called after each with the number of those done and of all.
    """
    some, long = clips[:most], joined(clips)
    done = count(1)

    def one_more() -> None:
        progress(next(done), len(some) + len(long))

    found = compare(student, some, one_more)
    if found is None:
        return None
    return Streaming(**found.model_dump(), joined=compare(student, long, one_more))


def compare(
    student: Student, clips: Sequence[Clip], one_more: Callable[[], object] = lambda: None
) -> StreamingCost | None:
    """LBE of the same clips with the same seeds as whole recordings and as streams: identity and
    emotion pinned to those of the whole recording, or followed. None for a student that cannot be
    streamed. ``one_more`` is called after each clip."""
    if student.look_ahead is None:
        return None
    lbe: dict[str, list[float]] = {"whole": [], "pinned": [], "followed": []}
    settled: dict[str, list[float]] = {"whole": [], "followed": []}
    for clip in clips:
        for seed in range(SEEDS):
            whole = student.animate(clip.audio, SAMPLE_RATE, seed=seed)
            pinned = whole.identity or AUTO, whole.emotion or AUTO  # silence has none
            faces = {
                "whole": whole.coefficients,
                "pinned": stream(student, clip.audio, seed, *pinned),
                "followed": stream(student, clip.audio, seed),
            }
            frames = min(len(whole.coefficients), len(clip.coefficients))
            for way, face in faces.items():
                lbe[way].append(metrics.lbe(face[:frames], clip.coefficients[:frames]))
                if way in settled and frames > SETTLED:
                    settled[way].append(
                        metrics.lbe(face[SETTLED:frames], clip.coefficients[SETTLED:frames])
                    )
        one_more()
    whole_lbe, pinned_lbe, followed_lbe = map(fmean, lbe.values())
    return StreamingCost(
        look_ahead_ms=student.stream().look_ahead_ms,
        clips=len(clips),
        settled_clips=len(settled["whole"]) // SEEDS,
        seconds_per_clip=fmean(len(clip.coefficients) for clip in clips) / FPS,
        lbe_whole=whole_lbe,
        lbe_pinned=pinned_lbe,
        lbe=followed_lbe,
        pinned_growth=pinned_lbe / whole_lbe - 1,
        growth=followed_lbe / whole_lbe - 1,
        settled_growth=fmean(settled["followed"]) / fmean(settled["whole"]) - 1
        if settled["whole"]
        else None,
    )


def joined(clips: Sequence[Clip]) -> list[Clip]:
    """Each speaker's clips one after another as one clip, in which emotions change."""
    speakers: dict[str | None, list[Clip]] = {}
    for clip in clips:
        speakers.setdefault(clip.identity, []).append(clip)
    return [
        replace(
            own[0],
            audio=np.concatenate([_fitted(clip) for clip in own]),
            coefficients=np.concatenate([clip.coefficients for clip in own]),
        )
        for own in speakers.values()
    ]


def _fitted(clip: Clip) -> np.ndarray:
    """The audio of a clip, cut or padded to the length of its face."""
    samples = round(len(clip.coefficients) * SAMPLE_RATE / FPS)
    return np.pad(clip.audio[:samples], (0, max(samples - len(clip.audio), 0)))


def stream(
    student: Student, audio: np.ndarray, seed: int = 0, identity: str = AUTO, emotion: str = AUTO
) -> np.ndarray:
    """The face (T, 52) of a recording (n,) at 16 kHz that is pushed 40 ms at a time."""
    pushed = student.stream(seed=seed, identity=identity, emotion=emotion)
    parts = [pushed.push(audio[i : i + PUSH]) for i in range(0, len(audio), PUSH)]
    return np.concatenate([*parts, pushed.close()])
