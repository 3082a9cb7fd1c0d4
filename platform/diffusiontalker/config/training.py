"""Training of teacher and students: steps, losses, schedules and hardware."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffusiontalker.config.section import Count, Section, Seed, Share, Weight


class DiffusionSettings(Section):
    """Sampling and the rounds of distillation."""

    sampler: Literal["ddim", "ancestral"] = "ddim"
    steps: Count = 16
    """Sampling steps of the teacher."""
    rounds: tuple[Count, ...] = (8, 4, 2)
    """Steps of each student; every one is half of the one before."""

    @model_validator(mode="after")
    def _halves(self) -> "DiffusionSettings":
        before = self.steps
        for steps in self.rounds:
            if steps * 2 != before:
                raise ValueError(
                    f"rounds must halve the steps each time: {steps} does not follow {before}"
                )
            before = steps
        return self


class LossSettings(Section):
    """Weights of the losses (v1's where it gives one)."""

    exp: Weight = 1.0
    """x_0 over all channels (v1: 1)."""
    lip: Weight = 1.0
    """x_0 over the lip channels (v1: 1)."""
    vel: Weight = 0.5
    """Velocity (v1: 0.5)."""
    movement: Weight = 0.03
    """Velocity and acceleration of prediction and context's mean, in units of each channel's own
    (ours)."""
    aperture: Weight = 2.0
    """Logarithm of the lips' aperture, of prediction and context's mean: closures (ours)."""
    blink: Weight = 0.3
    """When blinks begin (ours)."""
    seal: Weight = 0.3
    """Whether the lips are closed (ours)."""
    mean: Weight = 1.0
    """Context's mean against the recording, all channels and lips (ours)."""
    con_identity: Weight = 0.007
    """Contrastive identity (v1: 0.007)."""
    con_emotion: Weight = 0.007
    dis: Weight = 0.1
    """Distillation target (v1: 0.1)."""
    ae: Weight = 0.1
    """Student's audio features against the teacher's (v2; weight ours)."""
    pc: Weight = 0.01
    """Personalizer enhancer (v2; weight ours)."""
    energy: Weight = 0.0
    """Energy score of two whole samples of the upper face, in rounds of at most ``energy_steps``
    steps: a proper scoring rule, which averaged motion does not minimise (ours)."""
    energy_steps: Count = 2
    energy_chunk: Count = 12
    """Consecutive frames that the energy score compares as one vector."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the contrastive losses."""
    student_truth: Literal["all", "lip"] = "all"
    """Channels on which a student is also trained on the recording (exp, vel). A regression to the
    recording blurs what the audio does not determine; "lip" leaves the upper face to the
    distillation target alone (ours)."""
    channel_power: Share = 0.5
    """Weight of a channel in losses on standardised coefficients: its standard deviation to this
    power. 0 treats all alike, 1 follows their share of the error in coefficient space (ours)."""


class LossesSettings(Section):
    """Losses of the teacher and of every round."""

    teacher: LossSettings = LossSettings()
    student: LossSettings = LossSettings()


TrainingPrecision = Literal["fp32", "bf16"]


class TrainSettings(Section):
    """Length and optimizer of one training stage."""

    epochs: Count = 5
    """A checkpoint and a validation at the end of each."""
    passes: Count = 12
    """Passes over the data in an epoch: small corpora need many, since each epoch starts its
    readers anew."""
    batch: Count = 32
    """Windows in a batch, of all workers together, at most: those of a shard are divided evenly,
    and each worker takes as many. Best a multiple of the workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    warmup: Share = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up: along a cosine to a hundredth, or constant, as
    in v1."""
    weight_decay: Weight = 0.01
    """AdamW's; with 0 it is Adam, as in v1."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; None: it is not clipped, as in v1."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights that validation and sampling use; 0 switches it off."""
    accumulate: Count = 1
    """Batches whose gradients are averaged for one step of the optimizer, where a larger batch does
    not fit the memory. Contrastive losses in the batch see each batch alone."""
    monitor: str = "loss"
    """The validation metric, lower being better, that ``select`` and ``patience`` go by: ``loss``
    or one of its parts."""
    select: Literal["last", "best"] = "last"
    """The epoch whose averaged weights are the result: the last, or the one with the best value of
    ``monitor``."""
    patience: Count | None = None
    """Epochs without a better value of ``monitor`` after which training stops (early stopping);
    null: all epochs are trained."""


class MotionTrainSettings(TrainSettings):
    """Training of a talker: the teacher, or the student of a round."""

    window: Annotated[int, Field(ge=16)] = 96
    """Frames in a training window; a shorter clip gives a window of its own length."""

    @model_validator(mode="after")
    def _monitors_a_loss(self) -> "MotionTrainSettings":
        # Otherwise it is found out after the first epoch.
        if self.monitor != "loss" and self.monitor not in LossSettings.model_fields:
            raise ValueError(f"monitor {self.monitor!r} is neither loss nor a part of it")
        return self


class EncoderTrainSettings(Section):
    """Training of the small HuBERT."""

    epochs: Count = 3
    passes: Count = 4
    """Passes over the data in an epoch (between two checkpoints)."""
    batch_seconds: Annotated[float, Field(gt=0)] = 48.0
    """Seconds of speech in a training batch, over all workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3


class TrainingSettings(Section):
    """What every training stage shares, and each stage's own schedule."""

    workers: Annotated[int, Field(ge=0)] = 1
    """Ray Train workers, which divide every batch among them; each has its own GPU if
    ``resources.gpu``. 0: one, in the calling process, which starts at once where workers need some
    15 seconds: for small runs, and sweeps."""
    seed: Seed = 0
    precision: TrainingPrecision = "fp32"
    """Of the forward pass: bf16 is autocast to bfloat16, for GPUs that have it. Weights, optimizer
    and validation stay in fp32."""
    tf32: bool = False
    """Matrix products in TensorFloat-32, on GPUs that have it: faster, with 10 bits of mantissa.
    Convolutions use it whatever is set here, as torch does by default."""
    compile: bool = False
    """Compile the networks with ``torch.compile``, which takes a minute or more at the start of a
    stage, and on a CPU a C++ compiler."""
    overfit_batches: Count | None = None
    """Train and validate on the first so many batches of each worker alone, over and over: a model
    that cannot learn them by heart has a fault. null: on all."""
    encoder: EncoderTrainSettings = EncoderTrainSettings()
    """The small HuBERT, where ``encoder.name`` names no other."""
    teacher: MotionTrainSettings = MotionTrainSettings()
    first_round: MotionTrainSettings = MotionTrainSettings()
    """The first round, which compresses: what differs in shape from the teacher starts from random
    weights."""
    round: MotionTrainSettings = MotionTrainSettings()
    """Every later round."""

    @model_validator(mode="after")
    def _a_window_each(self) -> "TrainingSettings":
        stages = {"teacher": self.teacher, "first_round": self.first_round, "round": self.round}
        for name, stage in stages.items():
            if stage.batch < self.workers:
                raise ValueError(
                    f"{name}.batch {stage.batch} is not a window for each of {self.workers} workers"
                )
        return self

    def worker_batch(self, batch: int) -> int:
        """Windows of a batch that one worker takes, at most."""
        return batch // max(self.workers, 1)


class ResourceSettings(Section):
    """The hardware of training, and what happens when it fails; does not change results."""

    gpu: bool = False
    """Train, and extract features, on GPUs."""
    worker_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that Ray reserves for a worker; reading the data needs some of its own."""
    threads: Count = 1
    """CPU threads of a worker."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Times that a stage may lose its workers and go on from its last checkpoint."""
    gpus_per_worker: Annotated[float, Field(gt=0, le=1)] = 1.0
    """GPUs of a training worker, with ``gpu``; below 1 several workers share one, and exchange
    gradients over gloo, since NCCL does not share a GPU."""
    checkpoint_steps: Count | None = None
    """Steps between two checkpoints within an epoch; null: ``checkpoint_minutes`` alone counts."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = 10.0
    """Minutes between two checkpoints within an epoch; null: ``checkpoint_steps`` alone counts. One
    is written after every epoch, too."""
    profile_steps: Count | None = None
    """Steps that ``torch.profiler`` records at the start of every training stage, on each worker,
    into the folder ``profile`` of the stage's checkpoints; null: none."""
    logs: Literal["text", "json"] = "text"
    """What a run prints: lines for people, or a JSON object a line with the time, the run, the
    stage, the event, and with metrics the rank of the worker that they are from."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 5
    """Steps of a stage that may be skipped because their gradient is not finite, before it stops
    with its last checkpoint kept."""
