"""The objective of each training stage: a module whose forward turns a batch into named losses.

``losses["loss"]`` is the weighted sum; the others are its parts, unweighted, for the curves.
``trained`` is the module that is optimised, averaged and saved.
"""

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import LIP, UPPER
from diffusiontalker.audio.log_mel import PER_FRAME
from diffusiontalker.config import AugmentationSettings, LossSettings
from diffusiontalker.diffusion import distillation
from diffusiontalker.diffusion.samplers import sample
from diffusiontalker.model.personalizer import VoiceEmbeddings
from diffusiontalker.model.talker import Condition, Talker
from diffusiontalker.objectives import losses
from diffusiontalker.training.augmentation import augment
from diffusiontalker.training.windows import UNKNOWN
from diffusiontalker.training.workers import gather, total

Batch = dict[str, Tensor]
NO_AUGMENTATION = AugmentationSettings()


class TeacherObjective(nn.Module):
    """The teacher: x_0 prediction at a random time, with v1's losses and v2's enhancer."""

    def __init__(
        self, talker: Talker, settings: LossSettings, lost_bands: float = 0.0,
        steps: int | None = None,
    ) -> None:  # fmt: skip
        """``lost_bands``: share of the training examples of a lower bandwidth. ``steps``: train at
        the times of a sampler of so many steps alone; None: at all times."""
        super().__init__()
        self.talker = talker
        self.settings = settings
        self.lost_bands = lost_bands
        self.steps = steps

    @property
    def trained(self) -> Talker:
        """The teacher."""
        return self.talker

    @property
    def takes_features(self) -> bool:
        """Whether batches need the frozen encoder's features."""
        return self.talker.config.feature_dim is not None

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        talker, mask = self.talker, batch["mask"][..., None]
        log_mel = batch["log_mel"]
        if self.training:
            log_mel = augment(log_mel, generator, self.lost_bands)
        audio = talker.encode(talker.inputs(batch.get("features"), log_mel), mask)
        condition, voice, keys = personalise(talker, audio, batch, generator)
        x_0, noise = noisy_pair(talker, batch, generator)
        t = torch.rand(len(x_0), generator=generator, device=x_0.device)
        if self.steps is not None:
            t = ((t * self.steps).floor() + 1) / self.steps
        if self.training:
            track_residual(talker, x_0, condition, mask)
        x_0_hat = talker.predict(talker.schedule.add_noise(x_0, noise, t), t, condition)
        weights = self.settings
        space = loss_space(talker, weights)
        p, g = x_0_hat * space, x_0 * space
        parts = {
            "mean": mean_error(condition, g, space, batch),
            "exp": losses.exp(p, g, batch["mask"]),
            "lip": losses.lip(p, g, batch["mask"]),
            "vel": losses.vel(p, g, batch["mask"]),
            "movement": movement_error(talker, condition, p, g, space, g, batch),
            "aperture": aperture_error(talker, condition, x_0_hat, batch),
            "blink": losses.blink(condition.blink, batch["blinks"], batch["mask"]),
            **seal_error(condition, batch),
            **contrast(voice, keys, batch, weights.temperature),
            "pc": enhancer(talker, x_0_hat, condition, batch, weights.temperature),
        }
        return {"loss": weigh(parts, weights), **parts}


