"""All metrics of one model on one split: pure functions of sampled and recorded faces."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffusiontalker.animation.rig import Rig
from diffusiontalker.arkit import CHANNELS, LIP, UPPER
from diffusiontalker.corpus.shards import Clip, phones_of
from diffusiontalker.model.talker import Talker
from diffusiontalker.objectives import metrics, movement, spectrum
from diffusiontalker.objectives.behaviour import behaviour
from diffusiontalker.objectives.lag import lip_lag
from diffusiontalker.runtime.blinks import Blinks
from diffusiontalker.summary.run import ClipRow, Errors, Floors, Spectrum, SplitMetrics

REGIONS = {"upper": UPPER, "lower": LIP}
"""Channels of upper and lower face, by their names in ``summary.run.Errors``."""


class Vertices:
    """The vertices of a rig that metrics are computed on: lips and upper face."""

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
class ClipSamples:
    """Faces that a model sampled for one clip, and whose they are by the nearest library entry."""

    samples: np.ndarray
    """(seeds, T, 52)."""
    identity: str
    emotion: str


def embed_and_sample(
    talker: Talker, clip: Clip, steps: int, sampler: str, seeds: int, seed: int
) -> ClipSamples:
    """Sample a clip as a user would: identity and emotion are recognised from the voice."""
    log_mel = batch_of_one(clip.log_mel)
    assert log_mel is not None
    inputs = talker.inputs(batch_of_one(clip.features), log_mel)
    return sample(talker, inputs, len(clip.coefficients), steps, sampler, seeds, seed)


@torch.inference_mode()
def sample(
    talker: Talker,
    inputs: torch.Tensor,
    frames: int,
    steps: int,
    sampler: str,
    seeds: int,
    seed: int,
    emotion: int | None = None,
) -> ClipSamples:
    """``seeds`` samples of ``steps`` steps for ``inputs`` (``Talker.inputs``, batch 1), with the
    library entries nearest to the voice; ``seed`` is that of noise and sampler, ``emotion`` as in
    ``Talker.recognise``."""
    one, identity, used = talker.recognise(inputs, torch.ones(1, frames, 1), emotion)
    many = one.expand(seeds)
    generator = torch.Generator().manual_seed(seed)
    noise = talker.noise((seeds, frames, len(CHANNELS)), generator)
    faces = talker.generate(many, noise, steps, sampler, generator).numpy()
    samples = with_blinks(talker, faces, one.blink[0], generator)
    return ClipSamples(samples, talker.config.identities[identity], talker.config.emotions[used])


def with_blinks(
    talker: Talker, faces: np.ndarray, logit: torch.Tensor, generator: torch.Generator
) -> np.ndarray:
    """Samples (K, T, 52) with blinks, which begin with the probability of ``logit`` (T,)."""
    parameters = talker.blinks
    probability = logit.sigmoid().numpy()
    seeds = torch.randint(1 << 62, (len(faces),), generator=generator).tolist()
    each = zip(faces, seeds, strict=True)
    return np.stack([Blinks(seed, parameters)(face, probability) for face, seed in each])


def batch_of_one(values: np.ndarray | None) -> torch.Tensor | None:
    """(T, D) as (1, T, D) float32."""
    return None if values is None else torch.from_numpy(values.astype(np.float32))[None]


def errors(samples: np.ndarray, truth: np.ndarray, vertices: Vertices) -> dict[str, float]:
    """Errors of samples (K, T, 52) against one recording (T, 52), averaged over the samples.

    ``fdd`` is the absolute value per sequence, in coefficients; ``fdd_vertex`` its vertex form.
    ``*_of_mean`` are those of the mean of the samples: of K, whose noise has 1/K of the variance.
    """
    true = vertices(truth)
    each = []
    for face in samples:
        predicted = vertices(face)
        signed = {
            "fdd_signed": metrics.fdd(face, truth),
            "fdd_published_signed": metrics.fdd(face, truth, "upper_published"),
            "fdd_vertex_signed": metrics.fdd_vertex(predicted, true, vertices.mean, vertices.upper),
        }
        each.append(
            {
                "mbe": metrics.mbe(face, truth),
                "lbe": metrics.lbe(face, truth),
                "lbe_published": metrics.lbe(face, truth, "lip_published"),
                "lve": metrics.lve(predicted, true, vertices.lip),
                "eve": metrics.eve(predicted, true, vertices.eyes_forehead),
                **signed,
                **{key.removesuffix("_signed"): abs(value) for key, value in signed.items()},
            }
        )
    mean = samples.mean(0)
    of_mean = {"mbe_of_mean": metrics.mbe(mean, truth), "lbe_of_mean": metrics.lbe(mean, truth)}
    return {**_means(each), **of_mean}


def motion(faces: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """Movement against the recordings', whose faces are beside them; lists of (T, 52).

    Spread, speed, acceleration and spectrum of upper and lower face, shape of blinks, lag of lips.
    """
    found = {
        "blinks_shape": movement.blink_shape_error(faces, truths),
        "lip_lag_ms": lip_lag(faces, truths),
    }
    for name, region in REGIONS.items():
        powers = [spectrum.power_spectrum(each, region) for each in (faces, truths)]
        found |= {
            f"spread_{name}": metrics.spread_ratio(list(faces), list(truths), region),
            f"speed_{name}": movement.speed_ratio(faces, truths, region),
            f"acceleration_{name}": movement.acceleration_ratio(faces, truths, region),
            f"spectrum_{name}": spectrum.spectrum_distance(*powers),
        }
    return found


def spectrum_of(faces: Sequence[np.ndarray]) -> Spectrum | None:
    """The spectrum of faces (T, 52); None where all are shorter than a segment."""
    upper, lower = (spectrum.power_spectrum(faces, region) for region in REGIONS.values())
    if upper is None or lower is None:
        return None
    hz = spectrum.FREQUENCIES
    return Spectrum(hz=tuple(hz.tolist()), upper=tuple(upper.tolist()), lower=tuple(lower.tolist()))


def clip_errors(one: ClipSamples, clip: Clip, vertices: Vertices) -> dict[str, float]:
    """Errors, energy score and diversity of the samples of one clip."""
    return {
        **errors(one.samples, clip.coefficients, vertices),
        "energy_score": metrics.energy_score(one.samples, clip.coefficients),
        "diversity_upper": metrics.diversity(one.samples, "upper"),
        "diversity_lower": metrics.diversity(one.samples, "lip"),
    }


def clip_row(about: Mapping[str, Any], clip: Clip, found: Mapping[str, float]) -> ClipRow:
    """The ``clip_errors`` of a clip; ``about`` names the model, its steps and the split."""
    return ClipRow(
        **about, clip=clip.id, identity=clip.identity, emotion=clip.emotion,
        frames=len(clip.coefficients), errors=dict(found),
    )  # fmt: skip


def measure(
    sampled: Sequence[ClipSamples], clips: Sequence[Clip], vertices: Vertices,
    rows: Sequence[dict[str, float]] | None = None,
) -> SplitMetrics:  # fmt: skip
    """All metrics of one model on one split, from the samples of each of its clips; ``rows`` are
    their ``clip_errors``, if known."""
    if rows is None:
        pairs = zip(sampled, clips, strict=True)
        rows = [clip_errors(one, clip, vertices) for one, clip in pairs]
    faces = [face for one in sampled for face in one.samples]
    owners = [clip for clip in clips for _ in sampled[0].samples]
    identities, emotions = [c.identity for c in clips], [c.emotion for c in clips]
    identity = metrics.matching(identities, [one.identity for one in sampled])
    emotion = metrics.matching(emotions, [one.emotion for one in sampled])
    return SplitMetrics(
        **_means(rows),
        lve_frames=by_frames([row["lve"] for row in rows], clips),
        **motion(faces, [clip.coefficients for clip in owners]),
        **behaviour(faces, [phones_of(clip) for clip in owners]),
        spectrum=spectrum_of(faces),
        clips=len(clips),
        identity_clips=metrics.labelled(identities),
        emotion_clips=metrics.labelled(emotions),
        identity_precision=identity.precision,
        identity_recall=identity.recall,
        identity_f1=identity.f1,
        emotion_precision=emotion.precision,
        emotion_recall=emotion.recall,
        emotion_f1=emotion.f1,
    )


def without_strangers(
    metrics: SplitMetrics, clips: Sequence[Clip], identities: Collection[str]
) -> SplitMetrics:
    """The metrics, without scores of the identity where no speaker of the clips is in the library
    of ``identities``: no prediction could be right."""
    if any(clip.identity in identities for clip in clips):
        return metrics
    unknown = dict.fromkeys(("identity_precision", "identity_recall", "identity_f1"), None)
    return metrics.model_copy(update=unknown)


def by_frames(values: Sequence[float], clips: Sequence[Clip]) -> float:
    """The mean of a clip's error over all frames of all clips, instead of over clips."""
    return float(np.average(values, weights=[len(clip.coefficients) for clip in clips]))


