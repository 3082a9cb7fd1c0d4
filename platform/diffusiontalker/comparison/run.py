"""Runs every variant for every seed, and writes the tables after each seed.

All variants share one folder of stages, whose names are hashes of all that determines them: what
two variants have in common is trained once, and the same command resumes after a kill.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffusiontalker import config, storage
from diffusiontalker.comparison import tables, writers
from diffusiontalker.comparison.variants import (
    SMALL,
    Variant,
    completed,
    is_trained,
    paper_of,
    variants_of,
)
from diffusiontalker.config import CompareSettings, fingerprint
from diffusiontalker.corpus.manifest import CorpusFolder, open_corpus
from diffusiontalker.environment import environment
from diffusiontalker.evaluation import evaluate
from diffusiontalker.evaluation.evaluate import EvaluatedModel
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.delivery import corpus_summary
from diffusiontalker.pipeline.evaluation import ROWS, check_measured
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.stage_keys import evaluation_key
from diffusiontalker.summary.comparison import Comparison
from diffusiontalker.summary.run import Evaluation
from diffusiontalker.training.progress import StageDisplay

VARIANTS = "variants"
"""Holds a folder with settings and metrics of each variant and seed."""
Found = dict[tuple[str, int], Evaluation]
"""The metrics of a variant for a seed."""


def compare(settings: CompareSettings) -> Comparison:
    """Train, measure, and write ``comparison.json`` and the tables into ``output``.

    Raises:
        UserError: whatever the user can mend, in one line; what was done stays done.
    """
    settings = completed(settings)
    if settings.comparison.preset == "small":
        own = ", ".join(f"{key}={value}" for key, value in SMALL.items())
        print(f"comparison   preset=small sets {own}", flush=True)
    chosen = tables.chosen(settings)
    vocaset = vocaset_shards(settings, chosen)
    on_vocaset = {entry.variant for entry in tables.entries(settings, "vocaset")}
    base = Run(settings)
    base.describe()
    data = prepare_data(base)
    # Encoder and features are those of the first seed: what varies is the models' training.
    settings = settings.model_copy(update={"corpus": base.settings.corpus})
    variants = variants_of(settings, chosen)
    found: Found = {}
    zero_shot: Found = {}
    seconds: dict[str, float] = {}
    for seed in range(settings.comparison.seeds):
        for variant in variants:
            if seed and not is_trained(variant.name):
                continue
            print(f"comparison   {variant.name}, seed {seed}", flush=True)
            run = run_of(settings, variant, seed, base.encoder)
            there = vocaset if variant.name in on_vocaset else None
            found[variant.name, seed], other = measured(run, variant, seed, data, there)
            if other is not None:
                zero_shot[variant.name, seed] = other
            spent = sum(run.seconds.values())
            seconds[variant.name] = seconds.get(variant.name, 0.0) + spent
        comparison = Comparison(
            paper=paper_of(settings),
            preset=settings.comparison.preset,
            seeds=seed + 1,
            tables=tuple(tables.tables(settings, chosen, found, zero_shot)),
            corpus=corpus_summary(settings.corpus, data.manifest, None).model_dump(mode="json"),
            environment=environment(),
            settings=settings.model_dump(mode="json"),
            seconds={name: round(value, 1) for name, value in seconds.items()},
        )
        writers.write(base.root, comparison)
    return comparison


def vocaset_shards(settings: CompareSettings, chosen: Sequence[str]) -> CorpusFolder | None:
    """The shards of VOCASET, where their table is filled. Raises UserError."""
    place = settings.comparison.vocaset
    if place is None or "vocaset" not in chosen:
        return None
    folder = storage.location(place)
    manifest = open_corpus(folder)
    manifest.test_splits()
    return CorpusFolder(folder, manifest)


def run_of(settings: CompareSettings, variant: Variant, seed: int, encoder: str | None) -> Run:
    """The run of a variant for a seed, with the frozen encoder of all."""
    changes = {**variant.changes, "training.seed": settings.training.seed + seed}
    run = Run(config.changed(settings, changes, f"variant {variant.name}"))
    run.encoder = encoder
    return run


def measured(
    run: Run, variant: Variant, seed: int, data: CorpusFolder, vocaset: CorpusFolder | None
) -> tuple[Evaluation, Evaluation | None]:
    """The metrics of a variant on its own test splits, and on VOCASET's where shards are given."""
    models = variant.train(run, data)
    slug = re.sub(r"[^a-z0-9]+", "-", variant.name.lower()).strip("-")
    folder = run.root / VARIANTS / f"{slug}-{seed}"
    storage.make_folder(folder)
    storage.write_bytes(folder / "settings.yaml", config.to_yaml(run.settings).encode())
    found = evaluated(run, models, data, slug)
    found.write(folder / ROWS)
    if vocaset is None:
        return found, None
    anew = [replace(one, model=one.model.on_other_shards()) for one in models]
    other = evaluated(run, anew, vocaset, f"vocaset-{slug}", costs=False)
    other.write(folder / f"vocaset-{ROWS}")
    return found, other


def evaluated(
    run: Run, models: list[EvaluatedModel], data: CorpusFolder, name: str, costs: bool = True
) -> Evaluation:
    """The metrics of models on the test splits of a corpus, measured unless that was done."""

    def work(out: Path, display: StageDisplay) -> None:
        own = run.settings.evaluation
        found = evaluate.evaluate(models, data.folder, own, display.count, costs)
        check_measured(found.rows)
        found.write(out / ROWS)

    names = [f"{Path(one.model.folder).name} {one.model.steps}" for one in models]
    key = evaluation_key(run.settings, names, [fingerprint(name), *corpus_content(data)])
    folder = run.stage(f"evaluation-{name}", run.folder(f"evaluation-{name}", key), work)
    return Evaluation.read(folder / ROWS)
