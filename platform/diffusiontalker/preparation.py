"""Real recordings into shards, and the page that says whether they are any good."""

import time

from diffusiontalker import __version__, config, storage
from diffusiontalker.config import CorpusSettings, DataSettings
from diffusiontalker.corpus import procedural, recordings
from diffusiontalker.report import prepared
from diffusiontalker.training.progress import Display

PAGE = "prepare.html"
PROCEDURAL = "procedural"
"""The kind of source that is made on the spot; its options are those of ``CorpusSettings``."""


def prepare(settings: DataSettings) -> list[str]:
    """Convert the source, write the page, publish the set; returns what to tell the user.

    The procedural corpus has no page: nothing in it can be amiss.

    Raises:
        UserError: as ``recordings.convert``.
    """
    folder = storage.location(settings.output)
    started = time.monotonic()
    if settings.source.kind == PROCEDURAL:
        corpus = config.check(CorpusSettings, settings.source.options, "source.options")
        with Display("prepare") as display:
            made = procedural.make(folder, corpus, display.count)
        return [f"{folder}: {made.seconds() / 60:.1f} minutes in {len(made.shards)} shards"]
    with Display("prepare") as display:
        outcome = recordings.convert(settings, folder, display.count)
    manifest = outcome.manifest
    facts = prepared.Facts(
        source=settings.source.kind,
        root=settings.source.root,
        output=str(folder),
        fingerprint=manifest.fingerprint,
        split_rule=settings.split.rule,
        clip_seconds=settings.clip_seconds,
        seconds=time.monotonic() - started,
        version=__version__,
        shards=len(manifest.shards),
        bytes=sum(shard.bytes for shard in manifest.shards),
    )
    known = outcome.known
    prepared.write_prepared(folder / PAGE, known.takes, known.skipped, facts)
    recordings.publish(folder, outcome)
    return prepared.console_lines(known.takes, known.skipped, facts)
