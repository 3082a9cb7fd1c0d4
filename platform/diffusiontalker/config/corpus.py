"""The corpus of a run."""

from typing import Annotated

from pydantic import Field

from diffusiontalker.config.section import Count, Section, Seed


class CorpusSettings(Section):
    """The procedural corpus, or prepared shards of your own."""

    path: str | None = None
    """Folder or s3:// prefix of prepared shards to use instead of the procedural corpus."""
    speakers: Annotated[int, Field(ge=2, le=2000)] = 16
    """Speakers of train, val and test_seen."""
    unseen_speakers: Count = 4
    """Speakers of test_unseen alone."""
    minutes: Annotated[float, Field(gt=0)] = 48.0
    """Minutes of speech to aim for in train."""
    eval_clips: Annotated[int, Field(ge=4)] = 56
    """Clips in each of val, test_seen and test_unseen."""
    emotions: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "neutral",
        "happiness",
        "anger",
        "sadness",
        "fear",
        "surprise",
        "disgust",
    )
    expected_draws: Annotated[int, Field(ge=2)] = 24
    """Draws averaged into the expected face of evaluation clips."""
    clips_per_shard: Count = 48
    seed: Seed = 0
