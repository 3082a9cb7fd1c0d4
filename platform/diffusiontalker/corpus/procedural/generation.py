"""Generate the procedural corpus: plan its clips, and write their shards.

Ray Data makes one shard per task. A shard that exists is not made again, so a killed run resumes;
the manifest is written when all shards exist.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import soxr

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import normalize
from diffusiontalker.config import CorpusSettings, fingerprint
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import (
    SCHEMA_VERSION,
    SPLITS,
    Manifest,
    ShardInfo,
    is_published,
    open_corpus,
    write_manifest,
)
from diffusiontalker.corpus.procedural import articulation, face, speech, text
from diffusiontalker.corpus.procedural.speech import Phone, Prosody
from diffusiontalker.corpus.procedural.voices import EMOTIONS, Emotion, Speaker, speakers
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError

VERSION = 1
"""Raise it when the same settings give another corpus: an old one is left alone then."""
PLAN = "plan.json"
"""Holds the key of an unfinished set, under the name that ``ingest`` uses."""
SECONDS_PER_CLIP = 4.2
"""Measured mean of one or two sentences; it determines the number of clips alone."""

Speak = Callable[[str, str, Prosody], tuple[np.ndarray, int, list[Phone]]]
"""``speech.speak``, or a ``speech.Synthesizer``."""


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
        UserError: an emotion is unknown or stands twice.
    """
    for emotion in settings.emotions:
        if emotion not in EMOTIONS:
            raise UserError(f"corpus.emotions: unknown {emotion!r}; known: {', '.join(EMOTIONS)}")
        if settings.emotions.count(emotion) > 1:
            raise UserError(f"corpus.emotions: {emotion!r} stands twice")
    rng = np.random.default_rng([settings.seed, 1])
    everyone = speakers(settings.speakers + settings.unseen_speakers, settings.seed)
    seen, unseen = everyone[: settings.speakers], everyone[settings.speakers :]
    train = max(round(settings.minutes * 60 / SECONDS_PER_CLIP), len(seen))
    counts = [train, *[settings.eval_clips] * 3]
    texts = text.split_utterances(counts, rng)
    plans: list[ClipPlan] = []
    for split, utterances in zip(SPLITS, texts, strict=True):
        people = unseen if split == "test_unseen" else seen
        for i, sentence in enumerate(utterances):
            # Every speaker uses every emotion about equally often, each starting with another.
            turn, who = divmod(i, len(people))
            speaker = people[who]
            emotion = settings.emotions[(turn + who) % len(settings.emotions)]
            name = f"{split}-{i:05d}"
            plans.append(ClipPlan(name, split, sentence, speaker, emotion, len(plans)))
    return plans


def make_clip(plan: ClipPlan, settings: CorpusSettings, speak: Speak = speech.speak) -> Clip:
    """Synthesize and animate one planned clip."""
    rng = np.random.default_rng([settings.seed, 2, plan.seed])
    emotion = EMOTIONS[plan.emotion]
    intensity = float(rng.uniform(0.7, 1.0))
    prosody = plan.speaker.prosody(emotion, intensity)
    spoken, rate, phones = speak(plan.sentence, plan.speaker.voice, prosody)
    # A shorter vocal tract raises formants and pitch: resampled, so that times scale too.
    tract = plan.speaker.tract
    audio = soxr.resample(spoken, rate * tract, SAMPLE_RATE).astype(np.float32)
    phones = [Phone(p.ipa, p.start / tract, p.end / tract) for p in phones]
    audio = normalize(_voice_quality(audio, emotion, intensity, rng))
    motion = articulation.speech_motion(
        audio, SAMPLE_RATE, phones, plan.speaker, emotion, intensity
    )
    evaluated = plan.split != "train"
    coefficients = face.draw(motion, np.random.default_rng([settings.seed, 3, plan.seed]))
    frames = len(coefficients)
    return Clip(
        id=plan.id,
        source="procedural",
        identity=plan.speaker.name,
        emotion=plan.emotion,
        split=plan.split,
        text=plan.sentence,
        audio=audio[: frames * SAMPLE_RATE // FPS],
        coefficients=coefficients,
        phones=[p.ipa for p in phones],
        phone_starts=np.array([p.start for p in phones], np.float32),
        redraw=face.draw(motion, np.random.default_rng([settings.seed, 4, plan.seed]))
        if evaluated
        else None,
        expected=face.expected(
            motion, np.random.default_rng([settings.seed, 5, plan.seed]), settings.expected_draws
        )
        if evaluated
        else None,
    )  # fmt: skip


def _voice_quality(
    audio: np.ndarray, emotion: Emotion, intensity: float, rng: np.random.Generator
) -> np.ndarray:
    """Apply an emotion's spectral tilt, soft clipping and tremolo, and a little room noise."""
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE), 60.0) / 500.0)
    spectrum *= 10 ** (emotion.tilt * intensity * octaves / 20)
    audio = np.fft.irfft(spectrum, len(audio))
    seconds = np.arange(len(audio)) / SAMPLE_RATE
    if emotion.drive:
        gain = 1.0 + emotion.drive * intensity
        audio = np.tanh(gain * audio / np.abs(audio).max()) / gain
    tremolo = np.sin(2 * np.pi * (emotion.tremor_hz * seconds + rng.random()))
    audio = audio * (1.0 - 0.5 * emotion.tremor * intensity * (1.0 + tremolo))
    noise = 10 ** (-rng.uniform(35, 60) / 20) * np.std(audio)
    return (audio + noise * rng.normal(size=len(audio))).astype(np.float32)


