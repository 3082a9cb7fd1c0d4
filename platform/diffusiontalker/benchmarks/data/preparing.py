"""Speed of preparing shards: on one core without Ray, and the whole job with it."""

import time
from collections.abc import Callable
from pathlib import Path

from diffusiontalker.config import DataSettings, SourceSettings
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest.batches import plan_batches
from diffusiontalker.corpus.ingest.job import write_batch
from diffusiontalker.corpus.sources import open_source


def inspect(root: Path, output: Path) -> ingest.IngestJob:
    """BEAT in ``root``, with the default settings of ``jobs/prepare.py``."""
    source = SourceSettings(kind="beat", root=str(root))
    return ingest.inspect(DataSettings(source=source, output=str(output)), output)


def on_one_core(job: ingest.IngestJob, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Convert all takes in this process, one batch after the other; speeds as a multiple of real
    time."""
    settings = job.settings
    begun, worked = time.monotonic(), time.process_time()
    batches = plan_batches(open_source(settings.source), job.listing.takes, settings)
    speech = 0.0
    for number, batch in enumerate(batches):
        record = write_batch(settings, job.folder, job.provenance.key, number, batch)
        speech += sum(report.seconds for report in record.takes)
        progress(number + 1, len(batches))
    return {
        "speech_seconds": speech,
        "one_core": speech / (time.monotonic() - begun),
        "one_core_by_processor_time": speech / (time.process_time() - worked),
    }


def on_all_cores(job: ingest.IngestJob, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Convert and publish as ``jobs/prepare.py`` does, without its page; as a multiple of real
    time."""
    begun = time.monotonic()
    result = ingest.convert(job, progress)
    ingest.publish(job.folder, result.manifest)
    return {"command": result.manifest.seconds() / (time.monotonic() - begun)}
