"""How much a replica takes in at once: a full one says so instead of queueing without end, and no
caller takes all of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.problems import Problem

SHARE = 3
"""What a key may hold, in multiples of what is left free: three quarters if it is alone, three of
seven parts beside another such, and so on. So a place is left for whoever comes next."""


class Gate:
    """Counts who is inside, in all and by key; or what they hold, such as bytes."""

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

    def check(self, key: str, amount: int = 1) -> None:
        """Raises Problem: there is no room for so much more of this key."""
        held, free = self._inside[key], self.most - self.inside
        if amount > free:
            raise Problem(
                429, f"this replica has {self.most} {self.what} at once; try again shortly",
                retry_after=1,
            )  # fmt: skip
        if self.most_per_key is not None and held + amount > self.most_per_key:
            raise Problem(
                429, f"{self.most_per_key} {self.what} of this key are open; close one",
                retry_after=5,
            )  # fmt: skip
        if held and held + amount > SHARE * (free - amount):
            raise Problem(
                429, f"{held} of {self.most} {self.what} at once are of this key, and the rest is "
                "kept for others; wait for one of yours", retry_after=1,
            )  # fmt: skip

    @contextmanager
    def enter(self, key: str) -> Iterator[None]:
        """Be inside for a while. Raises Problem as ``check``."""
        with self.keep(key) as take:
            take(1)
            yield

    @contextmanager
    def keep(self, key: str) -> Iterator[Callable[[int], None]]:
        """Take more and more, which raises Problem as ``check``; all of it is given back at the
        end."""
        taken = 0

        def take(amount: int) -> None:
            nonlocal taken
            self.check(key, amount)
            taken += amount
            self._add(key, amount)

        try:
            yield take
        finally:
            self._add(key, -taken)

    def _add(self, key: str, amount: int) -> None:
        self._inside[key] += amount
        if not self._inside[key]:
            del self._inside[key]
        if amount:
            self._tell(self.inside)