def make(folder: Path, settings: CorpusSettings, progress: Callable[[int, int], None]) -> Manifest:
    """Generate the corpus in ``folder``; existing shards of the same settings are kept.

    Args:
        folder: receives the shards and ``manifest.json``.
        settings: size, speakers, seed.
        progress: called with shards done and shards in all.

    Raises:
        UserError: an emotion is unknown, or ``folder`` holds another set.
    """
    key = key_of(settings)
    if is_published(folder):
        published = open_corpus(folder)
        _check_key(folder, key, published.source_fingerprint)
        return published
    storage.make_folder(folder)
    unfinished = folder / PLAN
    if storage.is_file(unfinished):
        _check_key(folder, key, storage.read_json(unfinished).get("key"))
    storage.write_json(unfinished, {"key": key})
    batches = _batches(plan(settings), settings)
    done: list[ShardInfo] = []
    for info in _make_shards(folder, batches, settings):
        done.append(info)
        progress(len(done), len(batches))
    manifest = Manifest(
        source="procedural",
        shards=sorted(done, key=lambda shard: shard.file),
        identities=[s.name for s in speakers(settings.speakers, settings.seed)],
        emotions=list(settings.emotions),
        source_fingerprint=key,
    )
    write_manifest(folder, manifest)
    storage.remove(unfinished)
    return manifest


def key_of(settings: CorpusSettings) -> str:
    """Fingerprint of the settings and of the versions of generator and schema."""
    content = settings.model_dump(mode="json", exclude={"path"})
    return fingerprint("procedural", VERSION, SCHEMA_VERSION, content)


def _check_key(folder: Path, key: str, existing: str | None) -> None:
    """Raises UserError if the folder is known to hold another set."""
    if existing not in (None, key):
        raise UserError(
            f"{folder}: holds a set of other settings or of another version; choose another "
            "output=..., or remove it"
        )


def _batches(plans: list[ClipPlan], settings: CorpusSettings) -> dict[str, list[ClipPlan]]:
    """Shard names and their clips. Clips are shuffled so that each shard is a fair sample."""
    out = {}
    for split in SPLITS:
        own = [p for p in plans if p.split == split]
        np.random.default_rng([settings.seed, 6]).shuffle(own)
        size = settings.clips_per_shard
        for k in range(0, len(own), size):
            out[f"{split}-{k // size:05d}.parquet"] = own[k : k + size]
    return out


def _make_shards(
    folder: Path, batches: dict[str, list[ClipPlan]], settings: CorpusSettings
) -> Iterable[ShardInfo]:
    def make_one(item: dict[str, Any]) -> dict[str, Any]:
        path = folder / item["file"]
        if storage.is_file(path):
            info = shards.describe(path)
        else:
            with speech.Synthesizer() as speak:
                clips = [make_clip(p, settings, speak) for p in batches[path.name]]
            info = shards.write_shard(path, clips)
        return {"info": info.to_json()}

    names = ray.data.from_items(
        [{"file": name} for name in batches], override_num_blocks=len(batches)
    )
    for row in names.map(make_one).iter_rows():
        yield ShardInfo.from_json(row["info"])
