"""States of the random number generators that a training worker draws from."""

import torch

from diffusiontalker.training import workers
from diffusiontalker.training.checkpoints import Weights

OWN, GLOBAL, CUDA = "own", "global", "cuda"


def seeded(
    seed: int, epoch: int, done: int, rank: int, device: torch.device
) -> torch.Generator:  # fmt: skip
    """A generator for the batches of an epoch after the first ``done``; torch's global ones are
    seeded, too."""
    own = seed * 1_000_003 + epoch * 1009 + rank + 500_009 * done
    torch.manual_seed(own + 500)
    return torch.Generator(device=device).manual_seed(own)


def of_all_workers(generator: torch.Generator) -> Weights:
    """The states by ``RANK.NAME``, on every worker: its own generator, and torch's global ones,
    from which dropout draws."""
    own = {OWN: generator.get_state(), GLOBAL: torch.get_rng_state()}
    if generator.device.type == "cuda":
        own[CUDA] = torch.cuda.get_rng_state(generator.device)
    return {
        f"{rank}.{name}": state
        for rank, states in enumerate(workers.gather_objects(own))
        for name, state in states.items()
    }


def restore(states: Weights, rank: int, generator: torch.Generator) -> None:
    """Continue where ``of_all_workers`` was called, on the same kind of device; on another, whose
    generators have other states, nothing is changed."""
    if (f"{rank}.{CUDA}" in states) != (generator.device.type == "cuda"):
        return
    generator.set_state(states[f"{rank}.{OWN}"])
    torch.set_rng_state(states[f"{rank}.{GLOBAL}"])
    if generator.device.type == "cuda":
        torch.cuda.set_rng_state(states[f"{rank}.{CUDA}"], generator.device)
