"""Audio encoders inside the talker: frozen features adapted, or a log-mel convolutional encoder.

The large encoder itself is frozen and runs once per clip, in ``features``; what the teacher trains
is the small adapter over it. The student trains its whole encoder (v2).
"""

import torch
from torch import Tensor, nn

from diffusiontalker.audio.log_mel import BANDS, PER_FRAME, STEM
from diffusiontalker.model.convolutions import ChunkCache, FrameCache, TimeConv, masked, windows


class FrameNorm(nn.Module):
    """RMS norm over the channels of (B, T, C), frame by frame.

    ``nn.RMSNorm``, written so that ONNX Runtime fuses it into one operator.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.gain


class FeatureAdapter(nn.Module):
    """Frozen encoder features (B, T, D) to audio features (B, T, A).

    Dropout, because the encoder may have been trained on the training set: its features are cleaner
    there than on new speech.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.LayerNorm(features), nn.Dropout(0.15))
        self.project = nn.Linear(features, width)

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """``features`` (B, T, D), ``mask`` (B, T, 1) -> (B, T, A), zero on padding."""
        return masked(self.project(self.norm(features)), mask)


class HybridEncoder(nn.Module):
    """Frozen features (B, T, D) beside a trained log-mel encoder: audio features (B, T, A).

    Encoders trained for speech recognition drop much of pitch and timbre, on which brows and
    emotions depend; the spectrum still holds them. The two are added, so that a student can be
    initialised from the trained half (our choice).
    """

    def __init__(
        self, features: int, width: int, depth: int, out: int, look_ahead: int | None
    ) -> None:
        super().__init__()
        self.features = features
        self.adapter = FeatureAdapter(features, out)
        self.mel = LogMelEncoder(width, depth, out, look_ahead)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """``inputs`` (B, T, D + 160) from ``join``, ``mask`` (B, T, 1) -> (B, T, A)."""
        log_mel = inputs[..., self.features :].unflatten(-1, (PER_FRAME, BANDS)).flatten(1, 2)
        return self.adapter(inputs[..., : self.features], mask) + self.mel(log_mel, mask)


def join(features: Tensor, log_mel: Tensor) -> Tensor:
    """Features (B, T, D) and log-mel (B, 2T, 80) per frame: (B, T, D + 160)."""
    return torch.cat([features, log_mel.unflatten(1, (-1, PER_FRAME)).flatten(2)], dim=-1)


class LogMelEncoder(nn.Module):
    """A log-mel spectrogram (B, 2T, 80) to audio features (B, T, A): the student's encoder.

    A strided convolution brings 60 Hz to 30 fps; residual blocks with dilations 1, 2, 4, ... have a
    receptive field of about half a second to either side. Our choice: a tenth of the cost of
    HuBERT-base's front end.

    With a look-ahead, only the strided convolution depends on later mel frames, and the blocks are
    causal, over a second: so the look-ahead does not grow with the depth.
    """

    def __init__(self, width: int, depth: int, out: int, look_ahead: int | None = None) -> None:
        """``look_ahead`` in mel frames (``log_mel.look_ahead``); None: not causal."""
        super().__init__()
        self.look_ahead = look_ahead
        self.causal = look_ahead is not None
        self.stem = nn.Linear(STEM * BANDS, width)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, 2 ** (i % 3), self.causal) for i in range(depth)
        )
        self.norm = FrameNorm(width)
        self.project = nn.Linear(width, out)

    def forward(self, log_mel: Tensor, mask: Tensor | None) -> Tensor:
        """``log_mel`` (B, 2T, 80), ``mask`` (B, T, 1) -> (B, T, A), zero on padding."""
        if mask is not None:
            # The stem of the last real frame reaches into the padding.
            log_mel = (log_mel.unflatten(1, (-1, PER_FRAME)) * mask[..., None]).flatten(1, 2)
        ahead = PER_FRAME if self.look_ahead is None else self.look_ahead
        # Negative padding cuts off mel frames outside all receptive fields.
        padding = (0, 0, STEM - 1 - ahead, ahead - (PER_FRAME - 1))
        return self.chunk(nn.functional.pad(log_mel, padding), mask)

    def chunk(
        self,
        log_mel: Tensor,
        mask: Tensor | None = None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> Tensor:
        """T frames of a clip, from the mel frames in their receptive fields.

        Args:
            log_mel: (B, 2T + 3, 80); for R mel frames of look-ahead, the frames 2t + R - 4 to
                2(t + T) + R - 2 of the clip, zeros beyond its ends.
            mask: (B, T, 1).
            cache: of the previous chunk.
        """
        h = masked(self.stem(windows(log_mel, STEM, stride=PER_FRAME)), mask)
        for block in self.blocks:
            h = masked(block(h, cache), mask)
        return masked(self.project(self.norm(h)), mask)


class EncoderBlock(nn.Sequential):
    """A residual block: norm, dilated convolution, GELU, linear."""

    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__(
            FrameNorm(width),
            TimeConv(width, width, 3, dilation, causal),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, h: Tensor, cache: ChunkCache | FrameCache | None = None) -> Tensor:
        """``h`` (B, T, W)."""
        norm, dilated, gelu, mix = self
        return h + mix(gelu(dilated(norm(h), cache)))
