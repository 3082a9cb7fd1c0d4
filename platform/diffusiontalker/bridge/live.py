"""From chunks of speech to frames, each at its time: one thread listens, another sends."""

import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import numpy as np

from diffusiontalker.animation import timing
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.bridge.speech import Heard
from diffusiontalker.bridge.targets import Outlet
from diffusiontalker.errors import UserError, needs_extra
from diffusiontalker.runtime.student import Student

AHEAD = 600
"""Frames that may wait for their time."""
REST_AFTER = 1.0
"""Seconds without a frame after which the face rests: a pause must not leave a mouth open."""
PATIENCE = 1.0
"""Seconds for the thread that listens to end, unless it waits for standard input."""

Talker = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
"""Chunks of samples to faces (T, 52) at 30 frames per second, as they are spoken."""


def local(folder: str, rate: int, **options: Any) -> Talker:
    """A student in this process; the options are those of ``runtime.stream.Stream``.

    Raises:
        UserError: no artifact, or an option that it refuses.
    """
    stream = Student(folder).stream(rate, **options)

    def faces(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for chunk in chunks:
            yield stream.push(chunk)
        yield stream.close()

    return faces


def remote(server: str, rate: int, **options: Any) -> Talker:
    """A server's student; the options are those of ``Client.stream``.

    Raises:
        UserError: the extra ``client`` is missing, no address, or an unknown option.
    """
    try:
        from diffusiontalker.client import Client
    except ImportError as error:
        raise needs_extra("--server", "client") from error
    client = Client(server)

    def faces(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frames in client.stream(chunks, rate, **options):
            yield frames.coefficients

    return faces


@dataclass
class Progress:
    """How far a bridge has come."""

    frames: int = 0
    seconds: float = 0.0
    """Of speech."""
    late: int = 0
    """Frames that came after their time."""


def run(
    chunks: Iterable[np.ndarray],
    rate: int,
    talker: Talker,
    outlets: list[Outlet],
    fps: int = FPS,
    delay: float = 0.15,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Send every frame ``delay`` seconds after its speech, and a resting face at the end.

    Args:
        chunks: samples at ``rate`` Hz, each as soon as it is spoken.
        talker: makes the faces.
        outlets: where they go.
        fps: 30, or 60 with a frame between any two.
        delay: seconds; less than the student's look-ahead makes every frame late.
        tell: hears of every frame.

    Raises:
        UserError: whatever ``chunks``, ``talker`` or an outlet raise.
    """
    progress = Progress()
    heard = Heard(chunks, rate)
    faces = timing.resampled(talker(heard), FPS, fps)
    # Read once, so that frames follow each other evenly whatever sets the clock meanwhile.
    clock = datetime.now() - timedelta(seconds=time.monotonic())
    rest, resting = np.zeros(len(CHANNELS), np.float32), True
    try:
        with closing(_ahead(faces)) as frames:
            for face in frames:
                if face is None:
                    if not resting:
                        _send_at(time.monotonic(), outlets, rest, clock)
                    resting = True
                    continue
                resting = False
                due = heard.begun + progress.frames / fps + delay
                now = time.monotonic()
                _send_at(max(due, now), outlets, face, clock)
                progress.frames += 1
                progress.seconds = progress.frames / fps
                progress.late += now - due > 1 / fps
                tell(progress)
    finally:
        # Not to leave the mouth open where the speech broke off.
        for outlet in outlets:  # each for itself: one of them may be what broke off
            with suppress(UserError):
                _send_at(time.monotonic() + 1 / fps, [outlet], rest, clock)
    return progress


def _send_at(when: float, outlets: list[Outlet], face: np.ndarray, clock: datetime) -> None:
    """Send a face at a time of the monotonic clock, which began at ``clock``."""
    time.sleep(max(when - time.monotonic(), 0))
    for outlet in outlets:
        outlet.send(face, clock + timedelta(seconds=when))


def _ahead(faces: Iterator[np.ndarray]) -> Generator[np.ndarray | None, None, None]:
    """Frames (52,) of faces (T, 52) that are made in another thread; None for each ``REST_AFTER``
    without one. Raises what that raises."""
    made: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(AHEAD)
    over = Event()

    def make() -> None:
        try:
            for face in faces:
                for frame in face:
                    made.put(frame)
                if over.is_set():
                    return
            made.put(None)
        except BaseException as error:
            made.put(error)

    # A daemon: it may wait for standard input for ever.
    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            try:  # not without end: on Windows such a wait does not hear ctrl-C
                item = made.get(timeout=REST_AFTER)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        with suppress(queue.Empty):
            while True:  # room for one that waits to put more
                made.get_nowait()
        # A program must not end while the student is at work in a thread of its own.
        thread.join(PATIENCE)
