"""Validation metrics of a model in training: whole samples against the recordings.

A sweep that changes loss weights cannot compare weighted losses, and a loss at one noise level says
little about samples (our choice).
"""

import numpy as np
import torch
from torch import Tensor

from diffusiontalker.objectives import metrics
from diffusiontalker.training.objectives import (
    Batch,
    RoundObjective,
    TeacherObjective,
    without_padding,
)

SEED = 54321


def sample_metrics(
    task: TeacherObjective | RoundObjective, batch: Batch, steps: int, sampler: str
) -> dict[str, Tensor]:
    """``lbe``, ``energy_score`` and ``upper_energy`` of two samples of ``steps`` steps a window.

    Defined in ``objectives.metrics``, in coefficients (``upper_energy`` over the upper face), here
    means over the windows of ``batch``. Identity and emotion are the library entries nearest to the
    voice, as in the evaluation of a run. Every call draws the same noise, so that differences come
    from the model alone.
    """
    batch = without_padding(batch)
    talker, mask, truth = task.talker, batch["mask"], batch["coefficients"]
    inputs = talker.inputs(batch["features"], batch["log_mel"])
    condition, _, _ = talker.recognise(inputs, mask[..., None])
    generator = torch.Generator(device=truth.device).manual_seed(SEED)
    samples = []
    for _ in range(2):
        noise = talker.noise(truth.shape, generator) * mask[..., None]
        samples.append(talker.generate(condition, noise, steps, sampler, generator))
    lengths = mask.sum(1).int().tolist()
    windows = zip(torch.stack(samples, 1).cpu().numpy(), truth.cpu().numpy(), lengths, strict=True)
    each = [_metrics(drawn[:, :n], target[:n]) for drawn, target, n in windows]
    means = {key: np.mean([values[key] for values in each]) for key in each[0]}
    return {key: torch.as_tensor(value, device=truth.device) for key, value in means.items()}


def _metrics(samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of one window: samples (2, T, 52), truth (T, 52)."""
    return {
        "lbe": float(np.mean([metrics.lbe(sample, truth) for sample in samples])),
        "energy_score": metrics.energy_score(samples, truth),
        "upper_energy": metrics.energy_score(samples, truth, "upper"),
    }
