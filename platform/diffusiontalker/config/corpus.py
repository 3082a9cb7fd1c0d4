"""The corpus of a run."""

from typing import Annotated

from pydantic import Field, model_validator

from diffusiontalker.config.section import Count, Section, Seed, Share, Weight


class VoiceWeights(Section):
    """Shares of the speech of each synthesizer, relative to each other."""

    espeak: Weight = 1.0
    """eSpeak NG: fast, and clearly a synthesizer."""
    kokoro: Weight = 0.0
    """Kokoro-82M: 53 natural voices, about three times faster than real time on a core. Above 0,
    90 MB are fetched once."""

    @model_validator(mode="after")
    def _some(self) -> "VoiceWeights":
        if self.espeak + self.kokoro == 0:
            raise ValueError("all weights are 0, so nobody would speak")
        return self


class CorpusSettings(Section):
    """The procedural corpus, or prepared shards of your own."""

    path: str | None = None
    """Folder or s3:// prefix of prepared shards to use instead of the procedural corpus."""
    voices: VoiceWeights = VoiceWeights()
    """Shares of the synthesizers in every split."""
    speakers: Annotated[int, Field(ge=2, le=2000)] = 16
    """eSpeak's speakers in train, val and test_seen. Kokoro has as many as voices: 45."""
    unseen_speakers: Count = 4
    """eSpeak's speakers in test_unseen alone. Kokoro has 8."""
    minutes: Annotated[float, Field(gt=0)] = 48.0
    """Minutes of speech to aim for in train."""
    eval_clips: Annotated[int, Field(ge=4)] = 56
    """Clips in each of val, test_seen and test_unseen."""
    invented_words: Share = 0.0
    """Share of the nouns, verbs and adjectives of every split that are invented words of English
    sounds: the grammar's own are a few hundred, and a network that knows them by heart closes the
    lips in fewer p, b, m of others."""
    emotions: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "neutral",
        "happiness",
        "anger",
        "sadness",
        "fear",
        "surprise",
        "disgust",
    )
    neutral_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the clips of every split whose emotion is neutral; null: as many as of any other
    emotion. People mostly speak without much of one."""
    voice_variation: Annotated[float, Field(ge=0, le=2)] = 0.0
    """How much pitch, pace, timbre and roughness of a voice vary between clips whatever the
    emotion; at 1 about half as much as between emotions. With 0 an emotion is recognised by them
    alone, and a rough voice of a person is taken for disgust."""
    expected_draws: Annotated[int, Field(ge=2)] = 24
    """Draws averaged into the expected face of evaluation clips."""
    clips_per_shard: Count = 48
    seed: Seed = 0