class RoundObjective(nn.Module):
    """One distillation round: the student's n steps land where the teacher's 2n steps land.

    The student's log-mel is augmented, the teacher's is not: on degraded speech the student learns
    what the teacher makes of the same speech as it is in the corpus (arXiv 1708.05466).
    """

    def __init__(
        self, student: Talker, teacher: Talker, steps: int, settings: LossSettings,
        augmentation: AugmentationSettings = NO_AUGMENTATION,
    ) -> None:  # fmt: skip
        """``augmentation``: of the student's log-mel; what is done to audio does not count here."""
        super().__init__()
        self.talker = student
        self.teacher = teacher.eval().requires_grad_(False)
        self.steps = steps
        self.settings = settings
        self.augmentation = augmentation

    @property
    def trained(self) -> Talker:
        """The student alone: the teacher is frozen, and saved by its own stage."""
        return self.talker

    @property
    def takes_features(self) -> bool:
        """Whether batches need the frozen encoder's features: in the first round, or in all."""
        return any(own.config.feature_dim is not None for own in (self.talker, self.teacher))

    def train(self, mode: bool = True) -> "RoundObjective":
        """The teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        student, teacher, mask = self.talker, self.teacher, batch["mask"][..., None]
        log_mel = batch["log_mel"]
        if self.training:
            own = self.augmentation
            log_mel = augment(log_mel, generator, own.lost_bands, own.vocal_tract)
        audio = student.encode(student.inputs(batch.get("features"), log_mel), mask)
        condition, voice, keys = personalise(student, audio, batch, generator)
        x_0, noise = noisy_pair(student, batch, generator)
        # Inference evaluates the student only at the n points of its own time grid.
        k = torch.randint(1, self.steps + 1, (len(x_0),), generator=generator, device=x_0.device)
        t = k.to(x_0.dtype) / self.steps
        z = student.schedule.add_noise(x_0, noise, t)
        with torch.no_grad():
            inputs = teacher.inputs(batch.get("features"), batch["log_mel"])
            teacher_audio = teacher.encode(inputs, mask)
            teacher_condition, _, _ = personalise(teacher, teacher_audio, batch, None)
            x_tilde = distillation.target(
                lambda x, s: teacher.predict(x, s, teacher_condition),
                student.schedule, z, t, self.steps,
            )  # fmt: skip
        if self.training:
            track_residual(student, x_0, condition, mask)
        x_0_hat = student.predict(z, t, condition)
        weights = self.settings
        space = loss_space(student, weights)
        p, g, goal = x_0_hat * space, x_0 * space, x_tilde * space
        truth = LIP if weights.student_truth == "lip" else None
        parts = {
            "mean": mean_error(condition, g, space, batch),
            "exp": losses.exp(p, g, batch["mask"], truth),
            "lip": losses.lip(p, g, batch["mask"]),
            "vel": losses.vel(p, g, batch["mask"], truth),
            "movement": movement_error(student, condition, p, goal, space, g, batch),
            "aperture": aperture_error(student, condition, x_0_hat, batch),
            "blink": losses.blink(condition.blink, batch["blinks"], batch["mask"]),
            **seal_error(condition, batch, teacher_condition),
            "dis": losses.dis(
                goal, p, batch["mask"], distillation.weight(student.schedule, t)
            ),
            "ae": losses.ae(audio, teacher_audio, batch["mask"]),
            **contrast(voice, keys, batch, weights.temperature),
            "pc": 0.5
            * (
                enhancer(student, x_0_hat, condition, batch, weights.temperature)
                + enhancer(student, x_tilde, teacher_condition, batch, weights.temperature)
            ),
        }  # fmt: skip
        if weights.energy > 0 and self.steps <= weights.energy_steps:
            parts["energy"] = self.energy(condition, g, space, batch, generator)
        return {"loss": weigh(parts, weights), **parts}

    def energy(
        self, condition: Condition, goal: Tensor, space: Tensor, batch: Batch,
        generator: torch.Generator,
    ) -> Tensor:  # fmt: skip
        """Energy score of two whole samples against ``goal`` (in loss space), upper face."""
        student, weights = self.talker, self.settings
        samples = []
        for _ in range(2):
            noise = student.noise(goal.shape, generator)
            x_0 = sample(
                lambda x, t: student.predict(x, t, condition),
                student.schedule, noise * batch["mask"][..., None], self.steps,
            )  # fmt: skip
            samples.append(x_0 * space)
        return losses.energy(torch.stack(samples), goal, batch["mask"], weights.energy_chunk, UPPER)


def without_padding(batch: Batch) -> Batch:
    """The batch with padding set to zero: multiplying by the mask would keep NaN."""
    padding = batch["mask"] == 0
    per_frame = {"coefficients": 1, "features": 1, "log_mel": PER_FRAME}
    clean = {
        key: batch[key].masked_fill(padding.repeat_interleave(n, dim=1)[..., None], 0)
        for key, n in per_frame.items()
        if key in batch
    }
    return batch | clean | {"blinks": batch["blinks"].masked_fill(padding, 0)}


def noisy_pair(talker: Talker, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Standardised x_0 (B, T, 52), zero on padding, and noise like it."""
    x_0 = talker.standardise(batch["coefficients"]) * batch["mask"][..., None]
    return x_0, talker.noise(x_0.shape, generator)


