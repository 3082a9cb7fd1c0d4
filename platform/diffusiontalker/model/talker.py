"""The talker: one network for teacher and student, which differ only in audio encoder and size.

Coefficients inside are standardised per channel by the training set's mean and standard deviation.
The noise schedule assumes data of unit variance; raw coefficients have a tenth of that, and a
network trained on them learns to draw a blur (our choice; the papers do not say).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS, GAZE, UPPER
from diffusiontalker.config import ContextSettings, DecoderSettings, PersonalizerSettings
from diffusiontalker.diffusion.noise import NEVER, AutoRegression, gaze_noise
from diffusiontalker.diffusion.samplers import sample
from diffusiontalker.diffusion.schedule import Kind, Schedule, broadcast
from diffusiontalker.model.audio_encoder import FeatureAdapter, HybridEncoder, LogMelEncoder, join
from diffusiontalker.model.convolutions import ChunkCache, FrameCache, TimeConv, masked
from diffusiontalker.model.decoder import Context, make_decoder
from diffusiontalker.model.gaze import from_directions, to_directions
from diffusiontalker.model.lip_seal import seal_lips
from diffusiontalker.model.personalizer import Personalizer, VoiceEmbeddings
from diffusiontalker.runtime.blinks import BlinkParameters

BLINK_FRAMES = 24
"""Most frames of a blink."""


@dataclass(frozen=True)
class TalkerConfig:
    """Everything needed to build a talker before its weights are loaded."""

    identities: tuple[str, ...]
    emotions: tuple[str, ...]
    audio_dim: int
    context: ContextSettings
    decoder: DecoderSettings
    personalizer: PersonalizerSettings
    schedule: Kind
    feature_dim: int | None = None
    """Width of the frozen encoder's features: a teacher. None: a student on log-mel input."""
    encoder_width: int = 0
    encoder_depth: int = 0
    look_ahead: int | None = None
    """Later mel frames that a frame of animation depends on (``log_mel.look_ahead``): all other
    layers are causal, and can be streamed. None: no convolution is causal."""
    lip_seal: bool = True
    """Whether closed lips are a decision (``model.lip_seal``)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        plain = asdict(self)
        plain["context"] = self.context.model_dump(mode="json")
        plain["decoder"] = self.decoder.model_dump(mode="json")
        plain["personalizer"] = self.personalizer.model_dump(mode="json")
        plain["identities"] = list(self.identities)
        plain["emotions"] = list(self.emotions)
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "TalkerConfig":
        """The inverse of ``to_dict``."""
        plain = {"lip_seal": False, **plain}  # of a release without one
        plain["context"] = ContextSettings.model_validate(plain["context"])
        plain["decoder"] = DecoderSettings.model_validate(plain["decoder"])
        plain["personalizer"] = PersonalizerSettings.model_validate(plain["personalizer"])
        plain["identities"] = tuple(plain["identities"])
        plain["emotions"] = tuple(plain["emotions"])
        return cls(**plain)


@dataclass(frozen=True)
class Condition:
    """The decoder's inputs that do not depend on the step: computed once per clip."""

    context: Tensor
    """(B, T, K)."""
    mean: Tensor
    """(B, T, 52): the expected face, standardised."""
    personalized: Tensor
    """(B, P)."""
    blink: Tensor
    """(B, T): logit of the probability that a blink begins."""
    seal: Tensor | None
    """(B, T): logit of the probability that the lips are sealed; None: that is not decided."""
    mask: Tensor | None
    """(B, T, 1), 1 on real frames; None: all are."""

    def expand(self, count: int) -> "Condition":
        """A condition of batch 1, ``count`` times."""
        return Condition(
            context=self.context.expand(count, -1, -1),
            mean=self.mean.expand(count, -1, -1),
            personalized=self.personalized.expand(count, -1),
            blink=self.blink.expand(count, -1),
            seal=None if self.seal is None else self.seal.expand(count, -1),
            mask=None if self.mask is None else self.mask.expand(count, -1, -1),
        )