def without_unused(metrics: SplitMetrics, labels: Collection[str]) -> SplitMetrics:
    """The metrics, without scores of ``labels``, identity or emotion, which the model does not
    detect."""
    unknown = {f"{x}_{score}": None for x in labels for score in ("precision", "recall", "f1")}
    return metrics.model_copy(update=unknown)


def floors(clips: Sequence[Clip], vertices: Vertices) -> Floors:
    """What the recordings themselves, a perfect generator and a perfect regressor would score; the
    latter two are None where the process behind the recordings is not known.

    ``sampling``: the process drawn again against the recording. Its energy score is half the mean
    distance of two draws, by definition of the score; the error of a mean of several samples is not
    known from one draw. ``regression``: the expected face.
    """
    faces = [clip.coefficients for clip in clips]
    recording = Errors(**behaviour(faces, [phones_of(clip) for clip in clips]))
    powers = spectrum_of(faces)
    known = [c for c in clips if c.redraw is not None and c.expected is not None]
    if not known:
        return Floors(recording=recording, spectrum=powers)

    def against(faces: Sequence[np.ndarray]) -> dict[str, float]:
        pairs = zip(faces, known, strict=True)
        rows = [errors(face[None], clip.coefficients, vertices) for face, clip in pairs]
        truths = [clip.coefficients for clip in known]
        phones = [phones_of(clip) for clip in known]
        lve = by_frames([row["lve"] for row in rows], known)
        return {
            **_means(rows), "lve_frames": lve, **motion(faces, truths), **behaviour(faces, phones),
        }  # fmt: skip

    redraws = [clip.redraw for clip in known if clip.redraw is not None]
    drawn = against(redraws)
    expected = against([clip.expected for clip in known if clip.expected is not None])
    pairs = [np.stack([face, c.coefficients]) for face, c in zip(redraws, known, strict=True)]
    return Floors(
        recording=recording,
        spectrum=powers,
        sampling=Errors(
            **{key: value for key, value in drawn.items() if not key.endswith("_of_mean")},
            energy_score=drawn["mbe"] / 2,
            diversity_upper=float(np.mean([metrics.diversity(pair, "upper") for pair in pairs])),
            diversity_lower=float(np.mean([metrics.diversity(pair, "lip") for pair in pairs])),
        ),
        regression=Errors(**expected, energy_score=expected["mbe"]),
    )


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
