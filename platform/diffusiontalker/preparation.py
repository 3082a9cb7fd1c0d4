"""Recordings into shards, with a page that shows their quality."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from diffusiontalker import __version__, config
from diffusiontalker.config import CorpusSettings, DataSettings
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest import Survey
from diffusiontalker.corpus.manifest import is_whole
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.corpus.sources import Source, Take, open_source
from diffusiontalker.errors import UserError
from diffusiontalker.report.prepared import page
from diffusiontalker.report.prepared.findings import count, some
from diffusiontalker.training.progress import Display

PROCEDURAL = "procedural"
"""The kind of source that is generated; its options are those of ``CorpusSettings``."""


def prepare(found: Survey) -> list[str]:
    """Convert a source, write the page, publish the set; returns lines for the console.

    A set that is up to date is kept.

    Raises:
        UserError: more takes than ``max_quarantined`` are malformed; the page lists them.
    """
    settings, folder = found.settings, found.folder
    if found.kept:
        return unchanged(found)
    started = time.time()
    with Display("prepare") as display:
        outcome = ingest.convert(found, display.count)
    manifest = outcome.manifest
    facts = page.Facts(
        source=settings.source.kind,
        root=settings.source.root,
        output=str(folder),
        fingerprint=manifest.fingerprint,
        split_rule=split_rule(open_source(settings.source), found.listing.takes, settings),
        clip_seconds=settings.clip_seconds,
        started=started,
        finished=time.time(),
        version=__version__,
        shards=() if outcome.problem else manifest.shards,
    )
    known = outcome.known
    page.write_prepared(folder / page.PAGE_FILE, known.takes, known.skipped, facts)
    if outcome.problem is not None:
        raise UserError(f"{outcome.problem}; {folder / page.PAGE_FILE} shows what was found")
    ingest.publish(folder, outcome)
    return page.console_lines(known.takes, known.skipped, facts)


def unchanged(found: Survey) -> list[str]:
    """Console lines for a set that is kept. Raises UserError if it is damaged."""
    manifest, known = ingest.kept(found)
    release = known.made.version if known.made else __version__
    by = "" if release == __version__ else f", by release {release}: remove it to prepare it again"
    shards = f"{count(len(manifest.shards), 'file')}, {manifest.seconds() / 60:.1f} minutes"
    return [
        f"unchanged since {found.folder} was made{by}; kept",
        f"  shards      {shards}",
        f"  page        {found.folder / page.PAGE_FILE}",
    ]


def changed(found: Survey) -> list[str]:
    """Console lines for changes in a source since the output was made from it."""
    if not found.changes:
        return []
    again = "all of it is" if is_whole(found.folder) else "what they concern is"
    return [
        f"{count(len(found.changes), 'change')} since {found.folder} was begun "
        f"({some(found.changes, 3)}); {again} prepared again"
    ]


def split_rule(source: Source, takes: Sequence[Take], settings: DataSettings) -> str:
    """In words, what the splits of these takes keep apart."""
    if settings.split.rule == "published":
        return "clip by clip, so that parts of one take lie on both sides"
    own = sum(take.split is not None for take in takes)
    groups = Counter(take.group or take.id for take in takes if take.split is None)
    together = sum(members > 1 for members in groups.values())
    parts = ["all clips of a take lie in one split"]
    if own:
        parts.append(f"{own:,} of {count(len(takes), 'take')} in the data set's own")
    if together:
        parts.append(f"takes of {source.shared} stay together ({count(together, 'group')})")
    elif groups:
        parts.append("which takes share a sentence is not known, so one may stand in several")
    return "; ".join([*parts, *source.split_notes(takes)])


def procedural_settings(settings: DataSettings) -> CorpusSettings:
    """The options of the procedural corpus, checked before Ray starts.

    Raises:
        UserError: an option is unknown or out of range, or a setting has no effect.
    """
    corpus = config.check(CorpusSettings, settings.source.options, "source.options")
    idle = sorted(settings.model_fields_set - {"source", "output"})
    idle += ["source.root"] * bool(settings.source.root)
    idle += ["source.options.path"] * (corpus.path is not None)
    if idle:
        raise UserError(
            f"{', '.join(idle)}: has no effect on the procedural corpus, which has source.options "
            "alone, such as source.options.minutes"
        )
    generation.plan(corpus)
    return corpus


def procedural_corpus(corpus: CorpusSettings, folder: Path) -> list[str]:
    """Generate the procedural corpus; it has no page, since it has no malformed takes.

    Raises:
        UserError: the output cannot be written, or holds another set.
    """
    with Display("prepare") as display:
        made = generation.make(folder, corpus, display.count)
    return [f"{folder}: {made.seconds() / 60:.1f} minutes in {len(made.shards)} shards"]
