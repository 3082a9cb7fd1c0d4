"""Pseudo-labels on Ray: recordings in, shards with features and a teacher's faces out.

Each actor of a pool holds the frozen encoder and the teacher, and makes one shard at a time, as in
``features.stage``. Existing shards are kept, so a killed run resumes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import is_quiet, normalize
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.config import (
    DegradationSettings,
    ExtractionSettings,
    PseudoLabelSettings,
)
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.measure import batch_of_one, sample
from diffusiontalker.features.augmentation import degraded
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import RETRIES, distribute, pool_size, to_length
from diffusiontalker.pseudo_labels import recordings
from diffusiontalker.pseudo_labels.recordings import Batch
from diffusiontalker.training.checkpoints import load_talker

SOURCE = "pseudo-labels"
"""The source of the clips."""
SHOWN = 3
"""Recordings that could not be read, in the line that counts them."""


@dataclass(frozen=True)
class Labelling:
    """How recordings are labelled: what every actor needs."""

    recordings: str
    teacher: str
    """Folder of the teacher."""
    steps: int
    sampler: str
    encoder: tuple[str, tuple[int, ...], str | None]
    """Name, layers and revision of the frozen encoder."""
    settings: PseudoLabelSettings
    degradation: DegradationSettings
    gpu: bool = False


def label(
    how: Labelling, files: dict[str, str], extraction: ExtractionSettings, target: Path,
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Label all recordings, into a set of shards in ``target``.

    Args:
        how: the teacher and its input.
        files: of ``recordings.listing``.
        extraction: number of actors.
        target: folder of the shards, local or in S3.
        progress: called with the number of shards done, and of all shards.

    Raises:
        UserError: no recording could be read, the target cannot be written, or an actor dies at
            the same shard repeatedly. A part that cannot be read is skipped, and listed.
    """
    sizes = {name: int(stamp.partition(" ")[0]) for name, stamp in files.items()}
    planned = recordings.batches(sizes, how.settings.seed)
    storage.make_folder(target)
    gpus = extraction.gpus_per_actor if how.gpu else 0
    actor = ray.remote(_Labeller).options(
        num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES,
        scheduling_strategy="SPREAD",
    )  # fmt: skip
    count = pool_size(len(planned), extraction, how.gpu, ray.cluster_resources())
    pool: list[Any] = [actor.remote(how, target) for _ in range(count)]
    done: list[ShardInfo] = []
    unread: list[str] = []
    try:
        for number, (info, mistakes) in enumerate(distribute(pool, [(b,) for b in planned]), 1):
            unread += mistakes
            done += [ShardInfo.from_json(info)] if info else []
            progress(number, len(planned))
    except RayActorError as error:
        raise UserError(
            f"{how.recordings}: the process of a teacher ended {RETRIES + 1} times at the same "
            "recordings; if its machine ran out of memory, lower extraction.actors"
        ) from error
    finally:
        for member in pool:
            ray.kill(member)
    if not done:
        raise UserError(
            f"pseudo_labels.recordings {how.recordings}: none of its {len(files)} recordings can "
            f"be used; the first: {unread[0]}"
        )
    if unread:
        print(f"{len(unread)} recordings are left out: {'; '.join(unread[:SHOWN])}", flush=True)
    manifest = Manifest(SOURCE, sorted(done, key=lambda one: one.file), [], [])
    write_manifest(target, manifest)


class _Labeller:
    """An actor: reads recordings of a speaker, draws their faces, writes a shard."""

    def __init__(self, how: Labelling, target: Path) -> None:
        torch.set_num_threads(1)  # Ray reserves one CPU
        self.how, self.target = how, target
        self.teacher = load_talker(storage.location(how.teacher)).eval()
        named = how.settings.emotion
        self.emotion = None if named is None else self.teacher.config.emotions.index(named)

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """Loaded with the first recordings."""
        return FrozenEncoder(*self.how.encoder, "cuda" if self.how.gpu else "cpu")

    def ready(self) -> None:
        """Return; the call waits until the actor has started."""

    def write(self, batch: Batch) -> tuple[str, list[str]]:
        """The entry of a batch's shard in the manifest, empty where no recording could be used, and
        why some could not."""
        path = self.target / batch.shard
        if storage.is_file(path):
            return shards.describe(path).to_json(), []
        clips, unread = self.clips(batch)
        if not clips:
            return "", unread
        labelled = [self.labelled(clip, clips[:i] + clips[i + 1 :]) for i, clip in enumerate(clips)]
        return shards.write_shard(path, labelled).to_json(), unread

    def clips(self, batch: Batch) -> tuple[list[Clip], list[str]]:
        """The clips of a batch, without faces, and why recordings could not be used."""
        settings = self.how.settings
        found: list[np.ndarray] = []
        unread: list[str] = []
        for name in batch.files:
            path = storage.location(self.how.recordings) / name
            try:
                decoded = read_recording(path, to=SAMPLE_RATE)
                audio = as_waveform(decoded.samples, decoded.rate, str(path))
            except UserError as error:
                if storage.is_remote(path) and storage.may_pass(error):
                    raise  # the network's fault, not the recording's
                unread.append(str(error))
                continue
            audio = recordings.trimmed(normalize(audio)) if not is_quiet(audio) else audio[:0]
            if not len(audio):
                unread.append(f"{path}: shorter than {recordings.MIN_SECONDS} s, or silent")
                continue
            found += recordings.pieces(audio, settings.clip_seconds)
        rng = np.random.default_rng([settings.seed, _number(batch.shard)])
        audios = recordings.joined(found, settings.clip_seconds, rng)
        name = f"{batch.speaker}-{batch.shard.partition('.')[0]}"
        clips = [self.without_face(f"{name}-{i:04d}", audio) for i, audio in enumerate(audios)]
        return clips, unread

    def without_face(self, name: str, audio: np.ndarray) -> Clip:
        """A clip of whole frames of animation, whose face is not drawn yet."""
        frames = len(audio) * FPS // SAMPLE_RATE
        return Clip(
            name, None, self.how.settings.emotion, "train", None, audio,
            np.zeros((frames, len(CHANNELS)), np.float32), source=SOURCE,
        )  # fmt: skip

    def labelled(self, clip: Clip, others: list[Clip]) -> Clip:
        """The clip with the teacher's face, features, and log-mel of its degraded audio."""
        frames, teacher = len(clip.coefficients), self.teacher
        features = self.encoder.many([clip.audio], [frames], 0.0)[0]
        clean = to_length(log_mel(clip.audio), frames)
        mels, inputs = batch_of_one(clean), batch_of_one(features)
        assert mels is not None
        drawn = sample(
            teacher, teacher.inputs(inputs, mels), frames, self.how.steps, self.how.sampler, 1,
            _number(clip.id) + self.how.settings.seed, self.emotion,
        )  # fmt: skip
        degradation = self.how.degradation
        line = degraded(clip, others, degradation)
        if degradation.features:
            features = self.encoder.many([line], [frames], 0.0)[0]
        mel = to_length(log_mel(line), frames)
        return Clip(
            clip.id, None, drawn.emotion, "train", None, clip.audio,
            np.clip(drawn.samples[0], 0, 1), features=features, log_mel=mel, source=SOURCE,
        )  # fmt: skip


def _number(name: str) -> int:
    """A seed from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
