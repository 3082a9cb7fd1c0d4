"""The networks of teacher and student."""

from typing import Annotated, Literal

from pydantic import Field

from diffusiontalker.config.section import Count, Section, Share

Dilations = Annotated[tuple[Count, ...], Field(min_length=1)]


class ContextSettings(Section):
    """The part of the motion decoder that runs once per clip (ours)."""

    width: Count = 160
    depth: Annotated[int, Field(ge=0)] = 6
    """Residual blocks; 0 leaves it out: the decoder sees the audio features, as in the papers."""
    dilations: Dilations = (1, 2, 4, 8)


class DecoderSettings(Section):
    """The part of the motion decoder that runs every step: noisy coefficients to x_0."""

    kind: Literal["gru", "tcn"] = "tcn"
    """gru: v1's two-layer GRU. tcn: residual temporal convolutions (ours; faster on CPUs)."""
    width: Count = 128
    depth: Count = 4
    """Layers of the GRU, or residual blocks of the TCN."""
    dilations: Dilations = (1, 2, 4, 8)
    """Dilations of the TCN's blocks, repeated in order."""


class PersonalizerSettings(Section):
    """Identity and emotion libraries and what derives them from a voice (v1, v2)."""

    dim: Count = 32
    """Width of a library entry (v1: 32)."""
    fused: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    """Width of the personalized embedding, which four attention heads share."""
    fusion: Literal["self", "cross"] = "self"
    """How identity and emotion are fused (v2: cross-attention, whose form it leaves open). self:
    both attend to both. cross: each attends to the other alone, and a learned embedding tells them
    apart."""
    use_identity: bool = True
    use_emotion: bool = True
    """v1 has identity alone."""
    from_voice: Share = 0.5
    """Share of training examples conditioned on the embedding derived from the voice instead of
    the library entry, so that both may be used at inference."""


class SharedModelSettings(Section):
    """What teacher and student have in common, so that a student can start from the teacher's
    weights."""

    audio_dim: Count = 128
    """Width of the audio features that personalizer and decoder see."""
    encoder_width: Count = 128
    """Width of the trainable audio encoder over the log-mel spectrogram at 30 fps."""
    encoder_depth: Count = 4
    """Its residual convolution blocks."""
    look_ahead_ms: Annotated[float, Field(ge=0, le=1000)] | None = 80.0
    """Milliseconds of audio after its own time that a frame may depend on, in all: the student is
    causal but for them, and can be streamed. None: it needs the whole clip, and cannot."""
    personalizer: PersonalizerSettings = PersonalizerSettings()
    schedule: Literal["linear", "cosine"] = "cosine"
    """Noise schedule (v1: linear)."""
    noise: Literal["ar2", "white"] = "ar2"
    """ar2: each channel's noise moves over time as the channel does in the training data, and gaze
    jumps as often (ours).
    white: independent from frame to frame, as in the papers."""
    blinks: bool = True
    """Blinks are events, drawn from a learned probability, rather than a part of the noise (ours).
    Where the training data has too few of them they stay a part of it."""
    lip_seal: bool = True
    """Whether lips meet is decided frame by frame, and then they do, rather than left to the
    regression, which half closes them where it is in doubt (ours)."""


class TeacherModelSettings(Section):
    """The teacher: frozen features, and a decoder."""

    log_mel: bool = True
    """Give the teacher the log-mel spectrogram beside the frozen features, through an audio encoder
    of the student's shape (ours)."""
    context: ContextSettings = ContextSettings()
    decoder: DecoderSettings = DecoderSettings()


class StudentModelSettings(Section):
    """The student: the trainable audio encoder, and a smaller decoder (v2)."""

    frozen_features: bool = False
    """The student, too, takes the frozen encoder's features: of the teacher's shape it is its copy,
    as in v1. It cannot be exported: the artifact holds no such encoder."""
    context: ContextSettings = ContextSettings(depth=4)
    decoder: DecoderSettings = DecoderSettings(depth=3)


class ModelSettings(Section):
    """Shapes of the networks."""

    shared: SharedModelSettings = SharedModelSettings()
    teacher: TeacherModelSettings = TeacherModelSettings()
    student: StudentModelSettings = StudentModelSettings()
