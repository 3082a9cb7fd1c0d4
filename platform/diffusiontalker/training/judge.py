"""What a model in training is worth: whole samples of validation against the recordings.

The weighted loss cannot say so to a sweep that changes the weights, and a loss at one noise level
says little of a sample. Ours.
"""

import torch
from torch import Tensor

from diffusiontalker.arkit import CHANNELS, LIP, UPPER
from diffusiontalker.model.talker import Condition, Talker
from diffusiontalker.training.tasks import Batch, RoundTask, TeacherTask, without_padding

ALL = tuple(range(len(CHANNELS)))
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
    condition = hear(talker, batch)
    generator = torch.Generator(device=truth.device).manual_seed(SEED)
    samples = []
    for _ in range(2):
        noise = torch.randn(truth.shape, generator=generator, device=truth.device)
        noise = noise * mask[..., None]
        samples.append(talker.generate(condition, noise, steps, sampler, generator))
    first, second = samples

    def apart(a: Tensor, b: Tensor, channels: tuple[int, ...]) -> Tensor:
        distance = (a - b)[..., list(channels)].norm(dim=-1) * mask
        return (distance.sum(1) / mask.sum(1)).mean()

    def error(channels: tuple[int, ...]) -> Tensor:
        return (apart(first, truth, channels) + apart(second, truth, channels)) / 2

    return {
        "lbe": error(LIP),
        "energy_score": error(ALL) - apart(first, second, ALL) / 2,
        "upper_energy": error(UPPER) - apart(first, second, UPPER) / 2,
    }


def hear(talker: Talker, batch: Batch) -> Condition:
    """The condition that the voice alone gives."""
    mask = batch["mask"][..., None]
    audio = talker.encode(talker.inputs(batch["features"], batch["log_mel"]), mask)
    voice = talker.listen(audio, mask)
    identities, emotions = talker.personalizer.identities(), talker.personalizer.emotions()
    identity = identities[(voice.identity @ identities.T).argmax(-1)]
    emotion = emotions[(voice.emotion @ emotions.T).argmax(-1)]
    return talker.condition(audio, identity, emotion, mask)
