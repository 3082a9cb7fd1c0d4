"""The evaluation of a run: metrics of all its models on the test splits."""

from collections.abc import Sequence
from pathlib import Path

from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate
from diffusiontalker.evaluation.evaluate import EvaluatedModel
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
    evaluated = []
    for name, steps, folder in models:
        is_teacher = name == TEACHER
        on_features = is_teacher or settings.model.student.frozen_features
        grid = settings.evaluation.teacher_steps if is_teacher else (steps,)
        for count in grid:
            evaluated.append(
                EvaluatedModel(
                    name, str(folder), count, not is_teacher,
                    run.encoder if on_features else None,
                    settings.encoder.layers if on_features else (),
                    settings.encoder.revision if on_features else None,
                )
            )  # fmt: skip

    def work(out: Path, display: StageDisplay) -> None:
        found = evaluate.evaluate(
            evaluated, data.folder, settings.evaluation, settings.diffusion.sampler, display.count
        )
        check_measured(found.rows)
        found.write(out / ROWS)

    key = evaluation_key(settings, [model.folder.name for model in models], corpus_content(data))
    folder = run.stage("evaluation", run.folder("evaluation", key), work)
    return Evaluation.read(folder / ROWS)


def check_measured(rows: Sequence[Row]) -> None:
    """Whether the metrics of every model are finite. Raises UserError."""
    for row in rows:
        figures = {"mbe": row.mbe, "lbe": row.lbe, "energy_score": row.energy_score}
        if unknown := [key for key, value in figures.items() if value is None]:
            raise UserError(
                f"evaluation: {unknown[0]} of {row.name} in {row.steps} steps on {row.split} "
                "is not finite; train it with a lower learning_rate"
            )
