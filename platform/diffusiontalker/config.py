"""One typed tree of settings for every job: strict YAML, ``key=value`` overrides, clear errors.

A setting has one home here, a type, a unit and a default. "v1" and "v2" name the paper a value or
an idea comes from (arXiv 2311.16565 and 2503.18159); where neither settles a value, it is ours.
"""

import copy
import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffusiontalker.errors import UserError

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
Precision = Literal["fp32", "fp16", "int8"]
Dilations = Annotated[tuple[Count, ...], Field(min_length=1)]


class Section(BaseModel):
    """A group of settings: unknown keys are errors, values are frozen once read.

    An empty section means its defaults, and so does every key that a section leaves out, where
    the defaults are those of the section's place: ``student.decoder`` has its own.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        defaults = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Section)
        }
        return {
            key: _merge(defaults[key], value) if key in defaults else value
            for key, value in given.items()
        }


class CorpusSettings(Section):
    """The procedural corpus, or prepared shards of your own."""

    path: str | None = None
    """Folder or s3:// prefix of prepared shards to use instead of the procedural corpus."""
    speakers: Annotated[int, Field(ge=2, le=2000)] = 16
    """Speakers of train, val and test_seen."""
    unseen_speakers: Count = 4
    """Speakers of test_unseen alone."""
    minutes: Annotated[float, Field(gt=0)] = 48.0
    """Minutes of speech to aim for in train."""
    eval_clips: Annotated[int, Field(ge=4)] = 56
    """Clips in each of val, test_seen and test_unseen."""
    emotions: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "neutral",
        "happiness",
        "anger",
        "sadness",
        "fear",
        "surprise",
        "disgust",
    )
    expected_draws: Annotated[int, Field(ge=2)] = 24
    """Draws averaged into the expected face of evaluation clips."""
    clips_per_shard: Count = 48
    seed: Seed = 0


