"""The epoch that is read, in an actor that all processes of a stage ask.

A module of its own: the actor's process imports it, and nothing else that takes time to load.
"""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from diffusiontalker.training.reading_position import ReadingPosition


class Epoch:
    """The current epoch, for reading tasks on any node.

    Ray Train executes the same dataset in every epoch, and from the start when a run is resumed:
    the tasks cannot count epochs themselves.
    """

    def __init__(self) -> None:
        self._actor = on_this_node(_EpochActor)

    def set(self, number: int, unread: int = 0) -> None:
        """Called by every worker before it reads the epoch; see ``ReadingPosition``."""
        ray.get(self._actor.set.remote(number, unread))

    def __call__(self) -> ReadingPosition:
        """What was set last; the beginning of epoch 0 before."""
        return ReadingPosition(*ray.get(self._actor.get.remote()))


def on_this_node(kind: type) -> Any:
    """An actor of a class, on the driver's node, without which the run ends anyway; it reserves no
    CPU."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(kind)
    return actor.options(num_cpus=0, scheduling_strategy=here).remote()


class _EpochActor:
    def __init__(self) -> None:
        self.number, self.unread = 0, 0

    def set(self, number: int, unread: int) -> None:
        self.number, self.unread = number, unread

    def get(self) -> tuple[int, int]:
        return self.number, self.unread
