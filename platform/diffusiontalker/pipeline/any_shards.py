"""One model, exported or of a run, on any shards: its metrics beside those of the recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import ray
import torch
from pydantic import JsonValue, ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from diffusiontalker import storage
from diffusiontalker.config import EncoderSettings, EvaluateJobSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import ShardInfo, open_corpus
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import measure
from diffusiontalker.evaluation.evaluate import load_rig
from diffusiontalker.evaluation.groups import Label, by_label, mean_error
from diffusiontalker.evaluation.measure import ClipSamples
from diffusiontalker.evaluation.models import LABELS, ExportedModel, TrainedModel
from diffusiontalker.pipeline.finished import summary_of
from diffusiontalker.report.metric_columns import BY_KEY, COLUMNS
from diffusiontalker.report.splits import FLOOR_TITLES
from diffusiontalker.runtime import artifact
from diffusiontalker.summary.run import TEACHER, ClipRow, Costs, Evaluation, Floors, Row, RunSummary
from diffusiontalker.training.checkpoints import load_config
from diffusiontalker.training.progress import StageDisplay

FIGURES = "evaluation.json"
"""The metrics, in the folder ``out``."""
ENCODER = "encoder-"
"""How the folder of an encoder begins that a run trained itself."""
READ = [name for name in shards.SCHEMA.names if name not in ("features", "log_mel")]
"""Columns of a shard: a model makes its own features."""
OF_CLIPS = ("mbe", "lbe", "fdd", "lve", "eve", "energy_score")
"""Metrics that are shown by emotion and by speaker."""
Model = ExportedModel | TrainedModel
Sampled = list[tuple[Clip, ClipSamples]]


class Measured(Evaluation):
    """``evaluation.json``."""

    settings: dict[str, JsonValue]


def run(settings: EvaluateJobSettings) -> Evaluation:
    """Sample every clip of the splits, measure, and write ``evaluation.json``.

    A Ray task samples one shard. Recorded faces and samples of a split are held in memory: some
    0.1 GB for an hour of speech with 3 seeds.

    Raises:
        UserError: no such model, run, set or split; a shard or a rig that cannot be read.
    """
    out, folder = storage.location(settings.out), storage.location(settings.shards)
    manifest = open_corpus(folder)
    chosen = {
        split: manifest.of(split) for split in settings.splits or tuple(manifest.test_splits())
    }
    name, model = model_of(settings)
    vertices, library = measure.Vertices(load_rig(settings.rig)), model.identities()
    recognised = model.recognised()
    unused = [label for label in LABELS if label not in recognised]
    storage.make_folder(out)
    rows: list[Row] = []
    each: list[ClipRow] = []
    floor: dict[str, Floors | None] = {}
    done, total = 0, sum(map(len, chosen.values()))
    with StageDisplay("evaluation") as display:
        for split, own in chosen.items():
            found: Sampled = []
            for part in _sampled(model, folder, own, settings.clips):
                found += part
                done += 1
                display.count(done, total)
            clips, samples = [clip for clip, _ in found], [one for _, one in found]
            errors = [measure.clip_errors(one, clip, vertices) for clip, one in found]
            metrics = measure.measure(samples, clips, vertices, errors)
            metrics = measure.without_strangers(metrics, clips, library)
            metrics = measure.without_unused(metrics, unused)
            about = {
                "name": name, "steps": model.steps, "distilled": name != TEACHER, "split": split,
            }  # fmt: skip
            rows.append(Row.model_validate(about | metrics.model_dump()))
            each += [
                measure.clip_row(about, clip, own) for clip, own in zip(clips, errors, strict=True)
            ]
            floor[split] = measure.floors(clips, vertices)
    evaluation = Measured(
        rows=tuple(rows), floor=floor, clips=tuple(each), settings=settings.model_dump(mode="json")
    )
    evaluation.write(out / FIGURES)
    return evaluation


def model_of(settings: EvaluateJobSettings) -> tuple[str, Model]:
    """The model that is measured, and its name. Raises UserError."""
    if settings.run is None:
        for key in ("steps", "sampler"):
            if getattr(settings, key) is not None:
                raise UserError(
                    f"{key}: an artifact has its own; give run=FOLDER model=teacher, or so"
                )
        folder = artifact.location(settings.model)
        steps = artifact.read_config(folder).steps
        return folder.name, ExportedModel(str(folder), steps, settings.seeds)
    root = storage.location(settings.run)
    summary = summary_of(root)
    models = {model.name: model for model in summary.models}
    if settings.model not in models:
        raise UserError(f"{root}: has no model {settings.model!r}; it has {', '.join(models)}")
    own = models[settings.model]
    config = load_config(storage.location(own.folder))
    encoder = None if config.feature_dim is None else _encoder(root, summary)
    diffusion = summary.settings.get("diffusion")
    default = diffusion.get("sampler", "ddim") if isinstance(diffusion, dict) else "ddim"
    steps, sampler = settings.steps or own.steps, settings.sampler or str(default)
    return own.name, TrainedModel(own.folder, steps, sampler, settings.seeds, encoder)


def _encoder(root: Path, summary: RunSummary) -> tuple[str, tuple[int, ...], str | None]:
    """The frozen encoder of a run's teacher: the user's, or the run's own. Raises UserError."""
    try:
        own = EncoderSettings.model_validate(summary.settings.get("encoder", {}))
    except ValidationError as error:
        raise UserError(f"{root}: is of another release, so its encoder is not known") from error
    if own.name is not None:
        return own.name, own.layers, own.revision
    found = {name.partition("/")[0] for name in storage.files(root) if name.startswith(ENCODER)}
    if len(found) != 1:
        raise UserError(
            f"{root}: {len(found)} folders {ENCODER}..., where one holds the teacher's encoder; "
            "remove those of earlier settings"
        )
    return str(root / found.pop()), own.layers, None


