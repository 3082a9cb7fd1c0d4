"""What tests of pages share: something to hear, files over HTTP, what a page says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000


def speech(seconds: float, rate: int = RATE) -> np.ndarray:
    """Something with a pitch, syllables and pauses: (n,) float32."""
    at = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * at), 0, None)
    hiss = np.random.default_rng(0).normal(0, 0.003, len(at))
    return (0.05 * tone * syllables + hiss).astype(np.float32)


class Quiet(SimpleHTTPRequestHandler):
    """Files, and no word about them."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """The address at which a folder's files can be had."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def says(page: Any, selector: str, text: str) -> str:
    """Wait until an element says it, and return all that it says."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.includes(text)",
        arg=[selector, text],
        timeout=30_000,
    )
    return page.locator(selector).inner_text()
