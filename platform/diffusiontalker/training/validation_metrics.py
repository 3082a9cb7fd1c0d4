"""Validation metrics of a model in training: whole samples against the recordings.

A sweep that changes loss weights cannot compare weighted losses, and a loss at one noise level says
little about samples (our choice).
"""

import numpy as np
import torch
from torch import Tensor

from diffusiontalker.objectives import metrics
from diffusiontalker.objectives.articulation import SEALED, aperture
from diffusiontalker.training.objectives import (
    Batch,
    RoundObjective,
    TeacherObjective,
    without_padding,
)

SEED = 54321
BILABIALS, OPEN_BILABIALS = "bilabials", "open_bilabials"
"""Numbers of p, b, m in a window, and of those in which the lips do not close."""


def sample_metrics(
    task: TeacherObjective | RoundObjective, batch: Batch, steps: int, sampler: str
) -> dict[str, Tensor]:
    """Metrics of two samples of ``steps`` steps a window, as means over the windows of ``batch``.

    ``lbe``, ``energy_score`` and ``upper_energy`` (over the upper face) are those of
    ``objectives.metrics``, in coefficients; ``BILABIALS`` and ``OPEN_BILABIALS`` follow
    ``objectives.articulation``. Identity and emotion are the library entries nearest to the voice,
    as in the evaluation of a run. Every call draws the same noise, so that differences come from
    the model alone.
    """
    batch = without_padding(batch)
    talker, mask, truth = task.talker, batch["mask"], batch["coefficients"]
    inputs = talker.inputs(batch.get("features"), batch["log_mel"])
    condition, _, _ = talker.recognise(inputs, mask[..., None])
    generator = torch.Generator(device=truth.device).manual_seed(SEED)
    samples = []
    for _ in range(2):
        noise = talker.noise(truth.shape, generator) * mask[..., None]
        samples.append(talker.generate(condition, noise, steps, sampler, generator))
    lengths = mask.sum(1).int().tolist()
    drawn, bilabials = torch.stack(samples, 1).cpu().numpy(), batch["bilabials"].cpu().numpy()
    windows = zip(drawn, truth.cpu().numpy(), bilabials, lengths, strict=True)
    each = [_metrics(own[:, :n], target[:n], closures) for own, target, closures, n in windows]
    means = {key: np.mean([values[key] for values in each]) for key in each[0]}
    return {key: torch.as_tensor(value, device=truth.device) for key, value in means.items()}


def _metrics(samples: np.ndarray, truth: np.ndarray, bilabials: np.ndarray) -> dict[str, float]:
    """Of one window: samples (2, T, 52), truth (T, 52), frames of p, b, m (N, 2), padded by 0."""
    spans = [(start, stop) for start, stop in bilabials if stop > start]
    gaps = [gap[start:stop].min() for gap in map(aperture, samples) for start, stop in spans]
    return {
        BILABIALS: float(len(spans)),
        OPEN_BILABIALS: sum(gap >= SEALED for gap in gaps) / len(samples),
        "lbe": float(np.mean([metrics.lbe(sample, truth) for sample in samples])),
        "energy_score": metrics.energy_score(samples, truth),
        "upper_energy": metrics.energy_score(samples, truth, "upper"),
    }