def personalise(
    talker: Talker, audio: Tensor, batch: Batch, generator: torch.Generator | None
) -> tuple[Condition, VoiceEmbeddings, VoiceEmbeddings]:
    """The condition, the voice's embeddings (B, E), and the library's embeddings (N, E).

    Each example is conditioned on its library entries, or on the voice's embeddings: where the
    label is unknown, and on a random share ``from_voice`` of the others. For half of the examples
    the embeddings come from the beginning of the window alone, as in a stream. Without a generator
    they come from whole windows, and every known label selects its library entry, as at inference
    with a name.
    """
    mask = batch["mask"][..., None]
    pooled = mask if generator is None else beginning(mask, generator)
    voice = talker.embed_voice(audio, pooled)
    keys = VoiceEmbeddings(talker.personalizer.identities(), talker.personalizer.emotions())
    share = talker.config.personalizer.from_voice

    def choose(library: Tensor, labels: Tensor, voice: Tensor) -> Tensor:
        from_voice = labels == UNKNOWN
        if generator is not None:
            drawn = torch.rand(len(labels), generator=generator, device=labels.device)
            from_voice = from_voice | (drawn < share)
        return torch.where(from_voice[:, None], voice, library[labels.clamp(min=0)])

    identity = choose(keys.identity, batch["identity"], voice.identity)
    emotion = choose(keys.emotion, batch["emotion"], voice.emotion)
    return talker.condition(audio, identity, emotion, mask), voice, keys


def beginning(mask: Tensor, generator: torch.Generator) -> Tensor:
    """``mask`` (B, T, 1), for half of the examples cut to a random beginning of 1 frame or more."""
    drawn = torch.rand(len(mask), 1, 1, generator=generator, device=mask.device)
    at = torch.arange(mask.shape[1], device=mask.device)[:, None]
    return mask * (at <= drawn * 2 * mask.sum(1, keepdim=True))


def contrast(
    voice: VoiceEmbeddings, keys: VoiceEmbeddings, batch: Batch, temperature: float
) -> dict[str, Tensor]:
    """Contrastive losses of identity and emotion against their libraries (v1's L_con, v2)."""

    def one(embeddings: Tensor, library: Tensor, labels: Tensor) -> Tensor:
        own = torch.arange(len(library), device=labels.device) == labels[:, None]
        return losses.contrastive(embeddings, library, own, temperature)

    return {
        "con_identity": one(voice.identity, keys.identity, batch["identity"]),
        "con_emotion": one(voice.emotion, keys.emotion, batch["emotion"]),
    }


def enhancer(
    talker: Talker, x_0: Tensor, condition: Condition, batch: Batch, temperature: float
) -> Tensor:
    """v2's L_pc between personalized embeddings and the upper faces of predictions, of the batches
    of all workers while they train."""
    upper = talker.upper_encoder(x_0, batch["mask"][..., None])
    labels = personal_labels(talker, batch)
    embeddings = condition.personalized
    if talker.training:
        upper, labels, embeddings = (gather(rows) for rows in (upper, labels, embeddings))
    return losses.pc(embeddings, upper, temperature, same_labels(labels))


