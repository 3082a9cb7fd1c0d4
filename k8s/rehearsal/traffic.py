"""Callers of the served student, and a load balancer in the place of Kubernetes' service."""

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from io import BytesIO

import numpy as np
import soundfile

from diffusiontalker.client import Client
from diffusiontalker.errors import UserError


class LoadBalancer(threading.Thread):
    """Connections to ``port`` are passed on to one of ``backends`` that accepts them."""

    def __init__(self, host: str, port: int, backends: list[tuple[str, int]]) -> None:
        super().__init__(daemon=True)
        self.host, self.port, self.backends = host, port, backends

    def run(self) -> None:
        """Until the program ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._pass, self.host, self.port) as server:
            await server.serve_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for host, port in random.sample(self.backends, len(self.backends)):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    upstream = await asyncio.open_connection(host, port)
                await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))
                break
        writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        sink.close()


class Callers:
    """Threads that animate a second of sound again and again, with the client of the package, which
    repeats what was not answered."""

    def __init__(self, url: str, key: str, count: int) -> None:
        self.url, self.key = url, key
        self.calls: Counter[str] = Counter()
        self.slowest = 0.0
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> dict[str, float]:
        """End, and count."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(120)
        return {**self.calls, "slowest_s": round(self.slowest, 1)}

    def _run(self) -> None:
        sound = BytesIO()
        noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
        soundfile.write(sound, noise, 16_000, format="WAV")
        while not self.stopped.wait(0.2):
            begun = time.monotonic()
            try:
                with Client(self.url, key=self.key, timeout=60, deadline=180) as client:
                    client.animate(sound.getvalue())
                self.calls["answered"] += 1
            except UserError as error:
                self.calls["lost"] += 1
                print(f"{time.strftime('%H:%M:%S')} lost: {error}", flush=True)
            self.slowest = max(self.slowest, time.monotonic() - begun)
