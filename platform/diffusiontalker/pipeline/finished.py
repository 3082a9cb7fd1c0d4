"""What is done with a finished run: its results on the console, and another export."""

from pathlib import Path

from rich.console import Console

from diffusiontalker import storage
from diffusiontalker.config import ExportJobSettings
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate, goals
from diffusiontalker.export import artifact
from diffusiontalker.export.model_card import model_card
from diffusiontalker.report.run.console import console_table
from diffusiontalker.stage_keys import DONE
from diffusiontalker.summary.run import SUMMARY, RunSummary
from diffusiontalker.training.checkpoints import load_talker


def summary_of(root: Path) -> RunSummary:
    """The summary of a finished run, with the folders of its stages where they are now.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not storage.is_file(root / SUMMARY):
        raise UserError(f"{root}: holds no {SUMMARY}; give the folder of a finished run")
    found = RunSummary.read(root / SUMMARY)
    models = tuple(
        model.model_copy(update={"folder": _moved(root, model.folder)}) for model in found.models
    )
    return found.model_copy(update={"models": models, "shards": _moved(root, found.shards)})


def _moved(root: Path, folder: str) -> str:
    """The folder of a stage: in the run's own, which may lie elsewhere than when it was done."""
    own = root / folder.rstrip("/").rpartition("/")[2]
    return str(own) if storage.is_file(own / DONE) else folder


def export_again(settings: ExportJobSettings) -> list[str]:
    """Export a student of a finished run once more; returns lines for the console.

    Raises:
        UserError: no such run or student, it has no validation clips, or the export is refused.
    """
    root = storage.location(settings.run)
    summary = summary_of(root)
    students = {model.name: model for model in summary.students}
    wanted = settings.model or next(reversed(students), "")
    if wanted not in students:
        known = ", ".join(students) or "none"
        raise UserError(f"{root}: holds no student {wanted!r}; known: {known}")
    student = students[wanted]
    shards = storage.location(summary.shards)
    out = storage.location(settings.out)
    found = artifact.export(
        load_talker(storage.location(student.folder)), student.steps, out,
        model_card(summary, wanted, settings.licence), settings,
        evaluate.load_clips(shards, open_corpus(shards), "val"),
    )  # fmt: skip
    lines = [f"artifact      {out}", f"size          {artifact.size_mb(out):.2f} MB"]
    for key, share in found.growth.items():
        lines.append(
            f"{key:<14}{found.validation[key]:.4f} on {found.clips} clips of validation, "
            f"{share:+.2%} against fp32"
        )
    if found.growth:
        lines.append(f"voices        {found.voices_changed} of {found.clips} changed")
    return lines


def conclude(root: Path) -> None:
    """Print the table of results, the goals, and the paths of what the run left."""
    summary = summary_of(root)
    console = Console()
    console.print(console_table(summary))
    for goal in summary.goals:
        print(goals.line(goal))
    print(f"\nreport    {root / 'report.html'}\nsummary   {root / SUMMARY}")
    if summary.artifact is not None:
        print(f"artifact  {root / artifact.STUDENT}")
    print(f"sample    {root / 'sample'}")