class EncoderSettings(Section):
    """The teacher's frozen large audio encoder: HuBERT, WavLM or wav2vec 2.0."""

    name: str | None = None
    """Hub name such as facebook/hubert-base-ls960, or a folder saved by ``save_pretrained``, local
    or s3://. None: train a small HuBERT on the corpus's phonemes first."""
    revision: str | None = None
    """Hub revision to pin."""
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 3)
    """Hidden states whose concatenation is the audio feature; 0 is the input of the first layer,
    negative counts from the end. Higher layers cost time: those above the highest do not run."""
    cache: str | None = None
    """Folder or s3:// prefix in which runs share extracted features: they lie there under the
    names of corpus and encoder, so a run finds its own or makes them. None: the run's folder."""
    actors: Count | None = None
    """Encoders that run at once when features are extracted, each on a CPU, or on
    ``gpus_per_actor`` if ``training.gpu``. None: as many as the cluster holds."""
    gpus_per_actor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """GPUs of an actor; 0.5 lets two share one."""
    extract_seconds: Annotated[float, Field(gt=0)] = 40.0
    """Seconds of speech that an encoder hears at once on a GPU; a longer clip is heard alone. (A
    CPU is no faster with several clips than with one.)"""
    log_mel: bool = True
    """Let the teacher hear the log-mel spectrum beside the frozen features, through an encoder of
    the student's shape (ours)."""
    hidden: Count = 96
    """Width of the small HuBERT, a multiple of 32."""
    depth: Count = 3
    """Transformer layers of the small HuBERT."""
    epochs: Count = 3
    passes: Count = 4
    """Passes over the data in an epoch (between two checkpoints)."""
    batch_seconds: Annotated[float, Field(gt=0)] = 48.0
    """Seconds of speech in a training batch."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3

    @model_validator(mode="after")
    def _small_one_can_be_built(self) -> "EncoderSettings":
        if self.name is None:
            attention_heads(self.hidden)
            if not layers_fit(self.layers, self.depth):
                raise ValueError(
                    f"layers {list(self.layers)}: the small HuBERT of depth {self.depth} has "
                    f"hidden states 0 to {self.depth}; change layers or depth, or name a model"
                )
        return self


def attention_heads(hidden: int) -> int:
    """Of the small HuBERT: each 32 wide or wider. Raises ValueError if ``hidden`` has no such."""
    heads = max(hidden // 32, 1)
    if hidden % heads or hidden % 8:
        raise ValueError(f"hidden {hidden}: choose a multiple of 32")
    return heads


def layers_fit(layers: Sequence[int], depth: int) -> bool:
    """Whether a model of ``depth`` transformer layers has all these hidden states."""
    return all(-depth - 1 <= layer <= depth for layer in layers)


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


class StudentSettings(Section):
    """The student: a trainable small audio encoder and a smaller decoder (v2)."""

    encoder_width: Count = 128
    encoder_depth: Count = 4
    """Residual convolution blocks over the log-mel spectrogram at 30 fps."""
    context: ContextSettings = ContextSettings(depth=4)
    decoder: DecoderSettings = DecoderSettings(depth=3)
    look_ahead_ms: Annotated[float, Field(ge=0, le=1000)] | None = 80.0
    """Milliseconds of audio after its own time that a frame may depend on, in all: the student is
    causal but for them, and can be streamed. None: it hears the whole clip, and cannot."""


class PersonalizerSettings(Section):
    """Identity and emotion libraries and what derives them from a voice (v1, v2)."""

    dim: Count = 32
    """Width of a library entry (v1: 32)."""
    fused: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    """Width of the personalized embedding, which four attention heads share."""
    use_identity: bool = True
    use_emotion: bool = True
    """v1 has identity alone."""
    from_voice: Share = 0.5
    """Share of training examples conditioned on the embedding derived from the voice instead of
    the library entry, so that both may be used at inference."""


class DiffusionSettings(Section):
    """The noise schedule and the sampler."""

    schedule: Literal["linear", "cosine"] = "cosine"
    """v1: linear."""
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
    steps: a proper score that a blur cannot win (ours)."""
    energy_steps: Count = 2
    energy_chunk: Count = 12
    """Frames whose movement the energy score judges together."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the contrastive losses."""
    student_truth: Literal["all", "lip"] = "all"
    """Channels on which a student also sees the recording (exp, vel). A regression to the
    recording blurs what the audio does not determine; "lip" leaves the upper face to the
    distillation target alone (ours)."""
    channel_power: Share = 0.5
    """Channels weigh as (their standard deviation)^power in losses on standardised coefficients:
    0 treats all alike, 1 follows their share of the error in coefficient space (ours)."""


class TrainSettings(Section):
    """One Ray Train run: the teacher, or a round."""

    epochs: Count = 5
    """Checkpoints and validations happen at the end of each."""
    passes: Count = 12
    """Passes over the data in an epoch: small corpora need many, and a stream takes time to
    start."""
    batch: Count = 32
    """Windows in a batch, per worker, at most: what a shard holds is dealt out evenly."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    warmup: Share = 0.05
    """Share of the steps in which the learning rate rises; it falls along a cosine after."""
    weight_decay: Weight = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights that validation and sampling use; 0 switches it off."""


class TrainingSettings(Section):
    """What every training run shares, and each run's own schedule."""

    window: Annotated[int, Field(ge=16)] = 96
    """Frames in a training window; a shorter clip gives a window of its own length."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Ray Train workers; each has its own GPU if ``gpu``. 0: one, in the process that asks for the
    run, which starts at once where workers need some 15 seconds: for small runs, and sweeps."""
    gpu: bool = False
    worker_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that Ray reserves for a worker; the stream of data needs some of its own."""
    threads: Count = 1
    """CPU threads that a worker uses."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Times that a run may lose its workers and go on from its last checkpoint."""
    teacher: TrainSettings = TrainSettings()
    first_round: TrainSettings = TrainSettings()
    """The round that compresses: the student's own encoder starts from nothing in it."""
    round: TrainSettings = TrainSettings()
    """Every later round."""
    seed: Seed = 0


