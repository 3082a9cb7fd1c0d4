"""Admission control: a full replica refuses instead of queueing without bound, and no caller takes
all of its capacity."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.http.problems import Problem

FAIR_SHARE = 3
"""A caller may hold at most this many times what is left free: three quarters if it is alone, three
of seven parts beside another such, and so on. So there is always room for the next caller."""


class Capacity:
    """Counts what is in use of a bounded resource (requests, streams, bytes), in all and by caller.

    A caller is named by ``Caller.id``.
    """

    def __init__(
        self, resource: str, limit: int, limit_per_caller: int | None = None,
        on_change: Callable[[int], None] = lambda used: None,
    ) -> None:  # fmt: skip
        """``resource`` names it in errors; ``on_change`` is called with the amount in use."""
        self.resource, self.limit, self.limit_per_caller = resource, limit, limit_per_caller
        self._on_change = on_change
        self._used: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How much is in use, by all callers."""
        return self._used.total()

    def check(self, caller: str, amount: int = 1) -> None:
        """Raises Problem: 429, ``amount`` more is too much for this caller."""
        held, free = self._used[caller], self.limit - self.used
        if amount > free:
            raise Problem(
                429, f"this replica is full ({self.limit} {self.resource} at once); try again soon",
                retry_after=1,
            )  # fmt: skip
        if self.limit_per_caller is not None and held + amount > self.limit_per_caller:
            raise Problem(
                429, f"{self.limit_per_caller} {self.resource} of this key are open; close one",
                retry_after=5,
            )  # fmt: skip
        if held and held + amount > FAIR_SHARE * (free - amount):
            raise Problem(
                429, f"{held} of {self.limit} {self.resource} at once are of this key, and the "
                "rest is kept for others; wait for one of yours", retry_after=1,
            )  # fmt: skip

    @contextmanager
    def acquire(self, caller: str) -> Iterator[None]:
        """Use one inside the context. Raises Problem as ``check``."""
        with self.reserve(caller) as take:
            take(1)
            yield

    @contextmanager
    def reserve(self, caller: str) -> Iterator[Callable[[int], None]]:
        """A function that takes more, and raises Problem as ``check``; all that was taken is given
        back at the end of the context."""
        taken = 0

        def take(amount: int) -> None:
            nonlocal taken
            self.check(caller, amount)
            taken += amount
            self._add(caller, amount)

        try:
            yield take
        finally:
            self._add(caller, -taken)

    def _add(self, caller: str, amount: int) -> None:
        self._used[caller] += amount
        if not self._used[caller]:
            del self._used[caller]
        if amount:
            self._on_change(self.used)