def personal_labels(talker: Talker, batch: Batch) -> Tensor:
    """The labels (B, L) on which a personalized embedding depends: identity, emotion, or both."""
    settings = talker.config.personalizer
    used = {"identity": settings.use_identity, "emotion": settings.use_emotion}
    names = [name for name, is_used in used.items() if is_used] or list(used)
    return torch.stack([batch[name] for name in names], dim=-1)


def same_labels(labels: Tensor) -> Tensor:
    """Whether two examples have the same labels (B, L), all of them known: (B, B)."""
    known = (labels != UNKNOWN).all(-1)
    return (labels[:, None] == labels).all(-1) & known[:, None] & known


def mean_error(condition: Condition, goal: Tensor, space: Tensor, batch: Batch) -> Tensor:
    """The context's mean against the recording ``goal`` (in loss space): all channels, and lips."""
    mean = condition.mean * space
    return losses.exp(mean, goal, batch["mask"]) + losses.lip(mean, goal, batch["mask"])


def movement_error(
    talker: Talker, condition: Condition, p: Tensor, goal: Tensor, space: Tensor, g: Tensor,
    batch: Batch,
) -> Tensor:  # fmt: skip
    """Errors of movement, of the prediction ``p`` against its ``goal`` and of the context's mean
    against the recording ``g``, all in loss space."""
    variances, mask = talker.movement_variance, batch["mask"]
    return losses.movement(p, goal, mask, variances) + losses.movement(
        condition.mean * space, g, mask, variances
    )


def aperture_error(talker: Talker, condition: Condition, x_0_hat: Tensor, batch: Batch) -> Tensor:
    """Errors of the lips' aperture, of the prediction and of the context's mean, against the
    recording."""
    truth, mask = batch["coefficients"], batch["mask"]
    predicted, mean = (talker.destandardise(x) for x in (x_0_hat, condition.mean))
    return losses.aperture(predicted, truth, mask) + losses.aperture(mean, truth, mask)


def seal_error(
    condition: Condition, batch: Batch, teacher: Condition | None = None
) -> dict[str, Tensor]:
    """The error of the decision whether lips are closed, where the model makes it: against the
    recording, or against the probability of a ``teacher``, whose own decision may be in the data
    (``pseudo_labels``), and would be made twice."""
    if condition.seal is None:
        return {}
    if teacher is None or teacher.seal is None:
        target = losses.closed_lips(batch["coefficients"])
    else:
        target = teacher.seal.sigmoid()
    return {"seal": losses.seal(condition.seal, target, batch["mask"])}


@torch.no_grad()
def track_residual(
    talker: Talker, x_0: Tensor, condition: Condition, mask: Tensor, keep: float = 0.98
) -> None:
    """Moving average of the residual variance around the context's mean, bounded from below, of the
    batches of all workers. What is not finite is left out: its step is skipped, too."""
    if talker.context is None:
        return
    error = (x_0 - condition.mean).square() * mask
    sums = total(torch.cat([error.sum((0, 1)), mask.sum()[None]]))
    variance = (sums[:-1] / sums[-1]).clamp(1e-3, 1.0)
    own = talker.residual_variance
    # Chosen on the device: an if would wait for it in every step.
    own.lerp_(torch.where(variance.isfinite().all(), variance, own), 1 - keep)


def loss_space(talker: Talker, settings: LossSettings) -> Tensor:
    """Factors (52,) on standardised coefficients before a loss; their mean square is 1."""
    factors = talker.coefficient_scale**settings.channel_power
    return factors / factors.square().mean().sqrt()


def weigh(parts: dict[str, Tensor], settings: LossSettings) -> Tensor:
    """The weighted sum of the parts."""
    return torch.stack([getattr(settings, name) * part for name, part in parts.items()]).sum()
