"""What all rivals share: how a loss is computed, and how faces are sampled."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.diffusion.samplers import sample
from diffusiontalker.diffusion.schedule import Schedule
from diffusiontalker.objectives import losses
from diffusiontalker.training.objectives import without_padding
from diffusiontalker.training.windows import UNKNOWN

Batch = dict[str, Tensor]
"""As ``training.windows.MotionWindows`` makes it; ``sample`` needs no ``coefficients``."""


@dataclass(frozen=True)
class RivalConfig:
    """Everything needed to build a rival before its weights are loaded."""

    feature_dim: int
    """Width of the frozen encoder's features."""
    identities: tuple[str, ...]
    emotions: tuple[str, ...]
    width: int | None = None
    """Of its network; None: as published (``Rival.width``)."""
    talker: dict[str, Any] | None = None
    """``TalkerConfig.to_dict`` of our student, for the rival that has its network."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        names = {key: tuple(plain[key]) for key in ("identities", "emotions")}
        return cls(**{**plain, **names})


class Rival(nn.Module):
    """A model that draws a face for speech. It is its own objective in training."""

    title: ClassVar[str]
    """Its name in tables."""
    width: ClassVar[int] = 256
    """Of its network, as published."""
    learns: ClassVar[bool] = True
    """Whether it is trained by gradients; else ``prepare`` is all."""
    recognises: ClassVar[tuple[str, ...]] = ()
    """What it detects in a voice itself: ``identity``, ``emotion``. Labels that it needs and does
    not detect, it is given where they are known."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Modules and buffers that only training needs."""
    coefficient_mean: Tensor
    coefficient_scale: Tensor

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.size = config.width or self.width
        self.register_buffer("coefficient_mean", torch.zeros(len(CHANNELS)))
        self.register_buffer("coefficient_scale", torch.ones(len(CHANNELS)))

    @property
    def takes_features(self) -> bool:
        """Whether it needs the frozen encoder's features."""
        return True

    def prepare(self, data: CorpusFolder) -> None:
        """Take from the training data what is not learned: mean and deviation of each channel."""
        mean, deviation = data.manifest.statistics()
        self.coefficient_mean.copy_(torch.from_numpy(mean))
        self.coefficient_scale.copy_(torch.from_numpy(deviation))

    def resize(self, state: dict[str, Tensor]) -> None:
        """Give buffers the shapes of a saved ``state``, where ``prepare`` determines them."""

    @property
    def trained(self) -> Self:
        """What is optimised and saved (``training.fit``)."""
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch, ``loss`` their weighted sum."""
        raise NotImplementedError

    def sample(self, batch: Batch, seeds: int, steps: int, generator: torch.Generator) -> Tensor:
        """Coefficients (seeds, T, 52) in 0-1 for a batch of one clip; ``steps`` of diffusion."""
        raise NotImplementedError

    def detect(self, batch: Batch) -> dict[str, str]:
        """The labels of ``recognises`` for a batch of one clip."""
        return {}

    def deployed(self) -> list[Tensor]:
        """The tensors that are needed in use."""
        state = self.state_dict()
        return [v for key, v in state.items() if key.partition(".")[0] not in self.training_only]

    def destandardise(self, x: Tensor) -> Tensor:
        """Standardised values (..., 52) as coefficients."""
        return x * self.coefficient_scale + self.coefficient_mean

    def standardise(self, coefficients: Tensor) -> Tensor:
        """The inverse of ``destandardise``."""
        return (coefficients - self.coefficient_mean) / self.coefficient_scale


class Regression(Rival):
    """A rival that draws one face for an audio."""

    def faces(self, batch: Batch) -> Tensor:
        """Coefficients (B, T, 52), unbounded."""
        raise NotImplementedError

    def sample(self, batch: Batch, seeds: int, steps: int, generator: torch.Generator) -> Tensor:
        """The same face, ``seeds`` times."""
        return self.faces(batch).clamp(0, 1).expand(seeds, -1, -1)


class Diffusion(Rival):
    """A rival that removes noise: DDPM on a cosine schedule of 1000 steps, x_0 prediction with the
    mean squared error, ancestral sampling, in fewer steps evenly respaced."""

    steps: ClassVar[int] = 1000

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        self.schedule = Schedule("cosine")

    def predict(self, x_t: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """x_0 (B, T, 52), standardised, from ``x_t`` like it at ``t`` (B,) in (0, 1]."""
        raise NotImplementedError

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of x_0 in coefficients."""
        batch = without_padding(batch)
        x_0 = self.standardise(batch["coefficients"])
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        k = torch.randint(1, self.steps + 1, (len(x_0),), generator=generator, device=x_0.device)
        t = k.to(x_0.dtype) / self.steps
        found = self.predict(self.schedule.add_noise(x_0, noise, t), t, batch)
        loss = losses.exp(self.destandardise(found), batch["coefficients"], batch["mask"])
        return {"loss": loss}

    def sample(self, batch: Batch, seeds: int, steps: int, generator: torch.Generator) -> Tensor:
        """Ancestral sampling of ``seeds`` faces at once."""
        many = {key: repeated(value, seeds) for key, value in batch.items()}
        frames = batch["mask"].shape[1]

        def draw() -> Tensor:
            shape = seeds, frames, len(CHANNELS)
            return torch.randn(shape, generator=generator, device=self.coefficient_mean.device)

        x_0 = sample(
            lambda x_t, t: self.predict(x_t, t, many), self.schedule, draw(), steps, "ancestral",
            draw,
        )  # fmt: skip
        return self.destandardise(x_0).clamp(0, 1)


class Style(nn.Module):
    """A learned embedding for each label; the mean of all where the label is unknown (our choice:
    the papers name a training speaker, or average the metrics over all of them)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(0.1 * torch.randn(max(count, 1), width))

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) labels, ``UNKNOWN`` among them -> (B, W)."""
        known = self.entries[labels.clamp(min=0)]
        return torch.where((labels == UNKNOWN)[:, None], self.entries.mean(0), known)


def repeated(value: Tensor, count: int) -> Tensor:
    """A batch of one as a batch of ``count``."""
    return value.expand(count, *value.shape[1:])


def weighted(parts: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The parts of a loss, and their weighted sum."""
    return {
        "loss": torch.stack([weights[key] * part for key, part in parts.items()]).sum(),
        **parts,
    }


def reconstruction(face: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Mean squared errors of coefficients and of their differences between frames."""
    truth, mask = batch["coefficients"], batch["mask"]
    return {"exp": losses.exp(face, truth, mask), "vel": losses.vel(face, truth, mask)}


def labels_of(names: Sequence[str], name: str | None) -> Tensor:
    """A label as a batch of one: (1,)."""
    return torch.tensor([names.index(name) if name in names else UNKNOWN])


CONFIG, WEIGHTS = "rival.json", "model.safetensors"


def save(folder: Path, name: str, rival: Rival) -> None:
    """Write a rival, by its name in ``kinds.KINDS``, on disk or in S3. Raises UserError."""
    from safetensors.torch import save as to_bytes

    storage.make_folder(folder)
    text = json.dumps({"kind": name, "config": rival.config.to_dict()}, indent=1) + "\n"
    storage.write_bytes(folder / CONFIG, text.encode())
    state = {key: value.detach().contiguous() for key, value in rival.state_dict().items()}
    storage.write_bytes(folder / WEIGHTS, to_bytes(state))
