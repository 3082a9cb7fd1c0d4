"""Augmentation of log-mel on the fly: microphones, and lines of a lower bandwidth."""

import torch
from torch import Tensor

from diffusiontalker.audio.degradation import SLOPE
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.log_mel import HIGHEST_HZ, LOWEST_HZ, mel_filters

LOWEST_CUTOFF = 3300.0
"""Hz: a telephone's band ends at 3400."""


def augment(
    log_mel: Tensor, generator: torch.Generator, lost_bands: float = 0.0, vocal_tract: float = 0.0
) -> Tensor:
    """Augment log-mel (B, 2T, 80) with random level, spectral tilt and masked bands, a share
    ``lost_bands`` of the examples with a random bandwidth, and all with frequencies raised or
    lowered by up to a share ``vocal_tract``.

    Simulates rooms and microphones, to which identity and emotion must be invariant, and voices of
    other vocal tracts. Units are those of the standardised log-mel; 0.77 is 10 dB. Our choice.
    """
    shape = (len(log_mel), 1, 1)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=generator, device=log_mel.device)

    if vocal_tract:
        drawn = torch.rand(shape[0], generator=generator, device=log_mel.device)
        log_mel = warped(log_mel, 1 + vocal_tract * (2 * drawn - 1))
    bands = torch.linspace(-1, 1, log_mel.shape[-1], device=log_mel.device)
    out = log_mel + normal(0.15) + normal(0.15) * bands
    start = torch.randint(0, log_mel.shape[-1], shape, generator=generator, device=log_mel.device)
    width = torch.randint(0, 10, shape, generator=generator, device=log_mel.device)
    index = torch.arange(log_mel.shape[-1], device=log_mel.device)
    hidden = (index >= start) & (index < start + width)
    out = torch.where(hidden, out.mean(-1, keepdim=True), out)
    if not lost_bands:
        return out
    drawn = torch.rand(shape, generator=generator, device=log_mel.device) < lost_bands
    share = torch.rand(shape[0], generator=generator, device=log_mel.device)
    cutoff = LOWEST_CUTOFF + share * (HIGHEST_HZ - LOWEST_CUTOFF)
    return torch.where(drawn, band_limited(out, cutoff), out)


def warped(log_mel: Tensor, factor: Tensor) -> Tensor:
    """Log-mel (B, 2T, 80) with all frequencies times ``factor`` (B,), as of a vocal tract that is
    shorter by it (vocal tract length perturbation, Jaitly and Hinton 2013). Bands above the highest
    frequency that is left repeat the last one."""
    bands = log_mel.shape[-1]
    low, high = (hz_to_mel(torch.tensor(hz)) for hz in (LOWEST_HZ, HIGHEST_HZ))
    step = (high - low) / (bands + 1)
    centres = low + step * torch.arange(1, bands + 1)
    source = hz_to_mel(mel_to_hz(centres.to(log_mel)) / factor[:, None])
    position = ((source - low) / step - 1).clamp(0, bands - 1)
    below = position.floor().clamp(max=bands - 2).long()
    share = (position - below)[:, None]
    lower, upper = (
        log_mel.gather(-1, index[:, None].expand_as(log_mel)) for index in (below, below + 1)
    )
    return torch.lerp(lower, upper, share)


def hz_to_mel(hz: Tensor) -> Tensor:
    """Frequencies on the front end's mel scale."""
    return 2595 * (1 + hz / 700).log10()


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of ``hz_to_mel``."""
    return 700 * (10 ** (mel / 2595) - 1)


def band_limited(log_mel: Tensor, cutoff: Tensor) -> Tensor:
    """Log-mel (B, 2T, 80) as that of the same speech through a low-pass of ``cutoff`` (B,) Hz.

    A band above it is at the front end's floor, as where a recording holds nothing. A band that
    the low-pass divides keeps the share of a spectrum that is flat within it.
    """
    hz = torch.linspace(0, HIGHEST_HZ, TRAINING.fft // 2 + 1, device=log_mel.device)
    filters = torch.from_numpy(mel_filters(TRAINING.fft, TRAINING.bands)).to(log_mel)
    passed = low_pass_gain(hz, cutoff[:, None]).square() @ filters / filters.sum(0)
    power = (log_mel * TRAINING.scale + TRAINING.mean).exp() - TRAINING.floor
    logarithm = (passed[:, None] * power.clamp(min=0) + TRAINING.floor).log()
    return (logarithm - TRAINING.mean) / TRAINING.scale


def low_pass_gain(hz: Tensor, cutoff: Tensor) -> Tensor:
    """The gains of ``audio.degradation.low_pass`` at some frequencies."""
    position = ((hz - cutoff) / (SLOPE * cutoff)).clamp(-0.5, 0.5)
    return (1 - (torch.pi * position).sin()) / 2