class EvaluationSettings(Section):
    """How models are measured on the test splits."""

    seeds: Annotated[int, Field(ge=2)] = 4
    """Samples per clip: errors average over them, diversity and energy score need several."""
    teacher_steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (16, 8, 4, 2, 1)
    """Step counts at which the undistilled teacher is sampled, as the baseline of each student."""
    rig: str | None = None
    """A rig (.npz with mean, deltas, names) for the vertex metrics; None: the Face Cap head."""


class ExportSettings(Section):
    """How a student becomes an artifact."""

    precision: Precision = "int8"
    """Of the weights. int8: 8-bit layers, calibrated on validation clips; the fastest on a
    CPU. fp16: half the size of fp32; the weights are widened when the artifact is loaded, so it
    computes as in fp32."""
    max_growth: Share = 0.02
    """By what share LBE or energy score may grow on validation against fp32, of the voices that
    fp32 hears."""
    max_changed: Share = 0.1
    """Share of ``clips`` in which another identity or emotion may be heard than by fp32; in
    one clip it always may."""
    clips: Count = 32
    """Validation clips for that, and for calibration."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """Of the artifact, for its model card, such as CC-BY-4.0. None: the card names the data that it
    was trained on and what that asks for, as far as it is known."""


class Settings(Section):
    """All settings of a run."""

    output: str
    """Folder or s3:// prefix of the run."""
    corpus: CorpusSettings = CorpusSettings()
    encoder: EncoderSettings = EncoderSettings()
    audio_dim: Count = 128
    """Width of the audio features that personalizer and decoder see."""
    personalizer: PersonalizerSettings = PersonalizerSettings()
    context: ContextSettings = ContextSettings()
    decoder: DecoderSettings = DecoderSettings()
    student: StudentSettings = StudentSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    losses: LossSettings = LossSettings()
    student_losses: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()

    @model_validator(mode="after")
    def _chunks_fit(self) -> "Settings":
        losses = self.student_losses
        if losses.energy > 0 and losses.energy_chunk > self.training.window:
            raise ValueError(
                f"student_losses.energy_chunk {losses.energy_chunk} is longer than "
                f"training.window {self.training.window}: no chunk would fit"
            )
        return self


class ExportJobSettings(ExportSettings):
    """All settings of ``jobs/export.py``."""

    run: str
    """Folder or s3:// prefix of a finished run."""
    out: str
    """Folder or s3:// prefix of the artifact; what lies there is replaced."""
    model: str | None = None
    """A student of the run, such as student-4; None: its last."""


class SourceSettings(Section):
    """Where recordings come from."""

    kind: str
    """beat, 3d-etf, vocaset, folder, procedural, or a class of your own as
    path/to/file.py:Class."""
    root: str = ""
    """Folder or s3:// prefix of the data set, as published; the procedural one has none."""
    options: dict[str, Any] = {}
    """What the kind wants to know beyond that; ``docs/data.md`` names them."""


