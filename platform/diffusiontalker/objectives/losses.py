"""The training losses of v1 and v2, one pure function each.

Coefficients are (B, T, C), a ``mask`` (B, T) of bool or float is true where a frame is real, and
padding never counts: not in the sum, not in the divisor, not in the gradient, even where it is NaN.
v1 writes sums over frames and channels; we take means over real frames and channels (our choice),
so that the weights of the losses depend neither on the batch size nor on the length of the clips.
A batch without any real frame gives 0.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusiontalker.arkit import INDEX, LIP
from diffusiontalker.objectives.articulation import APERTURE, SEALED


def exp(
    x_0_hat: Tensor,
    x_0: Tensor,
    mask: Tensor,
    channels: Sequence[int] | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Expression loss: mean of (x_0_hat - x_0)^2 over real frames and channels.

    v1: L_exp = ||x_0_hat - x_0||^2. ``weights`` (C,) makes it a weighted mean over the channels
    (our choice); only their ratios matter, and with ``channels`` they are the weights of those.
    """
    error = _error(x_0_hat, x_0, mask, channels).square()
    per_frame = error.mean(-1) if weights is None else error @ (weights / weights.sum()).to(error)
    return per_frame.sum() / _count(mask)


def lip(x_0_hat: Tensor, x_0: Tensor, mask: Tensor, channels: Sequence[int] = LIP) -> Tensor:
    """Lip loss: ``exp`` over the lip channels. v1: L_lip = ||lip(x_0_hat) - lip(x_0)||^2."""
    return exp(x_0_hat, x_0, mask, channels)


def vel(
    x_0_hat: Tensor, x_0: Tensor, mask: Tensor, channels: Sequence[int] | None = None
) -> Tensor:
    """Velocity loss: mean squared error of the differences between neighbouring frames.

    v1: L_vel = sum_i ||(f^_i - f^_{i-1}) - (f_i - f_{i-1})||^2. A difference counts only if both
    of its frames are real.
    """
    error = _error(x_0_hat, x_0, mask, channels)
    both = mask[:, 1:].bool() & mask[:, :-1].bool()
    difference = (error[:, 1:] - error[:, :-1]).masked_fill(~both[..., None], 0)
    return difference.square().mean(-1).sum() / _count(both)


def movement(x_0_hat: Tensor, x_0: Tensor, mask: Tensor, variances: Tensor) -> Tensor:
    """Errors of velocity and acceleration, each in units of the channel's own.

    Mean over channels, over first and over second differences between frames, of the squared error
    divided by ``variances`` (2, C), so that a face at rest costs about 1. Velocities of brows and
    gaze are so small that v1's L_vel hardly weighs their flicker. Our choice.
    """
    error, real = _error(x_0_hat, x_0, mask, None), mask.bool()
    parts = []
    for variance in variances:
        both = real[:, 1:] & real[:, :-1]
        error = (error[:, 1:] - error[:, :-1]).masked_fill(~both[..., None], 0)
        parts.append((error.square() / variance).mean(-1).sum() / _count(both))
        real = both
    return torch.stack(parts).mean()


