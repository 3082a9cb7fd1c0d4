"""What is measured of faces that speak recordings of people, and its aims."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from diffusiontalker.arkit import FPS, LIP
from diffusiontalker.config import HumanBenchmarkSettings
from diffusiontalker.corpus.phonemes import PAUSE
from diffusiontalker.evaluation.goals import at_least, at_most
from diffusiontalker.objectives.articulation import (
    MIN_PAUSE,
    Phones,
    gestures,
    mean,
)
from diffusiontalker.objectives.behaviour import behaviour
from diffusiontalker.summary.run import Figure, Goal

CLOSURE, ELSEWHERE, CLOSURE_AUC, ROUNDING_AUC, JAW = 0.6, 0.05, 0.95, 0.85, 0.06
"""Aims."""
EDGE = 0.1
"""Seconds at either end of a pause in which a mouth may still close, or open already."""


class Figures(BaseModel):
    """Measures of one face or of several; those of phones pool over all phones."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    seconds: float
    bilabials: int
    """Number of p, b, m."""
    closure: Figure
    """As in ``objectives.articulation.Articulation``, and so are the AUCs and ``jaw_in_pauses``."""
    aperture_closed: Figure
    """Mean over p, b, m of the least aperture in them."""
    aperture_open: Figure
    """Mean aperture in the middle of open vowels."""
    closed_elsewhere: Figure
    closure_auc: Figure
    rounding_auc: Figure
    jaw_in_pauses: Figure
    closure_lag_ms: Figure
    """Median lag of the closure behind the middle of p, b, m."""
    mouth_in_pauses: Figure
    """Mean of the lip region's channels in pauses, without ``EDGE``; 0 at rest."""
    blinks_per_minute: Figure
    blinks_single: Figure
    """Share of the blinks that last a single frame."""
    blinks_length_ms: Figure
    """The median."""


class Report(BaseModel):
    """``human.json``."""

    machine: dict[str, Any]
    settings: HumanBenchmarkSettings
    pooled: Figures
    """Of all recordings together."""
    recordings: dict[str, Figures]
    aims: list[Goal]


def measure(faces: Sequence[np.ndarray], phones: Sequence[Phones]) -> Figures:
    """Measure faces (T, 52) at 30 fps whose phones are known."""
    found = gestures(faces, phones)
    return Figures(
        seconds=sum(map(len, faces)) / FPS,
        bilabials=len(found.closed),
        aperture_closed=mean(found.closed),
        aperture_open=mean(found.opened),
        mouth_in_pauses=mean(_mouth_in_pauses(faces, phones)),
        **behaviour(faces, phones),
    )


def _mouth_in_pauses(faces: Sequence[np.ndarray], phones: Sequence[Phones]) -> list[float]:
    """The mean of the lip region's channels in every frame of a long pause."""
    return [
        float(level)
        for face, spoken in zip(faces, phones, strict=True)
        for phone, start, end in spoken
        if phone == PAUSE and end - start > MIN_PAUSE
        for level in face[round((start + EDGE) * FPS) : round((end - EDGE) * FPS) + 1, LIP].mean(1)
    ]


def aims(pooled: Figures) -> list[Goal]:
    """Each aim with its value, its target, and whether it is met."""
    return [
        at_least("lips closed in p, b, m", pooled.closure, CLOSURE, share=True),
        at_most("lips closed in other phones", pooled.closed_elsewhere, ELSEWHERE, share=True),
        at_least("closure AUC", pooled.closure_auc, CLOSURE_AUC),
        at_least("rounding AUC", pooled.rounding_auc, ROUNDING_AUC),
        at_most("jaw in pauses", pooled.jaw_in_pauses, JAW),
    ]