class SplitSettings(Section):
    """Who and what is held out."""

    rule: Literal["take", "published"] = "take"
    """take: a take, and all takes of its group, lie in one split. published: v1's split by clip,
    in which parts of one take stand on both sides; for comparison with its figures alone."""
    val: Share = 0.08
    """Share of the takes (or clips) of seen speakers, if the data set has no split of its own."""
    test: Share = 0.08
    """Share that becomes test_seen, likewise."""
    unseen_speakers: Share | tuple[str, ...] = 0.1
    """Speakers that become test_unseen: a share of them, or their names; none where the rule is
    published."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> "SplitSettings":
        if self.val + self.test >= 1:
            raise ValueError(f"val and test leave nothing to train on: {self.val} + {self.test}")
        return self

    @model_validator(mode="after")
    def _published_sees_everyone(self) -> "SplitSettings":
        given = "unseen_speakers" in self.model_fields_set and self.unseen_speakers
        if self.rule == "published" and given:
            raise ValueError(
                f"rule published splits by clip and holds out no speaker, but unseen_speakers is "
                f"{self.unseen_speakers}; set split.unseen_speakers=0, or rule take"
            )
        return self


class DataSettings(Section):
    """All settings of ``jobs/prepare.py``: a data set into shards."""

    source: SourceSettings
    output: str
    """Folder or s3:// prefix of the shards."""
    clip_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    """Length of a clip (v1: 10); the rest of a take becomes a shorter one."""
    min_clip_seconds: Annotated[float, Field(ge=0.5)] = 1.0
    """A shorter rest is left out."""
    max_mismatch_seconds: Annotated[float, Field(ge=0)] = 0.5
    """Audio and coefficients may differ in length by so much; the longer is cut."""
    max_mismatch_share: Share = 0.15
    """And by no more than this share of the longer: 25 fps that are taken for 30 are a sixth."""
    out_of_range: Literal["refuse", "clip"] = "refuse"
    """What becomes of a take with coefficients below -0.5 or above 1.5. Those within are clipped
    to 0 to 1 either way, as all are with clip."""
    max_quarantined: Share = 0.1
    """Share of the takes that may be malformed before the whole job counts as failed."""
    keep_lifeless: bool = False
    """Whether takes in which nothing is heard or no face moves are kept; else they are put in
    quarantine, since they teach a face that has nothing to do with speech."""
    shard_minutes: Annotated[float, Field(gt=0)] = 8.0
    """Minutes of speech that a shard aims for; a longer take has a shard of its own."""
    split: SplitSettings = SplitSettings()

    @model_validator(mode="after")
    def _clips_are_kept(self) -> "DataSettings":
        if self.min_clip_seconds > self.clip_seconds:
            raise ValueError(
                f"min_clip_seconds {self.min_clip_seconds:g} is above clip_seconds "
                f"{self.clip_seconds:g}: no clip would be kept"
            )
        return self


Objective = Literal["lbe", "energy_score", "upper_energy"]


class Spread(Section):
    """A number to be chosen between two bounds, both of them included."""

    kind: Literal["uniform", "log_uniform", "int"]
    """log_uniform: each factor alike, as for weights and learning rates."""
    low: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> "Spread":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, not {self.low:g} and {self.high:g}")
        if self.kind == "log_uniform" and self.low <= 0:
            raise ValueError(f"a log_uniform range starts above 0, not at {self.low:g}")
        if self.kind == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("the bounds of an int must be whole numbers")
        return self


