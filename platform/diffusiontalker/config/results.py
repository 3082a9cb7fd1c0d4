"""How models are measured, and how a student becomes an artifact."""

from typing import Annotated, Literal

from pydantic import Field

from diffusiontalker.config.section import Count, Section, Share

Precision = Literal["fp32", "fp16", "int8"]


class EvaluationSettings(Section):
    """How models are measured on the test splits."""

    seeds: Annotated[int, Field(ge=2)] = 4
    """Samples per clip: errors average over them, diversity and energy score need several."""
    teacher_steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (16, 8, 4, 2, 1)
    """Step counts at which the undistilled teacher is sampled, as the baseline of each student."""
    rig: str | None = None
    """A rig (.npz with mean, deltas, names) for the vertex metrics; None: the Face Cap head."""


class EvaluateJobSettings(Section):
    """All settings of ``jobs/evaluate.py``."""

    model: str = "shipped"
    """An artifact: a folder or s3:// prefix, or shipped, the student that is part of the package.
    With ``run``, one of its models in PyTorch: teacher, or student-2 and the like."""
    run: str | None = None
    """Folder or s3:// prefix of a finished run."""
    shards: str
    """Folder or s3:// prefix of a prepared set, such as jobs/prepare.py writes."""
    splits: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """None: its test splits."""
    clips: Count | None = None
    """Clips of each split at most, the first by name of each of its shards in turn; None: all."""
    steps: Count | None = None
    """Sampling steps of a model of a run; None: the run's for a teacher, a student's own."""
    sampler: Literal["ddim", "ancestral"] | None = None
    """Of a model of a run; None: the run's."""
    seeds: Annotated[int, Field(ge=2)] = 3
    """Samples per clip."""
    rig: str | None = None
    """As in ``EvaluationSettings``."""
    out: str = "runs/evaluation"
    """Folder or s3:// prefix of the figures."""


class ExportSettings(Section):
    """How a student becomes an artifact."""

    precision: Precision = "int8"
    """Of the weights. int8: 8-bit layers, calibrated on validation clips; the fastest on a
    CPU. fp16: half the size of fp32; the weights are widened when the artifact is loaded, so it
    computes as in fp32."""
    max_growth: Share = 0.02
    """Share by which LBE or energy score may grow on validation against fp32, for the identities
    and emotions that fp32 detects."""
    max_changed: Share = 0.1
    """Share of ``clips`` in which the detected identity or emotion may differ from that of fp32; in
    one clip it always may."""
    clips: Count = 32
    """Validation clips for that, and for calibration."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """Of the artifact, for its model card, such as CC-BY-4.0. None: the card names the data that it
    was trained on and its licence, as far as known."""