def _sampled(
    model: Model, folder: Path, infos: Sequence[ShardInfo], most: int | None
) -> Iterator[Sampled]:
    """The clips of each shard with their samples, in order; ``most`` clips in all."""
    pending = []
    first = 0
    for info in infos:
        count = info.clips if most is None else min(info.clips, most - first)
        if count > 0:
            pending.append(_sample_shard.remote(model, folder / info.file, first, count))
        first += info.clips
    for reference in pending:
        yield ray.get(reference)


@ray.remote(num_cpus=1)
def _sample_shard(model: Model, path: Path, first: int, count: int) -> Sampled:
    """The first ``count`` clips of a shard by name, without their audio, and their samples;
    ``first`` clips come before them, which determines the noise."""
    torch.set_num_threads(1)
    sample = model.load()
    clips = shards.clips_of(shards.read_table(path, READ))
    clips = sorted(clips, key=lambda clip: clip.id)[:count]
    return [
        (replace(clip, audio=clip.audio[:0]), sample(clip, first + number))
        for number, clip in enumerate(clips)
    ]


def tables(evaluation: Evaluation) -> list[Table]:
    """For each split a table with a line for each metric: of the model, and of the floors; then
    its errors by emotion and by speaker."""
    found = []
    for row in evaluation.rows:
        clips = [own for own in evaluation.clips if own.split == row.split]
        found.append(_table(row, evaluation.floor.get(row.split) or Floors()))
        found += [_groups(row, label, clips) for label in get_args(Label) if clips]
    return found


def _groups(row: Row, label: Label, clips: Sequence[ClipRow]) -> Table:
    out = Table(
        title=Text(f"by {label}, {row.split}"), title_justify="left", box=SIMPLE_HEAD,
    )  # fmt: skip
    out.add_column("", no_wrap=True)
    for heading in ("Clips", *(BY_KEY[key].label for key in OF_CLIPS)):
        out.add_column(heading, justify="right")
    for name, own in by_label(clips, label).items():
        cells = [BY_KEY[key].show(mean_error(own, key)) for key in OF_CLIPS]
        out.add_row(Text(name), str(len(own)), *cells)
    return out


def _table(row: Row, floors: Floors) -> Table:
    out = Table(
        title=Text(f"{row.name}, {row.steps} steps, on {row.clips} clips of {row.split}"),
        title_justify="left", box=SIMPLE_HEAD,
    )  # fmt: skip
    out.add_column("", no_wrap=True)
    for heading in (row.name, FLOOR_TITLES["recording"], FLOOR_TITLES["sampling"]):
        out.add_column(Text(heading), justify="right")
    for column in COLUMNS:
        if column.key in Costs.model_fields:  # which are not measured here
            continue
        beside = (floors.recording, floors.sampling)
        cells = [column.show(column.of(row))]
        cells += [column.show(None if one is None else column.of(one)) for one in beside]
        out.add_row(f"{column.label}{f', {column.unit}' if column.unit else ''}", *cells)
    return out
