"""From the takes of a source to a published set of shards.

``inspect`` lists the takes and examines the output folder, ``convert`` reads batches of takes on
all workers and writes their shards, and ``publish`` writes the manifest. What a killed job has
finished is kept, and a published set stays as it is until the one that replaces it is complete
(``output_folder``).
"""

from diffusiontalker.corpus.ingest.job import (
    IngestJob,
    IngestResult,
    convert,
    inspect,
    published,
)
from diffusiontalker.corpus.ingest.output_folder import publish

__all__ = ["IngestJob", "IngestResult", "convert", "inspect", "publish", "published"]
