"""Pseudo-labels on Ray: recordings in, shards with features and a teacher's faces out.

Each actor of a pool holds the frozen encoder and the teacher, and makes one shard at a time, as in
``features.stage``. Existing shards are kept, so a killed run resumes; one that lacks recordings
which could not be read is made again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from ray.exceptions import RayActorError

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import is_quiet, normalize
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.audio.recording import decode_recording, open_recording
from diffusiontalker.audio.waveform import MAX_SECONDS, as_waveform
from diffusiontalker.config import DegradationSettings, ExtractionSettings, PseudoLabelSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.measure import batch_of_one, sample
from diffusiontalker.features.augmentation import degraded
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import RETRIES, actor_pool, distribute, to_length
from diffusiontalker.model.talker import Talker
from diffusiontalker.pseudo_labels import recordings
from diffusiontalker.pseudo_labels.recordings import Batch, Listing
from diffusiontalker.training.checkpoints import load_talker

SOURCE = "pseudo-labels"
"""The source of the clips."""
MAX_UNREADABLE = 0.1
"""Share of the recordings that may be unreadable, as of takes in ``jobs/prepare.py``."""
SHOWN = 3
"""Recordings that could not be read, in the line that counts them."""
UNREAD = ".unread.json"
"""Ending of the file beside a shard that lists why recordings of it could not be read."""


@dataclass(frozen=True)
class Labelling:
    """How recordings are labelled: what every actor needs."""

    recordings: str
    """Their folder: an absolute path, or s3://."""
    teacher: str
    """Folder of the teacher, likewise."""
    steps: int
    sampler: str
    encoder: tuple[str, tuple[int, ...], str | None]
    """Name, layers and revision of the frozen encoder."""
    settings: PseudoLabelSettings
    degradation: DegradationSettings
    gpu: bool = False
    """Run the frozen encoder on CUDA; the teacher, which is small, runs on the CPU."""


