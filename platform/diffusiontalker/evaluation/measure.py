"""Every metric of one model on one split: pure functions of sampled and recorded faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffusiontalker.animation.rig import Rig
from diffusiontalker.arkit import CHANNELS, LIP, UPPER
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.model.talker import Talker
from diffusiontalker.objectives import metrics


class Vertices:
    """The part of a rig that the vertex metrics look at: lips and upper face."""

    def __init__(self, rig: Rig) -> None:
        keep = rig.lip | rig.upper
        self.mean = rig.mean[keep].astype(np.float32)
        self.deltas = rig.deltas[:, keep].astype(np.float32)
        self.lip, self.upper = rig.lip[keep], rig.upper[keep]
        self.eyes_forehead = rig.eyes_forehead[keep]

    def __call__(self, coefficients: np.ndarray) -> np.ndarray:
        """(T, 52) -> (T, V, 3) in metres."""
        flat = coefficients.astype(np.float32) @ self.deltas.reshape(len(CHANNELS), -1)
        return self.mean + flat.reshape(len(coefficients), -1, 3)


@dataclass
class Heard:
    """What a model makes of one clip."""

    samples: np.ndarray
    """(seeds, T, 52)."""
    identity: str
    emotion: str


def embed_and_sample(
    talker: Talker, clip: Clip, steps: int, sampler: str, seeds: int, seed: int
) -> Heard:
    """Sample a clip as a user would: identity and emotion are found from the voice."""
    log_mel = batch_of_one(clip.log_mel)
    assert log_mel is not None
    inputs = talker.inputs(batch_of_one(clip.features), log_mel)
    return hear(talker, inputs, len(clip.coefficients), steps, sampler, seeds, seed)


@torch.inference_mode()
def hear(
    talker: Talker,
    inputs: torch.Tensor,
    frames: int,
    steps: int,
    sampler: str,
    seeds: int,
    seed: int,
) -> Heard:
    """``seeds`` samples for ``inputs`` (``Talker.inputs``, batch 1), nearest library entries."""
    one, identity, emotion = talker.recognise(inputs, torch.ones(1, frames, 1))
    many = one.expand(seeds)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(seeds, frames, len(CHANNELS), generator=generator)
    samples = talker.generate(many, noise, steps, sampler, generator).numpy()
    return Heard(samples, talker.config.identities[identity], talker.config.emotions[emotion])


def batch_of_one(values: np.ndarray | None) -> torch.Tensor | None:
    """(T, D) as (1, T, D) float32."""
    return None if values is None else torch.from_numpy(values.astype(np.float32))[None]


def errors(samples: np.ndarray, truth: np.ndarray, vertices: Vertices) -> dict[str, float]:
    """Errors of samples (K, T, 52) against one recording (T, 52), averaged over the samples.

    ``fdd`` is the absolute value per sequence, in coefficients; ``fdd_vertex`` its vertex form.
    """
    seen = vertices(truth)
    each = []
    for sample in samples:
        moved = vertices(sample)
        each.append(
            {
                "mbe": metrics.mbe(sample, truth),
                "lbe": metrics.lbe(sample, truth),
                "lbe_published": metrics.lbe(sample, truth, "lip_published"),
                "fdd": metrics.fdd_abs(sample, truth),
                "lve": metrics.lve(moved, seen, vertices.lip),
                "eve": metrics.eve(moved, seen, vertices.eyes_forehead),
                "fdd_vertex": abs(
                    metrics.fdd_vertex(moved, seen, vertices.mean, vertices.upper)
                ),
            }
        )  # fmt: skip
    return {key: float(np.mean([one[key] for one in each])) for key in each[0]}


def spread(samples: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """Predicted over true spread over time, upper and lower face; lists of (T, 52)."""
    return {
        "spread_upper": metrics.spread_ratio(list(samples), list(truths), UPPER),
        "spread_lower": metrics.spread_ratio(list(samples), list(truths), LIP),
    }


def measure(heard: Sequence[Heard], clips: Sequence[Clip], vertices: Vertices) -> dict[str, float]:
    """All metrics of one model on one split."""
    rows = []
    for one, clip in zip(heard, clips, strict=True):
        rows.append(
            {
                **errors(one.samples, clip.coefficients, vertices),
                "energy_score": metrics.energy_score(one.samples, clip.coefficients),
                "diversity_upper": metrics.diversity(one.samples, "upper"),
                "diversity_lower": metrics.diversity(one.samples, "lip"),
            }
        )
    truths = [clip.coefficients for clip in clips for _ in heard[0].samples]
    identity = metrics.matching([c.identity for c in clips], [h.identity for h in heard])
    emotion = metrics.matching([c.emotion for c in clips], [h.emotion for h in heard])
    return {
        **{key: float(np.mean([row[key] for row in rows])) for key in rows[0]},
        **spread([sample for one in heard for sample in one.samples], truths),
        "clips": len(clips),
        "identity_clips": metrics.labelled([clip.identity for clip in clips]),
        "emotion_clips": metrics.labelled([clip.emotion for clip in clips]),
        "identity_precision": identity.precision,
        "identity_recall": identity.recall,
        "identity_f1": identity.f1,
        "emotion_precision": emotion.precision,
        "emotion_recall": emotion.recall,
        "emotion_f1": emotion.f1,
    }


def floors(clips: Sequence[Clip], vertices: Vertices) -> dict[str, dict[str, float]] | None:
    """What a perfect generator and a perfect regressor would score; None where it is not known.

    ``sampling``: the process drawn again against the recording. Its energy score is half the mean
    distance of two draws, by definition of the score. ``regression``: the expected face.
    """
    known = [c for c in clips if c.redraw is not None and c.expected is not None]
    if not known:
        return None
    out = {}
    for name in ("sampling", "regression"):
        faces = [c.redraw if name == "sampling" else c.expected for c in known]
        rows = [
            errors(face[None], clip.coefficients, vertices)  # type: ignore[index]
            for face, clip in zip(faces, known, strict=True)
        ]
        out[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        out[name].update(spread(faces, [c.coefficients for c in known]))  # type: ignore[arg-type]
    pairs = [np.stack([c.redraw, c.coefficients]) for c in known]  # type: ignore[list-item]
    out["sampling"].update(
        energy_score=out["sampling"]["mbe"] / 2,
        diversity_upper=float(np.mean([metrics.diversity(pair, "upper") for pair in pairs])),
        diversity_lower=float(np.mean([metrics.diversity(pair, "lip") for pair in pairs])),
    )
    out["regression"]["energy_score"] = out["regression"]["mbe"]
    return out
