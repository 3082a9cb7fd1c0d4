"""The plan of the procedural corpus: who says what, how, in which split."""

import math
from dataclasses import dataclass

import numpy as np

from diffusiontalker.config import CorpusSettings, VoiceWeights
from diffusiontalker.corpus.manifest import SPLITS
from diffusiontalker.corpus.procedural import text
from diffusiontalker.corpus.procedural.voices import (
    EMOTIONS,
    KOKORO,
    KOKORO_UNSEEN,
    Speaker,
    espeak_speakers,
    kokoro_speakers,
)
from diffusiontalker.errors import UserError

NEUTRAL = "neutral"
SECONDS_PER_CLIP = 4.2
"""Measured mean of one or two sentences; it determines the number of clips alone."""


@dataclass(frozen=True)
class ClipPlan:
    """One clip to be generated."""

    id: str
    split: str
    sentence: str
    speaker: Speaker
    emotion: str
    seed: int


def plan(settings: CorpusSettings) -> list[ClipPlan]:
    """Speaker, sentence and emotion of every clip of every split; deterministic for a seed.

    Raises:
        UserError: an emotion is unknown or stands twice, or ``neutral_share`` lacks them.
    """
    for emotion in settings.emotions:
        if emotion not in EMOTIONS:
            raise UserError(f"corpus.emotions: unknown {emotion!r}; known: {', '.join(EMOTIONS)}")
        if settings.emotions.count(emotion) > 1:
            raise UserError(f"corpus.emotions: {emotion!r} stands twice")
    if settings.neutral_share is not None and not {NEUTRAL} < set(settings.emotions):
        raise UserError(
            f"corpus.neutral_share: needs {NEUTRAL!r} and another emotion in corpus.emotions"
        )
    rng = np.random.default_rng([settings.seed, 1])
    seen, unseen = speakers(settings)
    share = _kokoro_share(settings.voices)
    needed = [
        math.ceil(len(own) / part)
        for own, part in zip(seen, (1 - share, share), strict=True)
        if own
    ]
    counts = [max(_train_clips(settings), *needed), *[settings.eval_clips] * 3]
    texts = text.split_utterances(counts, rng, settings.invented_words)
    plans: list[ClipPlan] = []
    for split, utterances in zip(SPLITS, texts, strict=True):
        kinds = unseen if split == "test_unseen" else seen
        spoken = [0, 0]
        for i, sentence in enumerate(utterances):
            kind = _whole((i + 1) * share) - _whole(i * share)
            people = kinds[kind]
            turn, who = divmod(spoken[kind], len(people))
            spoken[kind] += 1
            # Each speaker starts with another.
            emotion = _emotion(turn + who, settings)
            name = f"{split}-{i:05d}"
            plans.append(ClipPlan(name, split, sentence, people[who], emotion, len(plans)))
    if settings.neutral_share is not None:
        spoken_in = {one.emotion for one in plans if one.split == "train"}
        if missing := [emotion for emotion in settings.emotions if emotion not in spoken_in]:
            raise UserError(
                f"corpus.neutral_share: {settings.neutral_share} leaves no clip of {missing[0]} in "
                "training; choose another, or more corpus.minutes"
            )
    return plans


def _emotion(turn: int, settings: CorpusSettings) -> str:
    """The emotion of a speaker's clip: every one about equally often, but for ``neutral_share``."""
    if settings.neutral_share is None:
        return settings.emotions[turn % len(settings.emotions)]
    others = [emotion for emotion in settings.emotions if emotion != NEUTRAL]
    before, after = (_whole(k * settings.neutral_share) for k in (turn, turn + 1))
    return NEUTRAL if after > before else others[(turn - before) % len(others)]


def _whole(parts: float) -> int:
    """``parts`` rounded down, but for rounding errors of its computation."""
    return math.floor(parts + 1e-9)


def speakers(settings: CorpusSettings) -> tuple[tuple[list[Speaker], ...], ...]:
    """The speakers of train, val and test_seen, and those of test_unseen: each eSpeak's and
    Kokoro's, where these have a weight. Kokoro speaks with no more voices than it has clips."""
    weights, seed = settings.voices, settings.seed
    everyone = espeak_speakers(settings.speakers + settings.unseen_speakers, seed)
    seen, unseen = everyone[: settings.speakers], everyone[settings.speakers :]
    voices = max(int(_train_clips(settings) * _kokoro_share(weights)), 1)
    return tuple(
        (own if weights.espeak else [], kokoro_speakers(natural, seed) if weights.kokoro else [])
        for own, natural in ((seen, KOKORO[:voices]), (unseen, KOKORO_UNSEEN))
    )


def _train_clips(settings: CorpusSettings) -> int:
    return round(settings.minutes * 60 / SECONDS_PER_CLIP)


def _kokoro_share(weights: VoiceWeights) -> float:
    return weights.kokoro / (weights.espeak + weights.kokoro)
