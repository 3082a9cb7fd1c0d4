"""How much a replica takes in at once: a full one says so instead of queueing without end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.problems import Problem


class Gate:
    """Counts who is inside, in all and by key."""

    def __init__(
        self, what: str, most: int, most_per_key: int | None = None,
        tell: Callable[[int], None] = lambda inside: None,
    ) -> None:  # fmt: skip
        """``tell`` is told how many are inside whenever that changes."""
        self.what, self.most, self.most_per_key, self._tell = what, most, most_per_key, tell
        self._inside: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """How many are inside."""
        return self._inside.total()

    @contextmanager
    def enter(self, key: str) -> Iterator[None]:
        """Be inside for a while. Raises Problem: it is full."""
        if self.inside >= self.most:
            raise Problem(
                429, f"this replica has {self.most} {self.what} at once; try again shortly",
                retry_after=1,
            )  # fmt: skip
        if self.most_per_key is not None and self._inside[key] >= self.most_per_key:
            raise Problem(
                429, f"{self.most_per_key} {self.what} of this key are open; close one",
                retry_after=5,
            )  # fmt: skip
        self._inside[key] += 1
        self._tell(self.inside)
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]
            self._tell(self.inside)
