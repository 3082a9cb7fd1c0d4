"""Where in the training data an epoch begins to be read.

A module of its own: actors and tasks import it, and nothing else that takes time to load.
"""

from typing import NamedTuple


class ReadingPosition(NamedTuple):
    """An epoch, and how much of its beginning no worker needs."""

    epoch: int
    unread: int = 0
    """Batches of all workers at its beginning that a resumed run has trained on: they need not be
    read from their shards."""
