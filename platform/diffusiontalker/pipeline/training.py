"""The training stages: encoder, teacher, and the student of every round."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from diffusiontalker import storage
from diffusiontalker.corpus.manifest import CorpusFolder, open_corpus
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.pseudo_labels import recordings
from diffusiontalker.pseudo_labels import stage as labels
from diffusiontalker.stage_keys import (
    encoder_key,
    pseudo_labels_key,
    round_key,
    scratch_key,
    teacher_key,
)
from diffusiontalker.summary.run import TEACHER
from diffusiontalker.training import stages
from diffusiontalker.training.stage_run import StageRun
from diffusiontalker.training.stopping import diverged_epoch

HISTORY = "history.json"
"""The losses of a training stage, in its folder."""


class Model(NamedTuple):
    """A trained model."""

    name: str
    steps: int
    """Sampling steps."""
    folder: Path
    """Of its weights."""


def train_encoder(run: Run, data: CorpusFolder) -> Path:
    """The folder of an encoder trained on the corpus's phonemes, as Hugging Face writes it."""
    s = run.settings
    key = encoder_key(s, corpus_content(data))
    return train_stage(run, "encoder", key, lambda at, out: stages.train_encoder(s, data, at, out))


def train_all(run: Run, data: CorpusFolder) -> list[Model]:
    """The teacher, then the student of every round."""
    diffusion = run.settings.diffusion
    models = [Model(TEACHER, diffusion.steps, train_teacher(run, data))]
    data = with_pseudo_labels(run, data, models[0].folder)
    for steps in diffusion.rounds:
        folder = train_round(run, data, models[-1].folder, steps)
        models.append(Model(f"student-{steps}", steps, folder))
    return models


def train_teacher(run: Run, data: CorpusFolder) -> Path:
    """The teacher's folder, with its weights and history."""
    s, key = run.settings, teacher_key(run.settings, corpus_content(data))
    return train_stage(run, "teacher", key, lambda at, out: stages.train_teacher(s, data, at, out))


def with_pseudo_labels(run: Run, data: CorpusFolder, teacher: Path) -> CorpusFolder:
    """The corpus for the rounds: with the user's recordings and the teacher's faces for them."""
    s = run.settings
    own = s.pseudo_labels
    if own.recordings is None or not s.diffusion.rounds:
        return data
    assert run.encoder is not None
    folder = storage.location(own.recordings)
    found = recordings.listing(folder)
    how = labels.Labelling(
        str(folder), str(teacher), s.diffusion.steps, s.diffusion.sampler,
        (run.encoder, s.encoder.layers, s.encoder.revision), own, s.augmentation.degradation,
        s.resources.gpu,
    )  # fmt: skip
    key = pseudo_labels_key(s, teacher.name, data.manifest.feature_fingerprint, found.files)
    labelled = run.stage(
        "pseudo-labels",
        run.folder("pseudo-labels", key),
        lambda out, display: labels.label(how, found, s.extraction, out, display.count),
    )
    run.pseudo_labelled = CorpusFolder(labelled, open_corpus(labelled))
    return replace(data, pseudo_labelled=run.pseudo_labelled)


def train_round(run: Run, data: CorpusFolder, teacher: Path, steps: int) -> Path:
    """The folder of the student of ``steps`` steps."""
    s, key = run.settings, round_key(run.settings, steps, teacher.name, corpus_content(data))
    return train_stage(
        run, f"round-{steps}", key,
        lambda at, out: stages.train_round(s, data, teacher, steps, at, out),
    )  # fmt: skip


def train_scratch(run: Run, data: CorpusFolder, steps: int) -> Path:
    """The folder of the student's network, trained without a teacher for ``steps`` steps."""
    s, key = run.settings, scratch_key(run.settings, steps, corpus_content(data))
    return train_stage(
        run, f"scratch-{steps}", key,
        lambda at, out: stages.train_scratch(s, data, steps, at, out),
    )  # fmt: skip


def train_stage(
    run: Run, name: str, key: str, train: Callable[[StageRun, Path], list[dict[str, float]]]
) -> Path:
    """The folder of a stage, trained unless that was done before, with its history."""
    return run.stage(
        name,
        run.folder(name, key),
        lambda out, _: keep_history(name, out, train(run.place(name, key), out)),
    )


def keep_history(stage: str, folder: Path, history: list[dict[str, float]]) -> None:
    """Write the losses of a training stage.

    Raises:
        UserError: training diverged.
    """
    if (epoch := diverged_epoch(history)) is not None:
        raise UserError(
            f"{stage}: training diverged, its loss is not finite in epoch {epoch}; lower its "
            "learning_rate or clip_norm, or look for extreme values in the data"
        )
    storage.write_json(folder / HISTORY, history)