class Choice(Section):
    """One of several values."""

    kind: Literal["choice"]
    choices: Annotated[tuple[str | bool | int | float, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> "Choice":
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("one of the choices stands twice")
        return self


Distribution = Annotated[Spread | Choice, Field(discriminator="kind")]


class SweepSettings(Section):
    """All settings of ``jobs/sweep.py``."""

    base: str = "configs/quickstart.yaml"
    """The run whose settings are swept. What it has made already (corpus, features, a teacher for
    rounds to start from) is taken from its output folder, and what is missing is made there."""
    output: str = "runs/sweep"
    """Folder or s3:// prefix of the sweep; what lies there of another sweep is never replaced."""
    stage: Literal["teacher", "round", "chain"] = "teacher"
    """What a trial trains. round: the one of ``steps``, from a teacher or student of the base's own
    settings; chain: the teacher and every round."""
    steps: Count | None = None
    """Which round; None: the last."""
    changes: dict[str, Any] = {}
    """Settings of every trial that differ from the base, such as training.teacher.epochs: 4."""
    space: Annotated[dict[str, Distribution], Field(min_length=1)]
    """What is searched: a setting by its name, such as losses.exp, and where from."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=2)] = (
        "energy_score",
    )
    """What should be small on the validation split, in coefficients: lip error, energy score of
    the face or of its upper part. Two are weighed against each other by a Pareto front."""
    trials: Annotated[int, Field(ge=2, le=10_000)] = 40
    """Settings to try; the first is the base's own."""
    search: Literal["tpe", "random"] = "tpe"
    pruning: Literal["asha", "median", "none"] = "asha"
    """How trials that fall behind in the first objective are ended early."""
    grace: Count = 1
    """Epochs before a trial may be ended."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """asha: of so many trials one goes on at each rung."""
    concurrent: Count | None = None
    """Trials at a time, at most; None: as many as the cluster holds."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Times that a trial may lose its process and go on."""
    confirm: Annotated[int, Field(ge=0)] = 1
    """Other seeds with which the base and the finalists are trained once more, to the end: the best
    of many trials is also the luckiest."""
    finalists: Count = 3
    """So many of the best trials; the winner is the best of them over all seeds."""
    seed: Seed = 0
    """Of the search; trials all train with the base's own."""
    mlflow: str | None = None
    """Tracking address of MLflow, such as sqlite:///mlflow.db, if trials are to be logged there."""

    @model_validator(mode="before")
    @classmethod
    def _by_dotted_names(cls, given: Any) -> Any:
        """Both may be written, or overridden, with dots or as sections."""
        if not isinstance(given, dict):
            return given
        dotted = {
            key: _dotted(given[key], ends)
            for key, ends in (("changes", ()), ("space", ("kind", "choices", "low", "high")))
            if isinstance(given.get(key), dict)
        }
        return given | dotted

    @model_validator(mode="after")
    def _two_objectives(self) -> "SweepSettings":
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives name one figure twice")
        return self


class DataBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py data``."""

    out: str = "runs/benchmark"
    """Folder of the figures."""
    s3: str | None = None
    """An s3:// prefix from which the shards are measured too; None: they are not."""
    training: str = "configs/quickstart.yaml"
    """The run whose teacher takes the training step."""
    clips: Annotated[int, Field(ge=64)] = 192
    """Clips in the made set: ten seconds each, and rests."""
    times: Annotated[int, Field(ge=2)] = 20
    """How much larger the set is with which memory is compared."""
    passes: Count = 4
    """Passes over the set in an epoch, the unit that is measured."""
    repeats: Count = 3
    """Epochs of each case, in turn with the others; their median counts."""
    minutes: Annotated[int, Field(ge=12)] = 30
    """Minutes of made recordings to prepare."""


class RuntimeBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py runtime``."""

    run: str = "runs/quickstart"
    """Folder or s3:// prefix of a finished run; its last student is measured."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    lengths: Annotated[tuple[Annotated[float, Field(ge=1, le=3600)], ...], Field(min_length=1)] = (
        1,
        10,
        600,
    )
    """Seconds of the recordings; what runs on HuBERT has the shorter ones alone."""
    threads: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2)
    """CPU threads, one number after the other."""
    repeats: Count = 5
    """Turns of each subject, between those of the others; their median counts."""
    stream_seconds: Annotated[float, Field(ge=60, le=3600)] = 120
    """Seconds of speech in the stream."""


class ServeBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py serve``."""

    model: str = "runs/quickstart/student"
    """The artifact that is served."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    seconds: Annotated[float, Field(ge=1)] = 10
    """How long each load lasts."""
    recording: Annotated[float, Field(ge=1, le=600)] = 10
    """Seconds of the recording that is sent."""
    callers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 4, 16)
    """Callers who each ask again as soon as they have their answer."""
    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.5, 0.8)
    """Of the most that was answered so: rates at which requests come whether answered or not."""
    streams: Annotated[tuple[Count, ...], Field(min_length=1)] = (10, 25, 50, 75, 100, 150)
    """Streams in real time, until their pushes take too long."""
    replicas: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2)
    """Replicas, one number after the other."""
    own_cores: bool = True
    """Give each replica a core to itself, as Kubernetes' static CPU manager does, where one is left
    for callers and proxy. Without, or elsewhere than on Linux, they share all cores."""
    soak: Annotated[float, Field(ge=0)] = 600
    """Seconds at the largest share with one replica, watching errors and memory; 0: not at all."""


class SweepBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py sweep``."""

    sweep: str = "configs/sweep-quick.yaml"
    """The sweep that is run several times: as it is, with random search, and without pruning."""
    trials: Annotated[int, Field(ge=2)] | None = None
    """Trials of each; None: as many as the sweep has."""
    out: str = "runs/benchmark"
    """Folder of the figures; the sweeps lie below it."""


Tree = TypeVar("Tree", bound=Section)


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read the settings of a run from YAML, then apply ``key=value`` overrides (dots lead into
    sections).

    Raises:
        UserError: no such file, no YAML, a key that is unknown, stands twice or is out of range;
            the line names the key and the nearest right one.
    """
    return load_as(Settings, path, overrides)


def load_data(path: str | Path | None, overrides: Sequence[str] = ()) -> DataSettings:
    """Read the settings of ``jobs/prepare.py``, as ``load``. Raises UserError."""
    return load_as(DataSettings, path, overrides)


def load_as(kind: type[Tree], path: str | Path | None, overrides: Sequence[str]) -> Tree:
    """Read settings of a kind, as ``load``. Raises UserError."""
    own = {} if path is None else _read(path)
    tree = copy.deepcopy(own)
    for override in overrides:
        _apply(tree, override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        where = str(path) if path is not None and _is_of(kind, own, error) else "command line"
        raise UserError(f"{where}: {_explain(kind, error)}") from error


def _read(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises UserError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        beside = {other.stem: other for other in Path(path).parent.glob("*.y*ml")}
        near = difflib.get_close_matches(Path(path).stem, beside, n=1)
        hint = f"; did you mean {beside[near[0]]}?" if near else ""
        raise UserError(f"{path}: cannot read the configuration ({reason}){hint}") from error
    try:
        tree = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def _is_of(kind: type[BaseModel], tree: dict[str, Any], error: ValidationError) -> bool:
    """Whether ``tree`` alone, without what was changed in it, has the same first mistake."""
    try:
        kind.model_validate(tree)
    except ValidationError as own:
        first = _first(error)
        return any(
            (one["loc"], one["type"], one["msg"]) == (first["loc"], first["type"], first["msg"])
            for one in own.errors()
        )
    return False


def check(kind: type[Tree], tree: Any, where: str) -> Tree:
    """``tree`` as settings of a kind.

    Raises:
        UserError: a key is unknown, missing or out of range; ``where`` begins the line.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(kind, error)}") from error


def changed(settings: Tree, values: Mapping[str, Any], where: str) -> Tree:
    """``settings`` with other values for dotted keys such as ``losses.exp``.

    Raises:
        UserError: a key is unknown or a value out of range; ``where`` begins the line.
    """
    tree = settings.model_dump()
    for key, value in values.items():
        _put(tree, key, value, f"{where}: {key}")
    return check(type(settings), tree, where)


def value_of(settings: Section, key: str) -> Any:
    """What stands at a dotted key that ``changed`` accepts."""
    found: Any = settings
    for part in key.split("."):
        found = getattr(found, part)
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The dotted keys of two trees of settings, as plain values, that are not alike in both."""
    flat, others = _dotted(dict(one), ()), _dotted(dict(other), ())
    return sorted(key for key in flat | others if flat.get(key) != others.get(key))


def to_yaml(settings: Section) -> str:
    """The resolved settings as YAML that ``load`` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def fingerprint(*parts: Any) -> str:
    """A short hash of settings, strings and numbers: the same content, the same name."""
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals and override.endswith((".yaml", ".yml")):
        raise UserError(f"{override!r} is a file, not key=value; give it as --config {override}")
    if not equals or not key:
        raise UserError(f"{override!r} is not of the form key=value, like {key or 'output'}=...")
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not valid YAML") from error
    _put(tree, key, value, repr(override))


def _put(tree: dict[str, Any], key: str, value: Any, said: str) -> None:
    """Set what the dotted ``key`` leads to; a mistake begins with ``said``."""
    *sections, leaf = key.split(".")
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise UserError(f"{said}: {section!r} is a value, not a section")
    tree[leaf] = value


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    """The first mistake of a pydantic error as one line."""
    first = _first(error)
    shown, beside = _walk(kind, first["loc"])
    where = ".".join(shown)
    if first["type"] == "extra_forbidden":
        if len(shown) == 1 and (job := _job_of(kind, error)):
            return f"unknown setting {where!r}, which is one of {job}"
        near = difflib.get_close_matches(shown[-1], beside, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(beside)}"
        return f"unknown setting {where!r}; {hint}"
    if first["type"] == "missing":
        return f"{where} is needed; give it in a file (--config FILE), or as {where}=..."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"].startswith("union_tag"):
        tags = first.get("ctx", {}).get("expected_tags")
        message = f"needs a kind, one of {tags}" if tags else "needs a kind"
    if first["type"] == "model_type":
        message = "expected a section of keys and values"
    if not where:  # of several settings together, which the message names
        return str(message)
    if first["type"] == "value_error" and not isinstance(first["input"], str | int | float):
        return f"{where}: {message}"  # of several settings of a section, which the message names
    return f"{where}: {message} (got {_short(first['input'])})"


def _first(error: ValidationError) -> Any:
    """The mistake to tell of: a key that is unknown rather than one that is missing, which is
    mostly the same key."""
    return min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")


def _job_of(kind: type[BaseModel], error: ValidationError) -> str | None:
    """The job that knows all the top-level keys which ``kind`` does not."""
    jobs: dict[str, type[BaseModel]] = {
        "jobs/sweep.py": SweepSettings,
        "jobs/prepare.py": DataSettings,
        "jobs/distill.py": Settings,
        "jobs/export.py": ExportJobSettings,
    }
    if kind not in jobs.values():
        return None
    extra = [one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"]
    keys = {str(location[0]) for location in extra if len(location) == 1}
    return next((job for job, other in jobs.items() if keys <= set(other.model_fields)), None)


def _merge(default: Any, given: Any) -> Any:
    """``given`` over ``default``, section by section; None gives way to a whole section."""
    if isinstance(default, dict) and given is None:
        return default
    if not isinstance(default, dict) or not isinstance(given, dict):
        return given
    return default | {key: _merge(default.get(key), value) for key, value in given.items()}


def _dotted(tree: dict[str, Any], ends: Sequence[str]) -> dict[str, Any]:
    """Sections in sections as one with dotted keys; one with a key of ``ends`` is a value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and not _ends(value, ends):
            found |= {f"{key}.{inner}": v for inner, v in _dotted(value, ends).items()}
        else:
            found[str(key)] = value
    return found


def _ends(section: dict[str, Any], ends: Sequence[str]) -> bool:
    return any(not isinstance(section[name], dict) for name in set(ends) & set(section))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(
    kind: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Where a pydantic error is, as people write it, and the keys that are known there."""
    shown: list[str] = []
    models, beside, in_dict = [kind], [kind], False
    for part in location:
        fields = [m.model_fields[str(part)] for m in models if str(part) in m.model_fields]
        if fields and not in_dict:
            beside, annotation = models, fields[0].annotation
            models, in_dict = _models_in(annotation), get_origin(annotation) is dict
        elif in_dict or isinstance(part, int):
            in_dict = False
        elif taken := [m for m in models if _is_kind(m, part)]:
            models = beside = taken  # which of several pydantic took it for: nothing people wrote
            continue
        elif models:
            beside = models  # an unknown key
        else:
            continue  # the type of a value
        shown.append(str(part))
    return shown, [key for model in beside for key in model.model_fields]


def _is_kind(model: type[BaseModel], part: str) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and part in get_args(field.annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
