"""The metrics of the papers, and those that a blurred face cannot win.

Inputs are numpy arrays of one sequence: coefficients (T, 52) at 30 fps or vertices (T, V, 3) in
metres, prediction ``p`` before truth ``g``. Means over sequences are the caller's. A ``region`` is
a name of ``arkit.region`` or a list of channel indices; ``all`` takes every channel there is. A
vertex mask is an array of indices or of V booleans. Computed in float64.

Every function raises UserError for sequences that do not match, are empty, or name no known region.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusiontalker import arkit
from diffusiontalker.errors import UserError

Array = NDArray[Any]
Region = str | Sequence[int]
UNKNOWN = (None, "unknown")
"""Labels that say nothing; ``matching`` leaves out clips whose truth is one of these."""
ENOUGH = 20
"""Clips below which a mean over them says too little to call a goal met or missed: our choice."""


def mbe(p: Array, g: Array) -> float:
    """Mean blendshape error: mean over frames of ||p_t - g_t||_2 over all channels (v1: MBE)."""
    return lbe(p, g, "all")


def lbe(p: Array, g: Array, region: Region = "lip") -> float:
    """Lip blendshape error: mean over frames of ||p_t - g_t||_2 over lip channels (v1: LBE)."""
    p, g = _paired(p, g, 2)
    return float(np.linalg.norm(select_channels(p - g, region), axis=-1).mean())


def fdd(p: Array, g: Array, region: Region = "upper") -> float:
    """Upper-face dynamics deviation on coefficients, signed (v1: FDD).

    std_t(sum_c g_t,c^2) - std_t(sum_c p_t,c^2): positive where the prediction moves too little.
    """
    p, g = (select_channels(x, region) for x in _paired(p, g, 2))
    return float((g**2).sum(-1).std() - (p**2).sum(-1).std())


def fdd_abs(p: Array, g: Array, region: Region = "upper") -> float:
    """|FDD| of one sequence (v1: abs FDD; the absolute value is taken before the mean)."""
    return abs(fdd(p, g, region))


def lve(vertices_p: Array, vertices_g: Array, lip_mask: Array) -> float:
    """Lip vertex error, m^2: mean over frames of the largest squared L2 distance of a lip vertex.

    v2: LVE, after MeshTalk; as in the published code no root is taken.
    """
    p, g = _paired(vertices_p, vertices_g, 3)
    motion = _vertices(p - g, lip_mask)
    return float((motion**2).sum(-1).max(-1).mean())


def eve(vertices_p: Array, vertices_g: Array, eye_mask: Array) -> float:
    """Eye vertex error, m^2: as ``lve``, over eye and forehead vertices (v2: EVE)."""
    return lve(vertices_p, vertices_g, eye_mask)


def fdd_vertex(vertices_p: Array, vertices_g: Array, template: Array, upper_mask: Array) -> float:
    """Upper-face dynamics deviation on vertices, m^2, signed (v2: FDD, after CodeTalker).

    mean_v( std_t ||g_v,t - template_v||^2 - std_t ||p_v,t - template_v||^2 ) over upper vertices,
    with ``template`` (V, 3) the face at rest. The published code squares the norm, which the
    papers' 1e-7 scale reflects.
    """
    p, g = _paired(vertices_p, vertices_g, 3)
    rest = np.asarray(template, dtype=np.float64)
    if rest.shape != p.shape[1:]:
        raise UserError(f"template has shape {rest.shape}, the vertices need {p.shape[1:]}")
    dynamics = [(_vertices(x - rest, upper_mask) ** 2).sum(-1).std(0).mean() for x in (p, g)]
    return float(dynamics[1] - dynamics[0])


def energy_score(samples: Array, g: Array, region: Region = "all") -> float:
    """Energy score of K >= 2 ``samples`` (K, T, C) for one truth ``g`` (T, C); lower is better.

    mean_k ||X_k - y|| - 1/2 mean_{j != k} ||X_j - X_k||, where ||.|| is the L2 norm of a frame,
    averaged over frames. A proper score of each frame's distribution (Gneiting & Raftery 2007):
    in expectation only the true one is best, so a blurred face cannot win. It does not see
    movement from frame to frame. Unbiased over pairs.
    """
    x = _samples(samples)
    errors = [lbe(seed, g, region) for seed in x]
    return float(np.mean(errors)) - diversity(x, region) / 2


def diversity(samples: Array, region: Region = "all") -> float:
    """Mean distance between the seeds of ``samples`` (K, T, C), K >= 2, for one audio.

    The mean over pairs of seeds and over frames of the L2 norm over the region's channels (our
    choice; the papers show diversity in figures only).
    """
    x = _samples(samples)
    return float(np.mean([lbe(a, b, region) for a, b in combinations(x, 2)]))


def spread_ratio(p: Array | Sequence[Array], g: Array | Sequence[Array], channels: Region) -> float:
    """Predicted over true spread in time: 1 is right, below 1 the face moves too little.

    sqrt(sum_c var_t p_c) / sqrt(sum_c var_t g_c) (our choice). ``p`` and ``g`` are one sequence
    (T, C) or lists of them; lists pool, that is the variances of all sequences are summed before
    the ratio, so that a quiet clip does not blow it up. NaN where the truth never moves.
    """
    p, g = ([x] if isinstance(x, np.ndarray) else x for x in (p, g))
    if len(p) != len(g) or not p:
        raise UserError(f"spread_ratio: {len(p)} predictions for {len(g)} truths; pair them up")
    return float(np.sqrt(pooled_ratio(p, g, channels, lambda x: x.var(0).sum())))


def pooled_ratio(
    p: Sequence[Array], g: Sequence[Array], region: Region, amount: Callable[[Array], float]
) -> float:
    """``amount`` of a region's channels, summed over sequences (T, C), predicted over true; NaN
    where the true sum is 0."""
    pairs = [_paired(a, b, 2) for a, b in zip(p, g, strict=True)]
    predicted, true = (
        sum(float(amount(select_channels(pair[side], region))) for pair in pairs) for side in (0, 1)
    )
    return predicted / true if true > 0 else float("nan")


class Matching(NamedTuple):
    """Macro-averaged precision, recall and F1, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def matching(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> Matching:
    """How well chosen identities or emotions match the true labels (v1: matching performance).

    Macro averages over the labels present in the truth; a label that is never predicted has
    precision 0. Clips whose truth is None or "unknown" are left out. NaN if no label is known.
    """
    if len(truth) != len(predicted):
        raise UserError(f"matching: {len(predicted)} predicted labels for {len(truth)} true ones")
    pairs = [(t, q) for t, q in zip(truth, predicted, strict=True) if _known(t)]
    if not pairs:
        return Matching(float("nan"), float("nan"), float("nan"))
    from sklearn.metrics import precision_recall_fscore_support  # takes a second to import

    true, chosen = ([str(label) for label in side] for side in zip(*pairs, strict=True))
    found = precision_recall_fscore_support(
        true, chosen, labels=sorted(set(true)), average="macro", zero_division=0.0
    )
    return Matching(*map(float, found[:3]))


def labelled(truth: Sequence[Hashable]) -> int:
    """How many of the true labels are known: the clips that ``matching`` counts."""
    return sum(map(_known, truth))


def _known(label: Hashable) -> bool:
    return label not in UNKNOWN


def _paired(p: Array, g: Array, ndim: int) -> tuple[Array, Array]:
    """Prediction and truth of ``ndim`` axes as float64. Raises UserError unless they match."""
    p, g = np.asarray(p, dtype=np.float64), np.asarray(g, dtype=np.float64)
    if p.ndim != ndim or g.ndim != ndim:
        axes = "(frames, channels)" if ndim == 2 else "(frames, vertices, 3)"
        raise UserError(f"expected arrays {axes}, not shapes {p.shape} and {g.shape}")
    if len(p) != len(g):
        raise UserError(
            f"the prediction has {len(p)} frames, the truth {len(g)}; bring both to one length"
        )
    if p.shape != g.shape:
        raise UserError(f"the prediction has shape {p.shape}, the truth {g.shape}; they must match")
    if not len(p):
        raise UserError("a sequence without frames cannot be measured; leave it out")
    return p, g


def _samples(samples: Array) -> Array:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 3 or len(x) < 2:
        raise UserError(f"expected at least 2 samples (K, frames, channels), not shape {x.shape}")
    return x


def select_channels(x: Array, region: Region) -> Array:
    """The channels of a region of (..., C). Raises UserError: no such region or index."""
    if isinstance(region, str):
        if region == "all":
            return x
        try:
            region = arkit.region(region)
        except KeyError:
            raise UserError(
                f"region {region!r} is unknown; choose lip, upper, lip_published, "
                "upper_published or all"
            ) from None
    if not len(region) or min(region) < 0 or max(region) >= x.shape[-1]:
        raise UserError(
            f"a region needs channel indices from 0 to {x.shape[-1] - 1}, not {list(region)}"
        )
    return x[..., list(region)]


def _vertices(x: Array, mask: Array) -> Array:
    mask = np.asarray(mask)
    if mask.dtype == bool and mask.shape != x.shape[1:2]:
        raise UserError(f"a mask of {mask.size} booleans does not fit {x.shape[1]} vertices")
    chosen = np.flatnonzero(mask) if mask.dtype == bool else mask
    if not chosen.size:
        raise UserError("the vertex mask is empty; name at least one vertex")
    if chosen.min() < 0 or chosen.max() >= x.shape[1]:
        raise UserError(f"the vertex mask names vertices outside 0 to {x.shape[1] - 1}")
    return x[:, chosen]
