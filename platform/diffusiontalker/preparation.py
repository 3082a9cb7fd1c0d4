"""Real recordings into shards, and the page that says whether they are any good."""

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
from diffusiontalker.training.progress import StageDisplay

PROCEDURAL = "procedural"
"""The kind of source that is made on the spot; its options are those of ``CorpusSettings``."""


def prepare(found: Survey) -> list[str]:
    """Convert a source, write the page, publish the set; returns what to tell the user.

    A set that is there and still true is kept as it is.

    Raises:
        UserError: more takes than ``max_quarantined`` are malformed; the page tells of them.
    """
    settings, folder = found.settings, found.folder
    if found.kept:
        return unchanged(found)
    started = time.time()
    with StageDisplay("prepare") as display:
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
    """What to tell the user of a set that is kept. Raises UserError if it is damaged."""
    manifest, known = ingest.kept(found)
    release = known.made.version if known.made else __version__
    by = "" if release == __version__ else f", by release {release}: remove it to have it made anew"
    shards = f"{count(len(manifest.shards), 'file')}, {manifest.seconds() / 60:.1f} minutes"
    return [
        f"unchanged since {found.folder} was made{by}; kept",
        f"  shards      {shards}",
        f"  page        {found.folder / page.PAGE_FILE}",
    ]


def changed(found: Survey) -> list[str]:
    """What to tell the user of changes in a source that the output was made of before."""
    if not found.changes:
        return []
    again = "all of it is" if is_whole(found.folder) else "what they concern is"
    return [
        f"{count(len(found.changes), 'change')} since {found.folder} was begun "
        f"({some(found.changes, 3)}); {again} prepared again"
    ]


def split_rule(source: Source, takes: Sequence[Take], settings: DataSettings) -> str:
    """In words, what the splits of these takes keep apart and what they do not."""
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
        UserError: an option is unknown or out of range, or a setting would do nothing.
    """
    corpus = config.check(CorpusSettings, settings.source.options, "source.options")
    idle = sorted(settings.model_fields_set - {"source", "output"})
    idle += ["source.root"] * bool(settings.source.root)
    idle += ["source.options.path"] * (corpus.path is not None)
    if idle:
        raise UserError(
            f"{', '.join(idle)}: does nothing to the procedural corpus, which knows source.options "
            "alone, such as source.options.minutes"
        )
    generation.plan(corpus)
    return corpus


def procedural_corpus(corpus: CorpusSettings, folder: Path) -> list[str]:
    """Make the procedural corpus; it has no page, since nothing in it can be amiss.

    Raises:
        UserError: the output cannot be written, or holds another set.
    """
    with StageDisplay("prepare") as display:
        made = generation.make(folder, corpus, display.count)
    return [f"{folder}: {made.seconds() / 60:.1f} minutes in {len(made.shards)} shards"]
