"""The tables of both papers, assembled from the metrics of every variant and seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffusiontalker.comparison.published import PUBLISHED
from diffusiontalker.comparison.statistics import by_clip, corrected, estimate, paired_p
from diffusiontalker.comparison.variants import (
    ABLATIONS,
    REFERENCE,
    is_trained,
    paper_of,
    rival_steps,
    rival_title,
)
from diffusiontalker.config import CompareSettings
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.groups import Label, by_label, mean_error
from diffusiontalker.summary.comparison import ComparedRow, ComparedTable, Estimate
from diffusiontalker.summary.run import TEACHER, ClipRow, Errors, Evaluation, Row

Found = Mapping[tuple[str, int], Evaluation]
Columns = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A row before it is measured: a model of a variant at a number of steps."""

    label: str
    variant: str
    model: str
    steps: int


ALWAYS: Columns = ("energy_score", "spread_upper")
"""Columns of ours in every table of errors: what a blurred face cannot win."""
COLUMNS: dict[str, dict[str, Columns]] = {
    "v1": {
        "steps": ("lbe_published", "fdd_published", "lbe", *ALWAYS, "fps_every_step", "fps"),
        "rivals": (
            "mbe", "lbe_published", "fdd_published", "lbe", "mbe_of_mean", *ALWAYS,
            "fps_every_step", "fps", "size_mb",
        ),
        "vocaset": ("lve", "lve_frames", "fdd_vertex"),
        "matching": (
            "identity_precision", "identity_recall", "identity_f1", "emotion_f1",
        ),
        "ablation": ("mbe", "lbe_published", "lbe", *ALWAYS),
        "emotions": ("mbe", "lbe", "lve", "energy_score"),
        "speakers": ("mbe", "lbe", "lve", "energy_score"),
    },
    "v2": {
        "rivals": (
            "eve", "lve", "lve_frames", "fdd_vertex", "fdd_vertex_signed", "mbe", "lbe",
            "mbe_of_mean", *ALWAYS, "fps_every_step", "fps", "size_mb",
        ),
        "vocaset": ("lve", "lve_frames", "fdd_vertex"),
        "matching": (
            "identity_precision", "identity_recall", "identity_f1", "emotion_precision",
            "emotion_recall", "emotion_f1",
        ),
        "ablation": ("eve", "lve", "fdd_vertex", "lbe", *ALWAYS),
        "emotions": ("eve", "lve", "mbe", "lbe", "energy_score"),
        "speakers": ("eve", "lve", "mbe", "lbe", "energy_score"),
    },
}  # fmt: skip
"""Columns of each table, by paper."""
TITLES = {
    "steps": "Sampling steps, distilled and not",
    "rivals": "Comparison with other models",
    "vocaset": "VOCASET, zero-shot",
    "matching": "Recognition of identity and emotion, held-out clips",
    "ablation": "Ablation of the last student",
    "emotions": "The last student, by emotion",
    "speakers": "The last student, by speaker",
}
GROUPS: dict[str, Label] = {"emotions": "emotion", "speakers": "identity"}
"""The tables of groups of clips, and the label that makes a group."""


def chosen(settings: CompareSettings) -> Columns:
    """The tables that are filled. Raises UserError: there is no such table, or no data for it."""
    there = tuple(COLUMNS[paper_of(settings)])
    named = settings.comparison.tables or ()
    if "vocaset" in named and settings.comparison.vocaset is None:
        raise UserError(
            "comparison.tables: vocaset needs prepared shards; name them: comparison.vocaset=FOLDER"
        )
    wanted = named or there
    for name in wanted:
        if name not in there:
            raise UserError(f"comparison.tables: no table {name!r}; there are {', '.join(there)}")
    return tuple(n for n in wanted if n != "vocaset" or settings.comparison.vocaset is not None)


def tables(
    settings: CompareSettings, names: Sequence[str], found: Found, zero_shot: Found
) -> Iterator[ComparedTable]:
    """Every table on every test split."""
    paper = paper_of(settings)
    for name in names:
        source = zero_shot if name == "vocaset" else found
        first = next(evaluation for (one, _), evaluation in source.items() if one == REFERENCE)
        for split in dict.fromkeys(row.split for row in first.rows):
            if name in GROUPS:
                rows, reference = groups(settings, name, source, split, paper), None
            else:
                rows, reference = models(settings, name, source, split, paper)
            if not any(own.p is not None for row in rows for own in row.figures.values()):
                reference = None
            clips = next((row.clips for row in first.rows if row.split == split), None)
            yield ComparedTable(
                key=name, title=TITLES[name], split=split, clips=clips, reference=reference,
                columns=COLUMNS[paper][name], rows=tuple(rows),
            )  # fmt: skip


