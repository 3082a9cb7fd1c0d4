"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a module's weights; the decay rises to its final value."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.weights = {key: value.detach().clone() for key, value in module.state_dict().items()}
        """Parameters and buffers by name; integer buffers stay as they were at the start."""
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights of ``module``."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        current = module.state_dict()
        floating = [key for key, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[key] for key in floating], [current[key] for key in floating], 1 - decay
        )

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Give ``module`` the averaged weights within the context."""
        own = {key: value.detach().clone() for key, value in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)
