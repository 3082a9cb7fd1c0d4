"""Where a live stream is animated: by a student in this process, or on a server."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from diffusiontalker.errors import needs_extra
from diffusiontalker.runtime.student import Student

Animator = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
"""Chunks of samples to coefficients (T, 52) at 30 frames per second, as soon as they are known."""


def local(folder: str, rate: int, **options: Any) -> Animator:
    """A student in this process; the options are those of ``runtime.stream.Stream``.

    Raises:
        UserError: no artifact, or an option that it refuses.
    """
    stream = Student(folder).stream(rate, **options)

    def animate(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for chunk in chunks:
            yield stream.push(chunk)
        yield stream.close()

    return animate


def remote(server: str, rate: int, **options: Any) -> Animator:
    """A student on a server; the options are those of ``Client.stream``.

    Raises:
        UserError: the extra ``client`` is missing, no address, or an unknown option.
    """
    try:
        from diffusiontalker.client import Client
    except ImportError as error:
        raise needs_extra("--server", "client") from error
    client = Client(server)

    def animate(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frames in client.stream(chunks, rate, **options):
            yield frames.coefficients

    return animate