def entries(settings: CompareSettings, name: str) -> list[Entry]:
    """The rows of a table of models, in order, the reference last."""
    diffusion, own = settings.diffusion, settings.comparison.rivals
    last = diffusion.rounds[-1]
    grid = settings.evaluation.teacher_steps
    teachers = {n: Entry(f"teacher, {n} steps", REFERENCE, TEACHER, n) for n in grid}
    students = [
        Entry(f"distilled, {n} steps", REFERENCE, f"student-{n}", n) for n in diffusion.rounds
    ]
    scratch = [
        Entry(f"from nothing, {n} steps", f"scratch-{n}", f"scratch-{n}", n)
        for n in diffusion.rounds
    ]
    undistilled = [teachers[diffusion.steps], teachers[last]]
    if name == "steps":
        return [*teachers.values(), *scratch, *students]
    if name == "matching":
        return [*undistilled[:1], *students]
    if name == "ablation":
        paper, full = paper_of(settings), students[-1]
        return [
            *(Entry(label, label, full.model, last) for label in ABLATIONS[paper]),
            Entry("without distillation: teacher", REFERENCE, TEACHER, last),
            Entry("without distillation: from nothing", scratch[-1].variant, scratch[-1].model,
                  last),
            Entry("full", REFERENCE, full.model, last),
        ]  # fmt: skip
    rivals = [
        Entry(rival_title(one, n), one, one, n) for one in own.names for n in rival_steps(one, own)
    ]
    return [*rivals, *undistilled, students[-1]]


def models(
    settings: CompareSettings, name: str, found: Found, split: str, paper: str
) -> tuple[list[ComparedRow], str]:
    """The rows of a table of models, tested against its last, and the floors."""
    own, columns = entries(settings, name), COLUMNS[paper][name]
    seeds = sorted({seed for _, seed in found})
    reference = clips_of(own[-1], found, split)
    rows = []
    for entry in own:
        trained = seeds if is_trained(entry.variant) else seeds[:1]
        measured = [found[entry.variant, seed] for seed in trained]
        rows.append(row_of(entry, measured, split, columns, paper, name))
    tested = [
        row if entry is own[-1] else with_p(row, clips_of(entry, found, split), reference)
        for entry, row in zip(own, rows, strict=True)
    ]
    floors = []
    if name != "matching":
        about = found[REFERENCE, seeds[0]].floor.get(split)
        known = {
            "sampling floor": about and about.sampling,
            "regression floor": about and about.regression,
        }
        floors = [floor_row(label, own, columns) for label, own in known.items() if own]
    return [*floors, *corrected(tested)], own[-1].label


def row_of(
    entry: Entry, evaluations: Sequence[Evaluation], split: str, columns: Columns, paper: str,
    table: str,
) -> ComparedRow:  # fmt: skip
    """Means over the seeds' evaluations beside the published figures."""
    beside = PUBLISHED[paper].get(table, {}).get(entry.label, {})
    rows = [_row(one, entry, split) for one in evaluations]
    figures = {
        key: estimate([getattr(row, key) for row in rows], beside.get(key)) for key in columns
    }
    seeds = len(rows) if is_trained(entry.variant) else 0
    return ComparedRow(name=entry.label, steps=entry.steps, seeds=seeds, figures=figures)


def clips_of(entry: Entry, found: Found, split: str) -> list[ClipRow]:
    """The errors of every clip of a model, of all seeds."""
    return [
        row
        for (variant, _), evaluation in found.items()
        if variant == entry.variant
        for row in evaluation.clips
        if (row.name, row.steps, row.split) == (entry.model, entry.steps, split)
    ]


def with_p(row: ComparedRow, own: Sequence[ClipRow], reference: Sequence[ClipRow]) -> ComparedRow:
    """The row with the p value of each figure that clips have."""
    figures = {
        key: figure.model_copy(update={"p": paired_p(by_clip(own, key), by_clip(reference, key))})
        for key, figure in row.figures.items()
    }
    return row.model_copy(update={"figures": figures})


def floor_row(label: str, floor: Errors, columns: Columns) -> ComparedRow:
    """A perfect model's row, where the process behind the recordings is known."""
    figures = {key: Estimate(mean=getattr(floor, key, None)) for key in columns}
    return ComparedRow(name=label, figures=figures)


def groups(
    settings: CompareSettings, name: str, found: Found, split: str, paper: str
) -> list[ComparedRow]:
    """A row for each label of the clips: the last student's errors on the clips that have it."""
    student = entries(settings, "matching")[-1]
    each = [
        by_label(clips_of(student, {one: evaluation}, split), GROUPS[name])
        for one, evaluation in found.items()
        if one[0] == REFERENCE
    ]
    return [
        ComparedRow(
            name=label, steps=student.steps, seeds=len(each), clips=len(rows),
            figures={
                key: estimate([mean_error(own[label], key) for own in each])
                for key in COLUMNS[paper][name]
            },
        )
        for label, rows in each[0].items()
    ]  # fmt: skip


def _row(evaluation: Evaluation, entry: Entry, split: str) -> Row:
    wanted = entry.model, entry.steps, split
    return next(row for row in evaluation.rows if (row.name, row.steps, row.split) == wanted)
