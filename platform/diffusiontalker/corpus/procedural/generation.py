"""Generate the procedural corpus: make its clips, and write their shards.

Ray Data makes one shard per task. A shard that exists is not made again, so a killed run resumes;
the manifest is written when all shards exist.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import soxr
from ray.exceptions import RayActorError
from ray.util.annotations import RayDeprecationWarning

from diffusiontalker import assets, storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import normalize
from diffusiontalker.config import CorpusSettings, VoiceWeights, fingerprint
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
from diffusiontalker.corpus.procedural import (
    articulation,
    closures,
    face,
    kokoro,
    speech,
    voice_quality,
)
from diffusiontalker.corpus.procedural.kokoro import Kokoro
from diffusiontalker.corpus.procedural.planning import ClipPlan, plan, speakers
from diffusiontalker.corpus.procedural.speech import Phone, Prosody
from diffusiontalker.corpus.procedural.voices import EMOTIONS
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError

VERSION = 4
"""Raise it when the same settings give another corpus: an old one is left alone then."""
PLAN = "plan.json"
"""Holds the key of an unfinished set, under the name that ``ingest`` uses."""
Speak = Callable[[str, str, Prosody], tuple[np.ndarray, int, list[Phone]]]
"""``speech.speak``, a ``speech.Synthesizer`` or a ``Kokoro``."""


def obtainable(settings: CorpusSettings, folder: Path) -> CorpusSettings:
    """The settings, with eSpeak alone where Kokoro's files cannot be had, which is printed.

    Args:
        settings: of the corpus.
        folder: where it is to be made; what is complete there needs no files.

    Raises:
        UserError: the files cannot be had, and ``folder`` holds a part of the mix.
    """
    if not settings.voices.kokoro:
        return settings
    key, complete = key_of(settings), is_published(folder)
    if complete and open_corpus(folder).source_fingerprint == key:
        return settings
    try:
        assets.fetch(kokoro.ASSET)
    except UserError as error:
        if not complete and _unfinished(folder) == key:
            raise UserError(
                f"{folder}: is unfinished, and the rest needs Kokoro's files ({error}); or remove "
                "that folder, for a corpus of eSpeak alone"
            ) from error
        print(f"corpus.voices: eSpeak speaks alone, without Kokoro ({error})", flush=True)
        return settings.model_copy(update={"voices": VoiceWeights()})
    return settings


def make_clip(plan: ClipPlan, settings: CorpusSettings, speak: Speak = speech.speak) -> Clip:
    """Synthesize and animate one planned clip."""
    rng = np.random.default_rng([settings.seed, 2, plan.seed])
    emotion = EMOTIONS[plan.emotion]
    intensity = float(rng.uniform(0.7, 1.0))
    if settings.voice_variation:
        own = np.random.default_rng([settings.seed, 8, plan.seed])
        emotion = voice_quality.varied(emotion, settings.voice_variation, own)
    prosody = plan.speaker.prosody(emotion, intensity)
    spoken, rate, phones = speak(plan.sentence, plan.speaker.voice, prosody)
    if plan.speaker.synthesizer == "espeak":
        phones = closures.on_dips(phones, spoken, rate)
    # A shorter vocal tract raises formants and pitch: resampled, so that times scale too.
    tract = plan.speaker.tract
    audio = soxr.resample(spoken, rate * tract, SAMPLE_RATE).astype(np.float32)
    phones = [Phone(p.ipa, p.start / tract, p.end / tract) for p in phones]
    audio = normalize(voice_quality.apply(audio, emotion, intensity, rng))
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
    _check_key(folder, key, _unfinished(folder))
    storage.write_json(folder / PLAN, {"key": key})
    batches = _batches(plan(settings), settings)
    done: list[ShardInfo] = []
    for info in _make_shards(folder, batches, settings):
        done.append(info)
        progress(len(done), len(batches))
    manifest = Manifest(
        source="procedural",
        shards=sorted(done, key=lambda shard: shard.file),
        identities=[speaker.name for own in speakers(settings)[0] for speaker in own],
        emotions=list(settings.emotions),
        source_fingerprint=key,
    )
    write_manifest(folder, manifest)
    storage.remove(folder / PLAN)
    return manifest


def key_of(settings: CorpusSettings) -> str:
    """Fingerprint of the settings, of the versions of generator and schema, and of the files that
    the speech is made with. Where eSpeak speaks alone, its weight changes nothing."""
    mixed = bool(settings.voices.kokoro)
    content = settings.model_dump(mode="json", exclude={"path"} if mixed else {"path", "voices"})
    files = [assets.ASSETS[kokoro.ASSET].fingerprint] if mixed else []
    return fingerprint("procedural", VERSION, SCHEMA_VERSION, content, *files)


def _unfinished(folder: Path) -> str | None:
    """The key of a set that ``folder`` holds a part of; None if there is none."""
    path = folder / PLAN
    return storage.read_json(path).get("key") if storage.is_file(path) else None


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
    names = ray.data.from_items(
        [{"file": name} for name in batches], override_num_blocks=len(batches)
    )
    if settings.voices.kokoro:
        made = _with_actors(names, folder, batches, settings)
    else:
        made = names.map(_ShardMaker(folder, batches, settings).__call__)
    try:
        for row in made.iter_rows():
            if row["mistake"]:
                raise UserError(row["mistake"])
            yield ShardInfo.from_json(row["info"])
    except RayActorError as error:
        raise UserError(
            f"{folder}: the process of a synthesizer ended, or its machine did; if memory ran out, "
            "free some; run the same again, which goes on with the shards that are missing"
        ) from error


def _with_actors(
    names: ray.data.Dataset, folder: Path, batches: dict[str, list[ClipPlan]],
    settings: CorpusSettings,
) -> ray.data.Dataset:  # fmt: skip
    """A pool, so that an actor loads the model once. It has a core for each actor, and the death
    of one ends the pool."""
    size = min(int(ray.cluster_resources().get("CPU", 1)), len(batches))
    pool = ray.data.ActorPoolStrategy(size=max(size, 1), max_tasks_in_flight_per_actor=1)
    with warnings.catch_warnings():
        # Restarts are off: Ray would warn that a restarted actor may lack its arguments. It also
        # deprecates this argument, without another in its place.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return names.map(
            _ShardMaker,  # type: ignore[arg-type]  # Ray's annotation knows functions alone
            fn_constructor_args=(folder, batches, settings),
            num_cpus=1,
            max_restarts=0,
            compute=pool,
        )


class _ShardMaker:
    """Makes a shard unless it exists. With Kokoro an actor, which holds the model."""

    def __init__(
        self,
        folder: Path,
        batches: dict[str, list[ClipPlan]],
        settings: CorpusSettings,
    ) -> None:
        self._folder, self._batches, self._settings = folder, batches, settings
        self._kokoro: Speak | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """A shard's entry in the manifest, or an error message; the other is empty. (Ray Data
        prints pages about an error that is raised.)"""
        try:
            return {"info": self._shard(self._folder / item["file"]).to_json(), "mistake": ""}
        except UserError as error:
            return {"info": "", "mistake": str(error)}

    def _shard(self, path: Path) -> ShardInfo:
        if storage.is_file(path):
            return shards.describe(path)
        return shards.write_shard(path, self._clips(self._batches[path.name]))

    def _clips(self, plans: list[ClipPlan]) -> list[Clip]:
        with speech.Synthesizer() as espeak:
            return [
                make_clip(
                    p,
                    self._settings,
                    self._loaded_kokoro() if p.speaker.synthesizer == "kokoro" else espeak,
                )
                for p in plans
            ]

    def _loaded_kokoro(self) -> Speak:
        """Kokoro, loaded with the first clip that it speaks."""
        if self._kokoro is None:
            self._kokoro = Kokoro()
        return self._kokoro
