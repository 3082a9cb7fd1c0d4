"""Sends every frame at its time: one thread animates, another sends."""

import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

import numpy as np

from diffusiontalker.animation import timing
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.bridge.animators import Animator
from diffusiontalker.bridge.audio_input import TimedChunks
from diffusiontalker.bridge.targets import UdpSender
from diffusiontalker.errors import UserError

QUEUE_FRAMES = 600
"""Frames that may wait for their time."""
REST_AFTER = 1.0
"""Seconds without a frame after which a face at rest is sent, so that a pause does not leave the
mouth open."""
JOIN_TIMEOUT = 1.0
"""Seconds for the animating thread to end, unless it waits for standard input."""


@dataclass
class BridgeProgress:
    """What has been sent."""

    frames: int = 0
    seconds: float = 0.0
    """Of speech."""
    late: int = 0
    """Frames that were more than a frame behind their time."""


def send_frames(
    chunks: Iterable[np.ndarray],
    rate: int,
    animate: Animator,
    senders: list[UdpSender],
    fps: int = FPS,
    delay: float = 0.15,
    on_frame: Callable[[BridgeProgress], None] = lambda progress: None,
) -> BridgeProgress:
    """Send every frame ``delay`` seconds after its speech, and a face at rest at the end.

    Args:
        chunks: samples at ``rate`` Hz, each as soon as it is spoken.
        animate: gives their frames.
        senders: where they go.
        fps: 30, or 60 with an interpolated frame between any two.
        delay: seconds; with less than the student's look-ahead every frame is late.
        on_frame: called after every frame.

    Raises:
        UserError: whatever ``chunks``, ``animate`` or a sender raise.
    """
    progress = BridgeProgress()
    timed = TimedChunks(chunks, rate)
    parts = timing.resampled(animate(timed), FPS, fps)
    # Read once, so that frames are evenly spaced even if the system's clock is set meanwhile.
    clock = datetime.now() - timedelta(seconds=time.monotonic())
    rest, resting = np.zeros(len(CHANNELS), np.float32), True
    try:
        with closing(_frames_in_thread(parts)) as frames:
            for frame in frames:
                if frame is None:
                    if not resting:
                        _send_at(time.monotonic(), senders, rest, clock)
                    resting = True
                    continue
                resting = False
                due = timed.start_time + progress.frames / fps + delay
                now = time.monotonic()
                _send_at(max(due, now), senders, frame, clock)
                progress.frames += 1
                progress.seconds = progress.frames / fps
                progress.late += now - due > 1 / fps
                on_frame(progress)
    finally:
        # Not to leave the mouth open where the speech was interrupted.
        for sender in senders:  # one by one: an error of one of them may have ended it
            with suppress(UserError):
                _send_at(time.monotonic() + 1 / fps, [sender], rest, clock)
    return progress


def _send_at(when: float, senders: list[UdpSender], frame: np.ndarray, clock: datetime) -> None:
    """Send a frame (52,) at a time of the monotonic clock, whose zero is at ``clock``."""
    time.sleep(max(when - time.monotonic(), 0))
    for sender in senders:
        sender.send(frame, clock + timedelta(seconds=when))


def _frames_in_thread(parts: Iterator[np.ndarray]) -> Generator[np.ndarray | None, None, None]:
    """Frames (52,) of parts (T, 52) that are computed in another thread; None for each
    ``REST_AFTER`` seconds without one. Raises what that thread raises."""
    computed: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(QUEUE_FRAMES)
    stopped = Event()

    def compute() -> None:
        try:
            for part in parts:
                for frame in part:
                    computed.put(frame)
                if stopped.is_set():
                    return
            computed.put(None)
        except BaseException as error:
            computed.put(error)

    # A daemon, as it may wait for standard input for ever.
    thread = Thread(target=compute, daemon=True)
    thread.start()
    try:
        while True:
            try:  # with a timeout, as on Windows ctrl-C does not interrupt a wait without one
                item = computed.get(timeout=REST_AFTER)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        with suppress(queue.Empty):
            while True:  # room for a thread that waits in put
                computed.get_nowait()
        # The interpreter must not shut down while ONNX Runtime computes in the thread.
        thread.join(JOIN_TIMEOUT)
