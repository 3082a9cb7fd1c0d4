"""Speed of preparing shards: on one core without Ray, and the whole job with it."""

import time
from collections.abc import Callable
from pathlib import Path

from diffusiontalker.config import DataSettings, SourceSettings
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.sources import open_source


def survey(root: Path, output: Path) -> ingest.Survey:
    """The survey of a BEAT set in ``root``, with the default settings of ``jobs/prepare.py``."""
    source = SourceSettings(kind="beat", root=str(root))
    return ingest.survey(DataSettings(source=source, output=str(output)), output)


def on_one_core(found: ingest.Survey, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Convert all takes in this process, one batch after the other; speeds as a multiple of real
    time."""
    settings = found.settings
    begun, worked = time.monotonic(), time.process_time()
    batches = ingest.plan(open_source(settings.source), found.listing.takes, settings)
    speech = 0.0
    for number, batch in enumerate(batches):
        part = ingest.write_batch(settings, found.folder, found.made.key, number, batch)
        speech += sum(report.seconds for report in part.takes)
        progress(number + 1, len(batches))
    return {
        "speech_seconds": speech,
        "one_core": speech / (time.monotonic() - begun),
        "one_core_by_processor_time": speech / (time.process_time() - worked),
    }


def on_all_cores(found: ingest.Survey, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Convert and publish as ``jobs/prepare.py`` does, without its page; as a multiple of real
    time."""
    begun = time.monotonic()
    outcome = ingest.convert(found, progress)
    ingest.publish(found.folder, outcome)
    return {"command": outcome.manifest.seconds() / (time.monotonic() - begun)}
