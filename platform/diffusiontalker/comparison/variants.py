"""What is trained for the tables: variants of the reference run, rivals, and presets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusiontalker import config
from diffusiontalker.config import CompareSettings, RivalSettings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.evaluation.evaluate import EvaluatedModel
from diffusiontalker.pipeline.evaluation import encoder_of, evaluated_models
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.pipeline.training import Model, train_all, train_scratch, train_stage
from diffusiontalker.rivals.base import Diffusion
from diffusiontalker.rivals.evaluated import TrainedRival
from diffusiontalker.rivals.kinds import KINDS
from diffusiontalker.rivals.stage import train_rival
from diffusiontalker.stage_keys import rival_key

REFERENCE = "reference"
Train = Callable[[Run, CorpusFolder], list[EvaluatedModel]]
"""Trains the models of a variant, or finds them trained, and says how each is measured."""
SMALL: dict[str, Any] = {
    "corpus.minutes": 6.0,
    "corpus.speakers": 6,
    "corpus.unseen_speakers": 2,
    "corpus.eval_clips": 20,
    "corpus.expected_draws": 4,
    "training.encoder.passes": 10,
    "training.teacher.passes": 16,
    "training.first_round.passes": 8,
    "training.round.passes": 8,
    "evaluation.seeds": 2,
    "comparison.rivals.width": 64,
    "comparison.rivals.diffusion_steps": [50, 8],
}
"""What the preset ``small`` sets, whatever else was given: less data, in as many more passes, and
smaller rivals. It changes neither losses nor steps of ours."""
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "v1": {
        "without lip loss": {"losses.teacher.lip": 0.0, "losses.student.lip": 0.0},
        "without velocity loss": {"losses.teacher.vel": 0.0, "losses.student.vel": 0.0},
        "without identity": {"model.shared.personalizer.use_identity": False},
    },
    "v2": {
        "without identity": {"model.shared.personalizer.use_identity": False},
        "without emotion": {"model.shared.personalizer.use_emotion": False},
        "without enhancer": {"losses.teacher.pc": 0.0, "losses.student.pc": 0.0},
    },
}
"""Settings of each row of the ablation tables, other than those without distillation."""


@dataclass(frozen=True)
class Variant:
    """One training: settings other than the reference's, and what is trained with them."""

    name: str
    train: Train
    changes: Mapping[str, Any] = field(default_factory=dict)


def completed(settings: CompareSettings) -> CompareSettings:
    """The settings with what their preset sets, and with the teacher measured in its own and in the
    last student's steps: the baseline that a distilled student has to beat. Raises UserError."""
    if settings.comparison.preset == "small":
        settings = config.changed(settings, SMALL, "comparison.preset=small")
    own = settings.diffusion
    grid = {*settings.evaluation.teacher_steps, own.steps, own.rounds[-1]}
    key = "evaluation.teacher_steps"
    return config.changed(settings, {key: sorted(grid, reverse=True)}, key)


def paper_of(settings: CompareSettings) -> str:
    """v1 or v2."""
    has_emotion = settings.model.shared.personalizer.use_emotion
    return settings.comparison.paper or ("v2" if has_emotion else "v1")


def variants_of(settings: CompareSettings, tables: tuple[str, ...]) -> list[Variant]:
    """All that the tables need, the reference first."""
    found = [Variant(REFERENCE, train_reference)]
    last = settings.diffusion.rounds[-1]
    if "steps" in tables:
        found += [scratch(steps) for steps in settings.diffusion.rounds]
    elif "ablation" in tables:
        found.append(scratch(last))
    if "ablation" in tables:
        own = ABLATIONS[paper_of(settings)]
        found += [Variant(name, train_last, changes) for name, changes in own.items()]
    if {"rivals", "vocaset"} & set(tables):
        sizes = settings.comparison.rivals
        found += [rival(name, sizes) for name in sizes.names]
    return found


def train_reference(run: Run, data: CorpusFolder) -> list[EvaluatedModel]:
    """Teacher and every student."""
    return [own for model in train_all(run, data) for own in evaluated_models(run, model)]


def train_last(run: Run, data: CorpusFolder) -> list[EvaluatedModel]:
    """Teacher and every student, of which the last is measured."""
    return evaluated_models(run, train_all(run, data)[-1])


def scratch(steps: int) -> Variant:
    """The student's network, trained for ``steps`` steps without a teacher."""

    def train(run: Run, data: CorpusFolder) -> list[EvaluatedModel]:
        folder = train_scratch(run, data, steps)
        return evaluated_models(run, Model(f"scratch-{steps}", steps, folder))

    return Variant(f"scratch-{steps}", train)


def rival(name: str, sizes: RivalSettings) -> Variant:
    """A rival, sampled in each of its numbers of steps."""

    def train(run: Run, data: CorpusFolder) -> list[EvaluatedModel]:
        key = rival_key(run.settings, name, sizes.width, corpus_content(data))
        folder = train_stage(
            run, name, key,
            lambda place, out: train_rival(name, run.settings, sizes, data, place, out),
        )  # fmt: skip
        seeds, encoder = run.settings.evaluation.seeds, encoder_of(run)
        return [
            EvaluatedModel(
                name, False, TrainedRival(name, str(folder), steps, seeds, encoder, cached=True)
            )
            for steps in rival_steps(name, sizes)
        ]

    return Variant(name, train)


def is_trained(variant: str) -> bool:
    """Whether a variant's models differ from seed to seed: some rivals learn nothing."""
    return variant not in KINDS or KINDS[variant].learns


def rival_steps(name: str, sizes: RivalSettings) -> tuple[int, ...]:
    """The numbers of sampling steps in which a rival is measured; 1 where it has none."""
    counts = {"facediffuser": sizes.diffusion_steps, "industrial": (sizes.industrial_steps,)}
    return counts.get(name, (1,))


def rival_title(name: str, steps: int) -> str:
    """The row of a rival."""
    kind = KINDS[name]
    return f"{kind.title}, {steps} steps" if issubclass(kind, Diffusion) else kind.title
