"""One typed tree of settings for every job: strict YAML, ``key=value`` overrides, clear errors.

A setting has one home, a type, a unit and a default. The sections of a run's settings are those of
its stages: a stage's result is determined by whole sections, and what does not change results
(``output``, ``extraction``, ``resources``) lies in sections of its own.
"""

from diffusiontalker.config.augmentation import (
    AugmentationSettings,
    DegradationSettings,
    DegradationWeights,
)
from diffusiontalker.config.benchmarks import (
    CapacityBenchmarkSettings,
    DataBenchmarkSettings,
    HumanBenchmarkSettings,
    RobustnessBenchmarkSettings,
    RuntimeBenchmarkSettings,
    ServeBenchmarkSettings,
    SweepBenchmarkSettings,
    TrainBenchmarkSettings,
)
from diffusiontalker.config.comparison import (
    CompareSettings,
    ComparisonSettings,
    RivalSettings,
)
from diffusiontalker.config.corpus import CorpusSettings, VoiceWeights
from diffusiontalker.config.data import DataSettings, SourceSettings, SplitSettings
from diffusiontalker.config.encoder import (
    EncoderSettings,
    ExtractionSettings,
    SmallEncoderSettings,
    attention_heads,
    layers_fit,
)
from diffusiontalker.config.loader import (
    changed,
    check,
    differences,
    fingerprint,
    load,
    load_as,
    load_data,
    to_yaml,
    value_of,
)
from diffusiontalker.config.model import (
    ContextSettings,
    DecoderSettings,
    ModelSettings,
    PersonalizerSettings,
    SharedModelSettings,
    StudentModelSettings,
    TeacherModelSettings,
)
from diffusiontalker.config.pseudo_labels import PseudoLabelSettings
from diffusiontalker.config.renamed import with_current_names
from diffusiontalker.config.results import (
    EvaluateJobSettings,
    EvaluationSettings,
    ExportSettings,
    Precision,
)
from diffusiontalker.config.run import NO_RESULT, ExportJobSettings, Settings, round_settings
from diffusiontalker.config.section import Count, Section, Seed, Share, Weight
from diffusiontalker.config.sweep import Choice, Objective, Spread, SweepSettings
from diffusiontalker.config.training import (
    DiffusionSettings,
    EncoderTrainSettings,
    LossesSettings,
    LossSettings,
    MotionTrainSettings,
    ResourceSettings,
    TrainingPrecision,
    TrainingSettings,
    TrainSettings,
)

__all__ = [
    "NO_RESULT",
    "AugmentationSettings",
    "CapacityBenchmarkSettings",
    "Choice",
    "CompareSettings",
    "ComparisonSettings",
    "ContextSettings",
    "CorpusSettings",
    "Count",
    "DataBenchmarkSettings",
    "DataSettings",
    "DecoderSettings",
    "DegradationSettings",
    "DegradationWeights",
    "DiffusionSettings",
    "EncoderSettings",
    "EncoderTrainSettings",
    "EvaluateJobSettings",
    "EvaluationSettings",
    "ExportJobSettings",
    "ExportSettings",
    "ExtractionSettings",
    "HumanBenchmarkSettings",
    "LossSettings",
    "LossesSettings",
    "ModelSettings",
    "MotionTrainSettings",
    "Objective",
    "PersonalizerSettings",
    "Precision",
    "PseudoLabelSettings",
    "ResourceSettings",
    "RivalSettings",
    "RobustnessBenchmarkSettings",
    "RuntimeBenchmarkSettings",
    "Section",
    "Seed",
    "ServeBenchmarkSettings",
    "Settings",
    "Share",
    "SharedModelSettings",
    "SmallEncoderSettings",
    "SourceSettings",
    "SplitSettings",
    "Spread",
    "StudentModelSettings",
    "SweepBenchmarkSettings",
    "SweepSettings",
    "TeacherModelSettings",
    "TrainBenchmarkSettings",
    "TrainSettings",
    "TrainingPrecision",
    "TrainingSettings",
    "VoiceWeights",
    "Weight",
    "attention_heads",
    "changed",
    "check",
    "differences",
    "fingerprint",
    "layers_fit",
    "load",
    "load_as",
    "load_data",
    "round_settings",
    "to_yaml",
    "value_of",
    "with_current_names",
]
