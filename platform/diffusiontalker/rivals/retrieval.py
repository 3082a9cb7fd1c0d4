"""Nearest-neighbour retrieval: recorded faces of the segments that sound most alike (ours).

Speech is cut into segments of 0.4 s that overlap by half. For each the nearest segment of the
training set is found, by the frozen encoder's features through a fixed random projection, among
those of the same speaker where the speaker is known; the faces are cross-faded.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.rivals.base import Batch, Regression, RivalConfig
from diffusiontalker.training.windows import UNKNOWN

SEGMENT, HOP = 12, 6
"""Frames."""
MOST = 40_000
"""Segments that are kept, evenly spaced: some two hours of speech, 100 MB."""


class Retrieval(Regression):
    """Its faces are recorded, and so move as people do."""

    title = "nearest neighbour"
    learns = False
    keys: Tensor
    """(N, W) projected features of the training set's segments."""
    segments: Tensor
    """(N, SEGMENT, 52) their coefficients."""
    owners: Tensor
    """(N,) their speakers."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        generator = torch.Generator().manual_seed(0)
        shape = config.feature_dim * SEGMENT, self.size
        self.register_buffer("projection", torch.randn(shape, generator=generator) / self.size**0.5)
        self.resize(
            {"keys": torch.zeros(0, self.size), "owners": torch.zeros(0, dtype=torch.long),
             "segments": torch.zeros(0, SEGMENT, len(CHANNELS))}
        )  # fmt: skip

    def resize(self, state: dict[str, Tensor]) -> None:
        """Empty buffers of the shapes in ``state``."""
        for name in ("keys", "segments", "owners"):
            self.register_buffer(name, torch.zeros_like(state[name]))

    @torch.no_grad()
    def prepare(self, data: CorpusFolder) -> None:
        """Read the training shards."""
        super().prepare(data)
        frames = sum(shard.frames for shard in data.manifest.of("train"))
        every = max(math.ceil(frames / HOP / MOST), 1)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        names = {name: number for number, name in enumerate(self.config.identities)}
        columns = ["id", "identity", "frames", "coefficients", "features"]
        for shard in data.manifest.of("train"):
            for clip in shards.clips_of(shards.read_table(data.folder / shard.file, columns)):
                assert clip.features is not None
                features = torch.from_numpy(clip.features.astype(np.float32))
                keys = self.project(features)[::every]
                faces = windows(torch.tensor(clip.coefficients))[::every]
                owner = names.get(clip.identity or "", UNKNOWN)
                found.append((keys, faces, torch.full((len(keys),), owner)))
        keys, faces, owners = (torch.cat(parts) for parts in zip(*found, strict=True))
        self.keys, self.segments, self.owners = keys, faces, owners

    def project(self, features: Tensor) -> Tensor:
        """Keys (S, W) of the segments of features (T, D)."""
        own = F.layer_norm(features, features.shape[-1:])
        return windows(own).flatten(1) @ self.get_buffer("projection")

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``, of a batch of one."""
        (features,), (speaker,) = batch["features"], batch["identity"]
        frames = len(features)
        distance = torch.cdist(self.project(features), self.keys)
        own = self.owners == speaker
        if speaker != UNKNOWN and own.any():
            distance = distance.masked_fill(~own, torch.inf)
        chosen = self.segments[distance.argmin(1)]
        fade = torch.hann_window(SEGMENT + 1, periodic=False)[1:].clamp(min=1e-3)[:, None]
        total, weight = (
            torch.zeros(frames + SEGMENT, len(CHANNELS)),
            torch.zeros(frames + SEGMENT, 1),
        )
        for start, segment in zip(range(0, frames, HOP), chosen, strict=False):
            total[start : start + SEGMENT] += segment * fade
            weight[start : start + SEGMENT] += fade
        return (total / weight.clamp(min=1e-6))[None, :frames]


def windows(values: Tensor) -> Tensor:
    """Segments (S, SEGMENT, C) of (T, C), one for every ``HOP`` frames; the last frame is held."""
    short = SEGMENT + (-len(values)) % HOP
    padded = torch.cat([values, values[-1:].expand(short, -1)])
    return padded.unfold(0, SEGMENT, HOP).transpose(1, 2)
