"""What a model in training is worth: whole samples of validation against the recordings.

The weighted loss cannot say so to a sweep that changes the weights, and a loss at one noise level
says little of a sample. Ours.
"""

import numpy as np
import torch
from torch import Tensor

from diffusiontalker.objectives import metrics
from diffusiontalker.training.objectives import Batch, RoundTask, TeacherTask, without_padding

SEED = 54321


def judge(
    task: TeacherTask | RoundTask, batch: Batch, steps: int, sampler: str
) -> dict[str, Tensor]:
    """``lbe``, ``energy_score`` and ``upper_energy`` of two samples of ``steps`` steps a window.

    As ``objectives.metrics`` defines them, in coefficients, the upper one over the upper face
    alone, here as means over the windows of ``batch``. Identity and emotion are the library's
    nearest to the voice, as at the end of a run. Every call draws the same noise: two models differ
    by what they are.
    """
    batch = without_padding(batch)
    talker, mask, truth = task.talker, batch["mask"], batch["coefficients"]
    inputs = talker.inputs(batch["features"], batch["log_mel"])
    condition, _, _ = talker.recognise(inputs, mask[..., None])
    generator = torch.Generator(device=truth.device).manual_seed(SEED)
    samples = []
    for _ in range(2):
        noise = torch.randn(truth.shape, generator=generator, device=truth.device)
        noise = noise * mask[..., None]
        samples.append(talker.generate(condition, noise, steps, sampler, generator))
    lengths = mask.sum(1).int().tolist()
    windows = zip(torch.stack(samples, 1).cpu().numpy(), truth.cpu().numpy(), lengths, strict=True)
    each = [_figures(made[:, :length], said[:length]) for made, said, length in windows]
    means = {key: np.mean([figures[key] for figures in each]) for key in each[0]}
    return {key: torch.as_tensor(value, device=truth.device) for key, value in means.items()}


def _figures(samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of one window: samples (2, T, 52), truth (T, 52)."""
    return {
        "lbe": float(np.mean([metrics.lbe(sample, truth) for sample in samples])),
        "energy_score": metrics.energy_score(samples, truth),
        "upper_energy": metrics.energy_score(samples, truth, "upper"),
    }