class Talker(nn.Module):
    """Audio encoder, personalizer and motion decoder."""

    coefficient_mean: Tensor
    coefficient_scale: Tensor
    residual_variance: Tensor
    """(52,) variance of standardised x_0 around the context's mean, tracked while training."""
    noise_correlations: Tensor
    """(2, 52) of the noise over one and two frames (``diffusion.noise``); zeros: white noise."""
    gaze_threshold: Tensor
    """() of ``diffusion.noise.gaze_noise``; ``NEVER``: gaze has noise like other channels."""
    movement_variance: Tensor
    """(2, 52): mean squares of first and second differences over time of standardised x_0."""
    blink_shape: Tensor
    """(BLINK_FRAMES,) as in ``runtime.blinks``, then zeros; all zeros: the face never blinks."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = Schedule(config.schedule)
        self.encoder: FeatureAdapter | HybridEncoder | LogMelEncoder
        if config.feature_dim is not None and config.encoder_width:
            self.encoder = HybridEncoder(
                config.feature_dim, config.encoder_width, config.encoder_depth, config.audio_dim,
                config.look_ahead,
            )  # fmt: skip
        elif config.feature_dim is not None:
            self.encoder = FeatureAdapter(config.feature_dim, config.audio_dim)
        else:
            self.encoder = LogMelEncoder(
                config.encoder_width, config.encoder_depth, config.audio_dim, config.look_ahead
            )
        self.personalizer = Personalizer(
            config.personalizer, config.audio_dim, len(config.identities), len(config.emotions)
        )
        fused = config.personalizer.fused
        causal = config.look_ahead is not None
        self.context = (
            Context(config.context, config.audio_dim, fused, causal)
            if config.context.depth
            else None
        )
        width = config.context.width if self.context else config.audio_dim
        self.blink = nn.Linear(width, 1)
        self.seal = nn.Linear(width, 1) if config.lip_seal else None
        self.decoder = make_decoder(config.decoder, width, fused, causal)
        self.upper_encoder = UpperFaceEncoder(fused)
        self.register_buffer("coefficient_mean", torch.zeros(len(CHANNELS)))
        self.register_buffer("coefficient_scale", torch.ones(len(CHANNELS)))
        self.register_buffer("residual_variance", torch.ones(len(CHANNELS)))
        self.register_buffer("noise_correlations", torch.zeros(2, len(CHANNELS)))
        self.register_buffer("gaze_threshold", torch.tensor(NEVER))
        self.register_buffer("movement_variance", torch.ones(2, len(CHANNELS)))
        self.register_buffer("blink_shape", torch.zeros(BLINK_FRAMES))

    def inputs(self, features: Tensor | None, log_mel: Tensor) -> Tensor:
        """The input of ``encode`` from features (B, T, D) and log-mel (B, 2T, 80)."""
        if self.config.feature_dim is None:
            return log_mel
        assert features is not None
        return join(features, log_mel) if self.config.encoder_width else features

    def encode(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """``inputs`` of a clip, mask (B, T, 1) -> audio features (B, T, A)."""
        return self.encoder(inputs, mask)

    def embed_voice(self, audio: Tensor, mask: Tensor) -> VoiceEmbeddings:
        """Identity and emotion embeddings of the voice, from ``encode``'s output."""
        return self.personalizer.embed(audio, mask)

    def condition(
        self, audio: Tensor, identity: Tensor, emotion: Tensor, mask: Tensor | None
    ) -> Condition:
        """The condition of all steps; ``identity``, ``emotion`` are unit embeddings (B, E)."""
        personalized = self.personalizer(identity, emotion)
        context, mean = self.context_and_mean(audio, self.context_modulation(personalized), mask)
        return Condition(
            context, mean, personalized, self.blink_logit(context), self.seal_logit(context), mask
        )

    def context_modulation(self, personalized: Tensor) -> list[Tensor]:
        """FiLM scales and shifts of the context's layers from the personalized embedding (B, P)."""
        return [] if self.context is None else self.context.modulation(personalized)

    def context_and_mean(
        self, audio: Tensor, modulation: list[Tensor], mask: Tensor | None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Context and mean of a ``Condition``."""
        if self.context is None:
            return audio, audio.new_zeros(*audio.shape[:2], len(CHANNELS))
        context, mean = self.context(audio, modulation, mask, cache)
        return context, mean

    def blink_logit(self, context: Tensor) -> Tensor:
        """Logit of the probability that a blink begins in a frame, (B, T), from the context (B, T,
        K) (``runtime.blinks``; our choice)."""
        return self.blink(context)[..., 0]

    def seal_logit(self, context: Tensor) -> Tensor | None:
        """Logit of the probability that the lips are sealed in a frame, (B, T), from the context
        (B, T, K) (``model.lip_seal``; our choice)."""
        return None if self.seal is None else self.seal(context)[..., 0]

    def coefficients(self, x_0: Tensor, seal: Tensor | None) -> Tensor:
        """Coefficients (B, T, 52) in 0-1 from standardised ``x_0``, with lips sealed where the
        logit ``seal`` (B, T) decides so."""
        face = self.destandardise(x_0).clamp(0, 1)
        return face if seal is None else seal_lips(face, seal.sigmoid())

    def recognise(
        self, inputs: Tensor, mask: Tensor, emotion: int | None = None
    ) -> tuple[Condition, Tensor, Tensor]:
        """The condition with the library entries nearest to the voice, and their indices (B,) of
        identities and emotions; ``inputs`` and ``mask`` as for ``encode``. ``emotion``: an index
        that is used instead of the nearest."""
        audio = self.encode(inputs, mask)
        voice = self.embed_voice(audio, mask)
        identities, emotions = self.personalizer.identities(), self.personalizer.emotions()
        identity = (voice.identity @ identities.T).argmax(-1)
        nearest = (voice.emotion @ emotions.T).argmax(-1)
        used = nearest if emotion is None else torch.full_like(nearest, emotion)
        return self.condition(audio, identities[identity], emotions[used], mask), identity, used

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x_0 from standardised noisy coefficients ``x_t`` (B, T, 52) at ``t`` (B,), or (1,)."""
        modulation = self.decoder.modulation(t, condition.personalized)
        return self.denoise(x_t, t, condition.context, condition.mean, modulation, condition.mask)

    def denoise(
        self, x_t: Tensor, t: Tensor, context: Tensor, mean: Tensor, modulation: list[Tensor],
        mask: Tensor | None, cache: ChunkCache | FrameCache | None = None,
    ) -> Tensor:  # fmt: skip
        """x_0 from standardised noisy coefficients ``x_t`` (B, T, 52) at ``t`` (B,), or (1,).

        The posterior of a Gaussian around the context's mean, plus the decoder's correction in
        units of that posterior's deviation. With m the mean, v the residual variance and F the
        decoder:

            x_0 = m + alpha v / (alpha^2 v + sigma^2) (x_t - alpha m)
                  + sigma sqrt(v / (alpha^2 v + sigma^2)) F(x_t, t)

        For m = 0, v = 1 this is x_0 = alpha x_t + sigma F, the preconditioning of Karras et al.
        2022 on a variance-preserving schedule. What the audio determines (small v) then depends
        little on the noise, in few steps as in many (our choice).
        """
        f = self.decoder(x_t, context, modulation, mask, cache)
        alpha = broadcast(self.schedule.alpha(t), x_t)
        sigma = broadcast(self.schedule.sigma(t), x_t)
        v, m = self.residual_variance, mean
        total = alpha.square() * v + sigma.square()
        posterior = m + alpha * v / total * (x_t - alpha * m)
        return masked(posterior + sigma * (v / total).sqrt() * f, mask)

    def deployed(self) -> dict[str, Tensor]:
        """The exported weights: all but the upper-face encoder, which only training uses."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("upper_encoder.")}

    def set_scales(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Fix the mean and standard deviation (52,) that ``standardise`` uses."""
        self.coefficient_mean.copy_(torch.from_numpy(mean))
        self.coefficient_scale.copy_(torch.from_numpy(deviation))

    def set_movement(
        self, correlations: np.ndarray, variance: np.ndarray, gaze_threshold: float = NEVER
    ) -> None:
        """Fix ``noise_correlations`` and ``movement_variance``, (2, 52), and ``gaze_threshold``."""
        self.noise_correlations.copy_(torch.from_numpy(correlations))
        self.gaze_threshold.fill_(gaze_threshold)
        self.movement_variance.copy_(torch.from_numpy(variance))

    @property
    def blinks(self) -> BlinkParameters:
        """The course of a blink; empty: blinks, if any, are a part of the coefficients."""
        return BlinkParameters(tuple(self.blink_shape.tolist())).trimmed()

    def set_blinks(self, shape: Sequence[float], rate: float) -> None:
        """Fix the course of a blink, of which ``BLINK_FRAMES`` are kept, and begin with a
        probability of ``rate`` (0-1) that one begins in a frame."""
        course = torch.tensor(list(shape)[:BLINK_FRAMES])
        self.blink_shape.zero_()
        self.blink_shape[: len(course)] = course
        rate = min(max(rate, 1e-5), 0.5)
        nn.init.zeros_(self.blink.weight)
        nn.init.constant_(self.blink.bias, math.log(rate / (1 - rate)))

    def standardise(self, coefficients: Tensor) -> Tensor:
        """Coefficients in 0-1 (B, T, 52) to zero mean and unit variance per channel; of gaze,
        directions (``model.gaze``)."""
        return (to_directions(coefficients) - self.coefficient_mean) / self.coefficient_scale

    def destandardise(self, x_0: Tensor) -> Tensor:
        """The inverse of ``standardise``."""
        return from_directions(x_0 * self.coefficient_scale + self.coefficient_mean)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Noise (..., T, 52) with memory over T, standard normal in every frame."""
        correlations = self.noise_correlations
        white = torch.randn(
            *shape, generator=generator, device=correlations.device, dtype=correlations.dtype
        )
        noise = AutoRegression(*correlations)(white)
        if (threshold := self.gaze_threshold.item()) < NEVER:
            noise[..., GAZE] = gaze_noise(white, threshold)
        return noise

    def generate(
        self,
        condition: Condition,
        noise: Tensor,
        steps: int,
        sampler: str = "ddim",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Coefficients (B, T, 52) in 0-1 from ``noise`` (B, T, 52), before ``runtime.blinks``."""
        x_0 = sample(
            lambda x_t, t: self.predict(x_t, t, condition),
            self.schedule,
            noise,
            steps,
            sampler,
            lambda: self.noise(noise.shape, generator),
        )
        return self.coefficients(x_0, condition.seal)


class UpperFaceEncoder(nn.Module):
    """The upper face of a prediction to an embedding (B, P), for the personalizer enhancer (v2).

    Used in training alone. Mean and standard deviation over time of a small convolution: ours.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.frames = TimeConv(len(UPPER), dim, 5)
        self.pooled = nn.Linear(2 * dim, dim)

    def forward(self, x_0: Tensor, mask: Tensor) -> Tensor:
        """``x_0`` (B, T, 52) standardised, ``mask`` (B, T, 1)."""
        h = nn.functional.gelu(self.frames(x_0[..., list(UPPER)] * mask))
        count = mask.sum(1).clamp(min=1)
        mean = (h * mask).sum(1) / count
        deviation = (((h - mean[:, None]).square() * mask).sum(1) / count + 1e-5).sqrt()
        return self.pooled(torch.cat([mean, deviation], dim=-1))


def copy_matching_weights(student: Talker, teacher: Talker) -> list[str]:
    """Copy into ``student`` every tensor of ``teacher`` that has the same name and shape.

    A student with fewer blocks keeps the teacher's first ones; residual blocks survive the cut.
    Returns the names that were not copied.
    """
    given = dict(teacher.state_dict())
    # A teacher with log-mel input has the student's encoder as a part of its own.
    given |= {k.replace("encoder.mel.", "encoder."): v for k, v in given.items()}
    own = student.state_dict()
    copied = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    student.load_state_dict({**own, **copied})
    return sorted(set(own) - set(copied))
