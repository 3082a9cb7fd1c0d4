"""How fast recordings become shards: on one core without Ray, and the whole command with it."""

import time
from collections.abc import Callable
from pathlib import Path

from diffusiontalker.config import DataSettings, SourceSettings
from diffusiontalker.corpus import recordings
from diffusiontalker.corpus.sources import open_source


def survey(root: Path, output: Path) -> recordings.Survey:
    """BEAT in ``root``, with the settings that ``jobs/prepare.py`` has of its own."""
    source = SourceSettings(kind="beat", root=str(root))
    return recordings.survey(DataSettings(source=source, output=str(output)), output)


def on_one_core(found: recordings.Survey, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Every batch of takes in this process, one after the other: times real time."""
    settings = found.settings
    begun, worked = time.monotonic(), time.process_time()
    batches = recordings.plan(open_source(settings.source), found.listing.takes, settings)
    speech = 0.0
    for number, batch in enumerate(batches):
        part = recordings.write_batch(settings, found.folder, found.made.key, number, batch)
        speech += sum(report.seconds for report in part.takes)
        progress(number + 1, len(batches))
    return {
        "speech_seconds": speech,
        "one_core": speech / (time.monotonic() - begun),
        "one_core_by_processor_time": speech / (time.process_time() - worked),
    }


def on_all_cores(
    found: recordings.Survey, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """All that ``jobs/prepare.py`` does once Ray runs, but for its page: times real time."""
    begun = time.monotonic()
    outcome = recordings.convert(found, progress)
    recordings.publish(found.folder, outcome)
    return {"command": outcome.manifest.seconds() / (time.monotonic() - begun)}
