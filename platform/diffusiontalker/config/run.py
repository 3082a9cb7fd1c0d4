"""All settings of a run, and of one more export of a student of it.

"v1" and "v2" name the paper that a value or an idea comes from (arXiv 2311.16565 and 2503.18159);
where neither settles a value, it is ours.
"""

from pydantic import model_validator

from diffusiontalker.config.augmentation import AugmentationSettings
from diffusiontalker.config.corpus import CorpusSettings
from diffusiontalker.config.encoder import EncoderSettings, ExtractionSettings
from diffusiontalker.config.model import ModelSettings
from diffusiontalker.config.pseudo_labels import PseudoLabelSettings
from diffusiontalker.config.results import EvaluationSettings, ExportSettings
from diffusiontalker.config.section import Section
from diffusiontalker.config.training import (
    DiffusionSettings,
    LossesSettings,
    MotionTrainSettings,
    ResourceSettings,
    TrainingSettings,
)

NO_RESULT = ("output", "extraction", "resources", "training.workers")
"""Sections and settings that say where and with what a run works: no result depends on them, and no
key of a stage includes them."""


class Settings(Section):
    """All settings of a run, by the stage that they belong to."""

    output: str
    """Folder or s3:// prefix of the run."""
    corpus: CorpusSettings = CorpusSettings()
    encoder: EncoderSettings = EncoderSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    model: ModelSettings = ModelSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    losses: LossesSettings = LossesSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    training: TrainingSettings = TrainingSettings()
    resources: ResourceSettings = ResourceSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()

    @model_validator(mode="after")
    def _chunks_fit(self) -> "Settings":
        losses, training = self.losses.student, self.training
        for name, train in (("first_round", training.first_round), ("round", training.round)):
            if losses.energy > 0 and losses.energy_chunk > train.window:
                raise ValueError(
                    f"losses.student.energy_chunk {losses.energy_chunk} is longer than "
                    f"training.{name}.window {train.window}: no chunk would fit"
                )
        return self


def round_settings(settings: Settings, steps: int) -> MotionTrainSettings:
    """How long and how fast the round of ``steps`` steps trains."""
    first = steps == settings.diffusion.rounds[0]
    return settings.training.first_round if first else settings.training.round


class ExportJobSettings(ExportSettings):
    """All settings of ``jobs/export.py``."""

    run: str
    """Folder or s3:// prefix of a finished run."""
    out: str
    """Folder or s3:// prefix of the artifact; what lies there is replaced."""
    model: str | None = None
    """A student of the run, such as student-4; None: its last."""
