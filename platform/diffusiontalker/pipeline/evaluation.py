"""The evaluation of a run: metrics of all its models on the test splits."""

from collections.abc import Sequence
from pathlib import Path

from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate
from diffusiontalker.evaluation.evaluate import EvaluatedModel
from diffusiontalker.evaluation.models import EncoderName, TrainedModel
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.pipeline.training import Model
from diffusiontalker.stage_keys import evaluation_key
from diffusiontalker.summary.run import TEACHER, Evaluation, Row
from diffusiontalker.training.progress import StageDisplay

ROWS = "rows.json"
"""The metrics of all models, in the folder of the evaluation."""


def evaluate_all(run: Run, data: CorpusFolder, models: list[Model]) -> Evaluation:
    """Metrics of every model: the teacher at all steps of ``evaluation.teacher_steps``, each
    student at its own."""
    settings = run.settings
    evaluated = [own for model in models for own in evaluated_models(run, model)]

    def work(out: Path, display: StageDisplay) -> None:
        found = evaluate.evaluate(evaluated, data.folder, settings.evaluation, display.count)
        check_measured(found.rows)
        found.write(out / ROWS)

    key = evaluation_key(settings, [model.folder.name for model in models], corpus_content(data))
    folder = run.stage("evaluation", run.folder("evaluation", key), work)
    return Evaluation.read(folder / ROWS)


def evaluated_models(run: Run, model: Model) -> list[EvaluatedModel]:
    """A model of a run, on the shards' features, at each number of steps at which it is
    measured."""
    settings, is_teacher = run.settings, model.name == TEACHER
    on_features = is_teacher or settings.model.student.frozen_features
    grid = settings.evaluation.teacher_steps if is_teacher else (model.steps,)
    encoder = encoder_of(run) if on_features else None
    sampler, seeds = settings.diffusion.sampler, settings.evaluation.seeds
    return [
        EvaluatedModel(
            model.name, not is_teacher,
            TrainedModel(str(model.folder), steps, sampler, seeds, encoder, cached=True),
        )
        for steps in grid
    ]  # fmt: skip


def encoder_of(run: Run) -> EncoderName:
    """The frozen encoder of a run, once its data are prepared."""
    assert run.encoder is not None
    return run.encoder, run.settings.encoder.layers, run.settings.encoder.revision


def check_measured(rows: Sequence[Row]) -> None:
    """Whether the metrics of every model are finite. Raises UserError."""
    for row in rows:
        figures = {"mbe": row.mbe, "lbe": row.lbe, "energy_score": row.energy_score}
        if unknown := [key for key, value in figures.items() if value is None]:
            raise UserError(
                f"evaluation: {unknown[0]} of {row.name} in {row.steps} steps on {row.split} "
                "is not finite; train it with a lower learning_rate"
            )
