"""What training workers exchange: each has a part of a batch, and some losses need all of it."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

T = TypeVar("T")


def several() -> bool:
    """Whether this process is one of several workers."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def count() -> int:
    """The number of workers."""
    return dist.get_world_size() if several() else 1


def total(values: Tensor) -> Tensor:
    """The sum of ``values`` over all workers; without gradient."""
    if not several():
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def gather(rows: Tensor) -> Tensor:
    """The rows (B_w, ...) of all workers, (B, ...), in the order of their ranks, with gradient.

    Every worker may compute the same loss of the result: the gradients of all are added up and DDP
    takes their mean, which is the gradient of that loss.
    """
    if not several():
        return rows
    counts = torch.zeros(dist.get_world_size(), dtype=torch.long, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    dist.all_reduce(counts)
    most = int(counts.max())
    padding = [0, 0] * (rows.dim() - 1) + [0, most - len(rows)]
    everything = _Gather.apply(F.pad(rows, padding))
    kept = torch.arange(most, device=rows.device) < counts[:, None]
    return everything[kept]


def gather_names(names: list[str]) -> list[str]:
    """The names of all workers, in the order of their ranks."""
    return [name for own in gather_objects(names) for name in own]


def gather_objects(value: T) -> list[T]:
    """The values of all workers, in the order of their ranks."""
    if not several():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def any_worker(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is set on some worker: the same on all."""
    return flag if not several() else bool(total(torch.tensor(float(flag), device=device)))


class _Gather(torch.autograd.Function):
    """(B, ...) of equal size on every worker to (W, B, ...)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])[dist.get_rank()]
