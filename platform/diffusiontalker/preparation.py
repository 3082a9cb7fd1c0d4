"""Real recordings into shards, and the page that says whether they are any good."""

import time
from pathlib import Path

from diffusiontalker import __version__, config
from diffusiontalker.config import CorpusSettings, DataSettings
from diffusiontalker.corpus import procedural, recordings
from diffusiontalker.corpus.recordings import Survey
from diffusiontalker.errors import UserError
from diffusiontalker.report import prepared
from diffusiontalker.training.progress import Display

RULES = {
    "take": "all takes of one sentence lie in one split",
    "published": "clip by clip, so that parts of one take lie on both sides",
}
PROCEDURAL = "procedural"
"""The kind of source that is made on the spot; its options are those of ``CorpusSettings``."""


def prepare(found: Survey) -> list[str]:
    """Convert a source, write the page, publish the set; returns what to tell the user.

    Raises:
        UserError: more takes than ``max_quarantined`` are malformed; the page tells of them.
    """
    settings, folder = found.settings, found.folder
    started = time.time()
    with Display("prepare") as display:
        outcome = recordings.convert(found, display.count)
    manifest = outcome.manifest
    facts = prepared.Facts(
        source=settings.source.kind,
        root=settings.source.root,
        output=str(folder),
        fingerprint=manifest.fingerprint,
        split_rule=RULES[settings.split.rule],
        clip_seconds=settings.clip_seconds,
        started=started,
        finished=time.time(),
        version=__version__,
        shards=() if outcome.problem else manifest.shards,
    )
    known = outcome.known
    prepared.write_prepared(folder / prepared.PAGE_FILE, known.takes, known.skipped, facts)
    if outcome.problem is not None:
        raise UserError(f"{outcome.problem}; {folder / prepared.PAGE_FILE} shows what was found")
    recordings.publish(folder, outcome)
    return prepared.console_lines(known.takes, known.skipped, facts)


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
    procedural.plan(corpus)
    return corpus


def procedural_corpus(corpus: CorpusSettings, folder: Path) -> list[str]:
    """Make the procedural corpus; it has no page, since nothing in it can be amiss.

    Raises:
        UserError: the output cannot be written, or holds another set.
    """
    with Display("prepare") as display:
        made = procedural.make(folder, corpus, display.count)
    return [f"{folder}: {made.seconds() / 60:.1f} minutes in {len(made.shards)} shards"]
