"""Prepare a data set: convert it to shards, write its report page, publish it."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from diffusiontalker import __version__, config
from diffusiontalker.config import CorpusSettings, DataSettings
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest import IngestJob
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.corpus.procedural import generation, planning
from diffusiontalker.corpus.sources import Source, Take, open_source
from diffusiontalker.errors import UserError
from diffusiontalker.report.prepared import page
from diffusiontalker.report.prepared.console import console_lines
from diffusiontalker.report.wording import first_names, pluralize
from diffusiontalker.training.progress import StageDisplay

PROCEDURAL = "procedural"
"""The kind of source that is generated; its options are those of ``CorpusSettings``."""


def prepare(job: IngestJob) -> list[str]:
    """Convert a source, write the page, publish the set; returns lines for the user.

    A set that is up to date is kept as it is, and one that is not until the new one is complete.

    Raises:
        UserError: more takes than ``max_quarantined`` are malformed; the page lists them.
    """
    settings, folder = job.settings, job.folder
    if job.up_to_date:
        return unchanged(job)
    started = time.time()
    with StageDisplay("prepare") as display:
        result = ingest.convert(job, display.count)
    manifest = result.manifest
    preparation = page.Preparation(
        source=settings.source.kind,
        root=settings.source.root,
        output=str(folder),
        fingerprint=manifest.fingerprint,
        split_rule=split_rule(open_source(settings.source), job.listing.takes, settings),
        clip_seconds=settings.clip_seconds,
        started=started,
        finished=time.time(),
        version=__version__,
        shards=() if result.problem else manifest.shards,
    )
    summary = result.summary
    page.write_prepared(folder / page.PAGE_FILE, summary.takes, summary.skipped, preparation)
    if result.problem is not None:
        shown = f"{folder / page.PAGE_FILE} shows what was found"
        raise UserError(f"{result.problem}; {shown}{_published_note(folder)}")
    ingest.publish(folder, manifest)
    return console_lines(summary.takes, summary.skipped, preparation)


def _published_note(folder: Path) -> str:
    """A remark that the set which was to be replaced is intact, if there is one."""
    try:
        open_corpus(folder)
    except UserError:
        return ""
    return "; the set published before is unchanged"


def unchanged(job: IngestJob) -> list[str]:
    """Lines for the user about a set that is kept. Raises UserError if it is damaged."""
    manifest, summary = ingest.published(job)
    release = summary.provenance.version if summary.provenance else __version__
    by = "" if release == __version__ else f", by release {release}: remove it to prepare it again"
    shards = f"{pluralize(len(manifest.shards), 'file')}, {manifest.seconds() / 60:.1f} minutes"
    return [
        f"unchanged since {job.folder} was made{by}; kept",
        f"  shards      {shards}",
        f"  page        {job.folder / page.PAGE_FILE}",
    ]


def changed(job: IngestJob) -> list[str]:
    """Lines for the user about changes of the source since the output was begun."""
    if not job.changes:
        return []
    again = "all of it is" if job.complete else "what they concern is"
    return [
        f"{pluralize(len(job.changes), 'change')} since {job.folder} was begun "
        f"({first_names(job.changes, 3)}); {again} prepared again"
    ]


def split_rule(source: Source, takes: Sequence[Take], settings: DataSettings) -> str:
    """In words, which parts of a data set its splits separate and which they do not."""
    if settings.split.rule == "published":
        return "clip by clip, so that parts of one take lie on both sides"
    own = sum(take.split is not None for take in takes)
    groups = Counter(take.group or take.id for take in takes if take.split is None)
    together = sum(members > 1 for members in groups.values())
    parts = ["all clips of a take lie in one split"]
    if own:
        parts.append(f"{own:,} of {pluralize(len(takes), 'take')} in the data set's own")
    if together:
        parts.append(f"takes of {source.shared} stay together ({pluralize(together, 'group')})")
    elif groups:
        parts.append("which takes share a sentence is not known, so one may stand in several")
    return "; ".join([*parts, *source.split_notes(takes)])


def procedural_settings(settings: DataSettings) -> CorpusSettings:
    """The options of the procedural corpus, checked before Ray starts.

    Raises:
        UserError: an option is unknown or out of range, or a setting would have no effect.
    """
    corpus = config.check(CorpusSettings, settings.source.options, "source.options")
    unused = sorted(settings.model_fields_set - {"source", "output"})
    unused += ["source.root"] * bool(settings.source.root)
    unused += ["source.options.path"] * (corpus.path is not None)
    if unused:
        raise UserError(
            f"{', '.join(unused)}: has no effect on the procedural corpus, which is set by "
            "source.options alone, such as source.options.minutes"
        )
    planning.plan(corpus)
    return corpus


def procedural_corpus(corpus: CorpusSettings, folder: Path) -> list[str]:
    """Generate the procedural corpus, which needs no report page.

    Raises:
        UserError: the output cannot be written, or holds another set.
    """
    corpus = generation.obtainable(corpus, folder)
    with StageDisplay("prepare") as display:
        manifest = generation.make(folder, corpus, display.count)
    return [f"{folder}: {manifest.seconds() / 60:.1f} minutes in {len(manifest.shards)} shards"]
