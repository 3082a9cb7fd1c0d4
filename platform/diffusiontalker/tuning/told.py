"""From a thread that trains to Ray Tune, which asks for one epoch at a time."""

import queue
import threading
from typing import Any

from ray.util.queue import Queue

Figures = dict[str, Any]


class Told:
    """What a training in the same process says, and waits for.

    It waits after every epoch until it is asked for the next: a trial that Tune ends then has
    nothing under way.
    """

    def __init__(self) -> None:
        self._said: Any = queue.Queue()
        self._go = threading.Semaphore(0)
        self._asked = self._stopped = False

    def epoch(self, figures: Figures) -> None:
        """Say what an epoch brought. Ends the thread if the trial was ended meanwhile."""
        self._said.put((figures, None))
        self._go.acquire()
        if self._stopped:
            raise SystemExit

    def end(self, figures: Figures) -> None:
        """Say that there are no more epochs."""
        self._said.put(({**figures, "done": True}, None))

    def fail(self, error: BaseException) -> None:
        """Say that training broke off."""
        self._said.put(({}, error))

    def next(self) -> Figures:
        """Wait for the next epoch, or the end, which has ``done``: first let the training go on
        from the last. Raises what broke it off."""
        if self._asked:
            self._go.release()
        self._asked = True
        figures, error = self._said.get()
        if error is not None:
            raise error
        found: Figures = figures
        return found

    def stop(self) -> None:
        """End the training at the end of its epoch."""
        self._stopped = True
        self._go.release()


class ToldByWorkers(Told):
    """The same from Ray Train's controller, which does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self._said = Queue(actor_options={"num_cpus": 0})

    def epoch(self, figures: Figures) -> None:
        """Say what an epoch brought."""
        self._said.put((figures, None))

    def __getstate__(self) -> dict[str, Any]:
        return {"_said": self._said}
