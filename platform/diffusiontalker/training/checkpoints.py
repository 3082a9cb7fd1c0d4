"""Models and checkpoints: safetensors beside JSON, nothing pickled."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file, save, save_file
from torch import nn

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.model.talker import Talker, TalkerConfig

CONFIG = "talker.json"
"""The shape of a talker, beside its weights."""
AGAIN = "; train it again"
TRAINED, AVERAGE = "trained.safetensors", "average.safetensors"
OPTIMIZER, STATE = "optimizer.safetensors", "state.json"
"""Files of a training run's checkpoint."""
GENERATORS, BEST = "generators.safetensors", "best.safetensors"
"""Files of some: within an epoch, and where the best weights are chosen."""
Weights = dict[str, torch.Tensor]


def save_talker(folder: Path, talker: Talker) -> None:
    """Write ``talker.json`` and ``model.safetensors``, on disk or in S3. Raises UserError."""
    storage.make_folder(folder)
    text = json.dumps(talker.config.to_dict(), indent=1) + "\n"
    storage.write_bytes(folder / CONFIG, text.encode())
    storage.write_bytes(folder / "model.safetensors", save(talker.state_dict()))


def load_talker(folder: Path) -> Talker:
    """Read what ``save_talker`` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, does not fit the other, or is of another release.
    """
    with _reading(folder, CONFIG, "model.safetensors", mend=AGAIN):
        talker = Talker(load_config(folder))
        talker.load_state_dict(load(storage.read_bytes(folder / "model.safetensors")))
    return talker.eval()


def load_config(folder: Path) -> TalkerConfig:
    """The shape of a talker that ``save_talker`` wrote. Raises UserError as ``load_talker``."""
    with _reading(folder, CONFIG, mend=AGAIN):
        return TalkerConfig.from_dict(json.loads(storage.read_text(folder / CONFIG)))


@dataclass
class PartialEpoch:
    """The part of an epoch that is done at a checkpoint within it."""

    batch: int
    """Batches that each worker has trained on."""
    batches: int
    """Batches of a worker in the whole epoch."""
    workers: int
    seconds: float
    sums: dict[str, float]
    count: int
    """What the loss curve has added up since its last point, over so many steps."""


@dataclass
class RunState:
    """Progress of a training run, with weights and optimizer aside."""

    epoch: int = 0
    """Completed epochs."""
    step: int = 0
    skipped: int = 0
    """Steps whose gradient was not finite, so that the weights stayed as they were."""
    skipped_clips: list[str] = field(default_factory=list)
    """Clips that may be the reason."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Points of the loss curves, a few dozen per epoch, and validation after each epoch."""
    partial: PartialEpoch | None = None
    """None at the end of an epoch."""

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "RunState":
        """The inverse of ``dataclasses.asdict``. Raises TypeError."""
        partial = content.get("partial")
        return cls(**content | {"partial": PartialEpoch(**partial) if partial else None})


def save_run(
    folder: Path, state: RunState, trained: nn.Module, average: Weights,
    optimizer: torch.optim.Optimizer, generators: Weights | None = None, best: Weights | None = None
) -> None:  # fmt: skip
    """Write a resumable checkpoint into a local folder.

    Args:
        folder: to write into.
        state: the progress of the run.
        trained: the module that is optimised.
        average: its averaged weights.
        optimizer: its optimizer.
        generators: states of the random number generators, within an epoch.
        best: the averaged weights of the best epoch, where they are chosen.
    """
    save_file(_contiguous(trained.state_dict()), folder / TRAINED)
    save_file(_contiguous(average), folder / AVERAGE)
    tensors, groups = _flat(optimizer.state_dict())
    save_file(tensors, folder / OPTIMIZER)
    for name, weights in ((GENERATORS, generators), (BEST, best)):
        if weights:
            save_file(_contiguous(weights), folder / name)
    content = {"state": asdict(state), "optimizer_groups": groups}
    (folder / STATE).write_text(json.dumps(content))


def load_run(
    folder: Path, trained: nn.Module, average: Weights, optimizer: torch.optim.Optimizer
) -> RunState:
    """Restore what ``save_run`` wrote, in place.

    Raises:
        UserError: as for ``load_talker``.
    """
    with _reading(folder, TRAINED, AVERAGE, OPTIMIZER, STATE):
        trained.load_state_dict(load_file(folder / TRAINED))
        averaged = load_file(folder / AVERAGE)
        if averaged.keys() != average.keys():
            raise ValueError("the averaged weights have other names")
        for name, value in average.items():
            value.copy_(averaged[name])
        content = json.loads((folder / STATE).read_text())
        optimizer.load_state_dict(
            _nested(load_file(folder / OPTIMIZER), content["optimizer_groups"])
        )
        return RunState.from_dict(content["state"])


def load_weights(folder: Path, name: str) -> Weights:
    """The tensors of one of a checkpoint's files, such as ``GENERATORS``; none if it has no such
    file. Raises UserError if it is damaged."""
    if not (folder / name).is_file():
        return {}
    with _reading(folder):
        return load_file(folder / name)


def _flat(state: dict[str, Any]) -> tuple[Weights, list[dict[str, Any]]]:
    """An optimizer's state as tensors named ``PARAMETER.NAME``, and its groups of parameters."""
    tensors = {
        f"{parameter}.{name}": value.contiguous()
        for parameter, values in state["state"].items()
        for name, value in values.items()
    }
    return tensors, state["param_groups"]


def _nested(tensors: Weights, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The inverse of ``_flat``."""
    state: dict[int, Weights] = {}
    for key, value in tensors.items():
        parameter, _, name = key.partition(".")
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": groups}


def load_average(folder: Path, module: nn.Module) -> RunState:
    """Load a checkpoint's averaged weights into ``module``, as for inference: those of the best
    epoch, where it holds them.

    Raises:
        UserError: as for ``load_talker``.
    """
    with _reading(folder, AVERAGE, STATE):
        best = load_weights(folder, BEST)
        module.load_state_dict(best or load_file(folder / AVERAGE))
        return RunState.from_dict(json.loads((folder / STATE).read_text())["state"])


@contextmanager
def _reading(folder: Path, *names: str, mend: str = "") -> Iterator[None]:
    for name in names:
        if not storage.is_file(folder / name):
            raise UserError(f"{folder / name}: the checkpoint lacks this file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error)[:200]
        raise UserError(f"{folder}: not a checkpoint of this release ({reason}){mend}") from error


def _contiguous(weights: Weights) -> Weights:
    return {key: value.detach().contiguous() for key, value in weights.items()}