def aperture(face_hat: Tensor, face: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the logarithm of the lips' aperture, between coefficients (B, T, 52).

        (log (a_hat + e) - log (a + e))^2,   a = max(jawOpen - mouthClose, 0)
                                                 + (mouthLowerDownLeft + mouthUpperUpLeft) / 2

    A squared error of coefficients hardly weighs a closure of one frame, which viewers notice; in
    the logarithm, lips that stay open by e = ``SEALED`` where they should meet cost as much as a
    mouth that opens half as far. Needs no phonemes. Our choice.
    """
    ratio = _log_aperture(face_hat) - _log_aperture(face)
    return ratio.masked_fill(~mask.bool(), 0).square().sum() / _count(mask)


def _log_aperture(face: Tensor) -> Tensor:
    return (_aperture(face) + SEALED).log()


def _aperture(face: Tensor) -> Tensor:
    jaw, close, lower, upper = (face[..., INDEX[name]] for name in APERTURE)
    return F.relu(jaw - close) + F.relu(lower + upper) / 2


def blink(logit: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood of when blinks begin, a discrete-time hazard, per frame.

    ``logit`` and ``labels`` (B, T): 1 where a blink begins, 0 where none does, and below 0 within
    one, where none can; those frames do not count. A proper score (our choice).
    """
    counts = mask.bool() & (labels >= 0)
    each = F.binary_cross_entropy_with_logits(_wide(logit), labels.clamp(min=0), reduction="none")
    return each.masked_fill(~counts, 0).sum() / _count(counts)


def seal(logit: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of whether lips are closed, per frame: ``logit`` (B, T) of the probability,
    against ``target`` (B, T), 1 where they are (``closed_lips``) or another model's probability.
    Our choice."""
    each = F.binary_cross_entropy_with_logits(_wide(logit), _wide(target), reduction="none")
    return each.masked_fill(~mask.bool(), 0).sum() / _count(mask)


def closed_lips(face: Tensor) -> Tensor:
    """1 where the aperture of coefficients (B, T, 52) is below ``SEALED``, else 0: (B, T)."""
    return (_aperture(face) < SEALED).to(face)


def dis(
    x_tilde: Tensor,
    x_0_hat: Tensor,
    mask: Tensor,
    weight: Tensor,
    channels: Sequence[int] | None = None,
) -> Tensor:
    """Distillation loss: mean of weight * (x_tilde - x_0_hat)^2 over real frames and channels.

    v1: L_dis = max(alpha^2 / sigma^2, 1) ||x~ - x_hat||^2 with the target ``x_tilde`` and the
    student's ``x_0_hat``; ``weight`` (B,) is one number per clip. No gradient reaches the target.
    """
    error = _error(x_0_hat, x_tilde.detach(), mask, channels).square().mean(-1)
    return (weight[:, None] * error).sum() / _count(mask)


def ae(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Audio-feature loss: mean squared error between features (B, T, D) over real frames.

    v2: L_ae, between the audio features of student and teacher. The paper's figure names neither
    the norm nor the projection: the mean square is our choice, and a projection to a common D, if
    one is needed, belongs to the model. No gradient flows into the teacher.
    """
    return exp(student, teacher.detach(), mask)


def contrastive(
    anchors: Tensor, candidates: Tensor, positives: Tensor, temperature: float | Tensor
) -> Tensor:
    """Contrastive loss of ``anchors`` (M, D) against ``candidates`` (K, D).

        L_con = -1/M sum_i log( sum_{t in P(i)} exp(h_i.h_t / tau) / sum_j exp(h_i.h_j / tau) )

    v1: L_con, on L2-normalised embeddings (normalised here). ``positives`` (M, K) of bool marks
    P(i), the candidates that belong with anchor i. Anchors without any are left out of the mean,
    since their label is unknown (our choice); if none has one, the loss is 0. The value of
    ``temperature`` (tau > 0) is open in both papers.
    """
    known = positives.any(1, keepdim=True)
    own, others = (F.normalize(_wide(x), dim=-1) for x in (anchors, candidates))
    with torch.autocast(own.device.type, enabled=False):  # bfloat16 has too few bits
        logits = own @ others.T / temperature
    # an anchor without positives gets all of them: its term and its gradient are then exactly 0
    matching = logits.masked_fill(~positives & known, -torch.inf)
    return (logits.logsumexp(1) - matching.logsumexp(1)).sum() / known.sum().clamp(min=1)


def pc(
    personalized: Tensor,
    upper: Tensor,
    temperature: float | Tensor,
    same: Tensor | None = None,
) -> Tensor:
    """Personalizer-enhancer loss between ``personalized`` (B, D) and ``upper`` (B, D) embeddings.

    v2: L_pc, a contrastive matrix whose positives lie on the diagonal, between each clip's
    personalized embedding and the upper face of its prediction. Symmetric over rows and columns as
    in CLIP (Radford et al. 2021). ``same`` (B, B) of bool marks other pairs of one identity and
    emotion, which then count as positives as well (our choice: they are no negatives).
    """
    positives = torch.eye(len(personalized), dtype=torch.bool, device=personalized.device)
    if same is not None:
        positives = positives | same
    rows = contrastive(personalized, upper, positives, temperature)
    columns = contrastive(upper, personalized, positives.T, temperature)
    return (rows + columns) / 2


def energy(
    samples: Tensor,
    x_0: Tensor,
    mask: Tensor,
    chunk: int,
    channels: Sequence[int] | None = None,
) -> Tensor:
    """Energy score of ``samples`` (K, B, T, C), K >= 2, against ``x_0`` (B, T, C), as a loss.

        mean_k ||X_k - y|| - 1/2 mean_{j != k} ||X_j - X_k||

    Gneiting & Raftery 2007, equation 22. Strictly proper: its expectation is least when the samples
    have the distribution of the data, so a blur loses (our choice; neither paper has it). The norm
    runs over ``chunk`` frames and the channels together, so that movement over time counts, and is
    divided by sqrt(chunk); only chunks of real frames count. The tail that fills no chunk is left
    out.
    """
    if len(samples) < 2:
        raise ValueError("the energy score needs at least two samples")
    chunks = x_0.shape[1] // chunk
    frames = chunks * chunk
    whole = mask[:, :frames].bool().unflatten(1, (chunks, chunk)).all(-1)  # (B, chunks)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        gap = _error(a, b, mask, channels)[:, :frames]
        square = gap.unflatten(1, (chunks, chunk)).square().sum((-1, -2))
        norm = (square / chunk + 1e-8).sqrt()  # the root of 0 has no gradient
        return (norm * whole).sum() / _count(whole)

    count = len(samples)
    truth = torch.stack([distance(sample, x_0) for sample in samples]).mean()
    pairs = [distance(samples[j], samples[k]) for j in range(count) for k in range(j)]
    return truth - 0.5 * torch.stack(pairs).mean()


def _error(a: Tensor, b: Tensor, mask: Tensor, channels: Sequence[int] | None) -> Tensor:
    """a - b on the chosen channels, exactly 0 on padding in value and in gradient."""
    if a.shape != b.shape or a.shape[:2] != mask.shape:
        raise ValueError(
            f"expected two (B, T, C) of one shape and a mask (B, T), "
            f"not {tuple(a.shape)}, {tuple(b.shape)} and {tuple(mask.shape)}"
        )
    error = _wide(a) - _wide(b)
    if channels is not None:
        error = error[..., list(channels)]
    # masked before any square: 0 * NaN would bring the padding back
    return error.masked_fill(~mask.bool()[..., None], 0)


def _wide(values: Tensor) -> Tensor:
    """In single precision, where autocast made them of half."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _count(mask: Tensor) -> Tensor:
    return mask.bool().sum().clamp(min=1)