def label(
    how: Labelling, listing: Listing, extraction: ExtractionSettings, target: Path,
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Label all recordings, into a set of shards in ``target``.

    Args:
        how: the teacher and its input.
        listing: the recordings.
        extraction: number of actors.
        target: folder of the shards, local or in S3.
        progress: called with the number of shards done, and of all shards.

    Raises:
        UserError: more than ``MAX_UNREADABLE`` of the recordings cannot be read, the folder or the
            target cannot be reached, or an actor dies at the same shard repeatedly.
    """
    planned = recordings.batches(listing.bytes, how.settings.seed)
    storage.make_folder(target)
    done: list[ShardInfo] = []
    unread, total = list(listing.left_out), len(listing.files) + len(listing.left_out)
    check_readable(how.recordings, unread, total)
    try:
        with actor_pool(_Labeller, (how, target), len(planned), extraction, how.gpu) as pool:
            written = distribute(pool, [(batch,) for batch in planned])
            for number, (info, own, mistake) in enumerate(written, 1):
                if mistake:
                    raise UserError(mistake)
                unread += own
                check_readable(how.recordings, unread, total)
                done += [ShardInfo.from_json(info)] if info else []
                progress(number, len(planned))
    except RayActorError as error:
        raise UserError(
            f"{how.recordings}: the process of a teacher ended {RETRIES + 1} times at the same "
            "recordings; if its machine ran out of memory, lower extraction.actors"
        ) from error
    if unread:
        print(
            f"{len(unread)} of {total} recordings are left out: {'; '.join(unread[:SHOWN])}; to "
            f"have them read again, delete {target}",
            flush=True,
        )
    manifest = Manifest(SOURCE, sorted(done, key=lambda one: one.file), [], [])
    write_manifest(target, manifest)


def check_readable(folder: str, unread: list[str], total: int) -> None:
    """Raises UserError where more than ``MAX_UNREADABLE`` of ``total`` recordings are ``unread``,
    given by their reasons."""
    if len(unread) > MAX_UNREADABLE * total:
        raise UserError(
            f"pseudo_labels.recordings {folder}: {len(unread)} of {total} recordings, or more, "
            f"cannot be used, and at most {MAX_UNREADABLE:.0%} may: {'; '.join(unread[:SHOWN])}; "
            "mend them, or take them out of the folder"
        )


class _Labeller:
    """An actor: reads recordings, draws their faces, writes a shard."""

    def __init__(self, how: Labelling, target: Path) -> None:
        torch.set_num_threads(1)  # Ray reserves one CPU
        torch.backends.cudnn.allow_tf32 = False  # as where the corpus's features were extracted
        self.how, self.target = how, target

    # Loaded with the first recordings: a mistake in a constructor would look like a dead process.

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder."""
        return FrozenEncoder(*self.how.encoder, "cuda" if self.how.gpu else "cpu")

    @cached_property
    def teacher(self) -> Talker:
        """The teacher."""
        return load_talker(storage.location(self.how.teacher)).eval()

    @cached_property
    def emotion(self) -> int | None:
        """The teacher's index of the emotion of all recordings."""
        named = self.how.settings.emotion
        return None if named is None else self.teacher.config.emotions.index(named)

    def ready(self) -> None:
        """Return; the call waits until the actor has started."""

    def write(self, batch: Batch) -> tuple[str, list[str], str]:
        """The entry of a batch's shard in the manifest, empty where no recording could be used;
        why some could not; and an error message, which ends the stage."""
        path = self.target / batch.shard
        listed = self.target / f"{batch.shard}{UNREAD}"
        try:
            if storage.is_file(path) and not storage.is_file(listed):
                return shards.describe(path).to_json(), [], ""
            clips, unread = self.clips(batch)
            if unread:  # before the shard, which would be complete without
                storage.write_json(listed, unread)
            if not clips:
                return "", unread, ""
            info = shards.write_shard(path, [self.labelled(clip, clips) for clip in clips])
            if not unread and storage.is_file(listed):  # of an earlier attempt
                storage.remove(listed)
            return info.to_json(), unread, ""
        except UserError as error:
            return "", [], str(error)

    def clips(self, batch: Batch) -> tuple[list[Clip], list[str]]:
        """The clips of a batch, without faces, and why recordings could not be used.

        Raises:
            UserError: a file cannot be reached, which is not the recording's fault.
        """
        clips: list[Clip] = []
        unread: list[str] = []
        name = batch.shard.partition(".")[0]
        rng = np.random.default_rng([self.how.settings.seed, _number(name)])
        seconds = self.how.settings.clip_seconds
        for _, files in groupby(batch.files, recordings.speaker_of):
            own: list[np.ndarray] = []
            for file in files:
                path = storage.location(self.how.recordings) / file
                with open_recording(path) as content:
                    try:
                        own += recordings.pieces(usable(content, str(path)), seconds)
                    except UserError as error:
                        unread.append(str(error))
            for audio in recordings.joined(own, seconds, rng):
                clips.append(self.without_face(f"{name}-{len(clips):04d}", audio))
        return clips, unread

    def without_face(self, name: str, audio: np.ndarray) -> Clip:
        """A clip of whole frames of animation, whose face is not drawn yet."""
        frames = len(audio) * FPS // SAMPLE_RATE
        return Clip(
            name, None, self.how.settings.emotion, "train", None, audio,
            np.zeros((frames, len(CHANNELS)), np.float32), source=SOURCE,
        )  # fmt: skip

    def labelled(self, clip: Clip, clips: list[Clip]) -> Clip:
        """The clip with the teacher's face, features, and log-mel of its degraded audio; ``clips``
        speak in the background. Raises UserError."""
        frames, teacher, degradation = len(clip.coefficients), self.teacher, self.how.degradation
        features = self.encoder.many([clip.audio], [frames], 0.0)[0]
        clean = batch_of_one(to_length(log_mel(clip.audio), frames))
        assert clean is not None
        drawn = sample(
            teacher, teacher.inputs(batch_of_one(features), clean), frames, self.how.steps,
            self.how.sampler, 1, _number(clip.id) + self.how.settings.seed, self.emotion,
        )  # fmt: skip
        others = [other for other in clips if other is not clip]
        audio = degraded(clip, others, degradation)
        if degradation.features:
            features = self.encoder.many([audio], [frames], 0.0)[0]
        with np.errstate(over="ignore"):  # refused below
            if not np.isfinite(features.astype(np.float16)).all():
                raise UserError(
                    f"encoder.name {self.how.encoder[0]!r}: features of {clip.id} are not finite "
                    "in half precision; choose other encoder.layers, or another model"
                )
        return Clip(
            clip.id, None, drawn.emotion, "train", None, clip.audio,
            np.clip(drawn.samples[0], 0, 1), features=features,
            log_mel=to_length(log_mel(audio), frames), source=SOURCE,
        )  # fmt: skip


def usable(content: BinaryIO, where: str) -> np.ndarray:
    """A recording as audio (n,) at 16 kHz, at a common level, without silence at its ends.

    Raises:
        UserError: it cannot be decoded, is silent, or is too short or too long.
    """
    decoded = decode_recording(content, where, MAX_SECONDS, SAMPLE_RATE, others=True)
    audio = as_waveform(decoded.samples, decoded.rate, where)
    audio = recordings.trimmed(normalize(audio)) if not is_quiet(audio) else audio[:0]
    if not len(audio):
        raise UserError(f"{where}: silent, or shorter than {recordings.MIN_SECONDS} s")
    return audio


def _number(name: str) -> int:
    """A seed from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
