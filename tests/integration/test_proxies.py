"""The example configurations of proxies: recordings and streams pass, slow headers do not."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import websockets
from starlette.types import Receive, Scope, Send
from tests import served
from tests.ports import free_port
from tests.served import speech, wav
from tests.students import random_student
from tests.tools import tool

EXAMPLES = Path(__file__).parents[2] / "examples" / "proxy"
HEADER_SECONDS = 1
WHERE = {
    "nginx": {
        "listen 80;": "listen 127.0.0.1:{port};",
        "server 127.0.0.1:8000;": "server 127.0.0.1:{upstream};",
        "pid /run/nginx.pid;": "pid {folder}/pid; daemon off; {user}",
        "client_header_timeout 10s;": "client_header_timeout {seconds}s;",
        "limit_conn connections 64;": "limit_conn connections 4;",
        "server_tokens off;": "server_tokens off; client_body_temp_path {folder}/body;"
        "proxy_temp_path {folder}/a; fastcgi_temp_path {folder}/b; uwsgi_temp_path {folder}/c;"
        "scgi_temp_path {folder}/d;",
    },
    "Caddyfile": {
        "{$TALKER_SITE::80} {": ":{port} {{\n\tbind 127.0.0.1\n",
        "reverse_proxy 127.0.0.1:8000": "reverse_proxy 127.0.0.1:{upstream}",
        "read_header 10s": "read_header {seconds}s",
    },
}
"""Changes to an example: addresses, paths, and what would take too long in a test."""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[Scope]]]:
    """A server's port, and the requests that reach it."""
    settings = served.settings(random_student(tmp_path_factory.mktemp("proxies") / "student"))
    api, _ = served.application(settings)
    asked: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)
        await api(scope, receive, send)

    with served.listening(app) as address:
        port = int(address.rpartition(":")[2])
        answers(port)
        yield port, asked


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest,
    upstream: tuple[int, list[Scope]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """The port of a proxy before the server."""
    program = tool(request.param)
    name = {"nginx": "nginx.conf", "caddy": "Caddyfile"}[request.param]
    port, folder = free_port(), tmp_path_factory.mktemp(request.param)
    changed = (EXAMPLES / name).read_text()
    for old, new in WHERE[Path(name).stem].items():
        assert changed.count(old) == 1, old
        places = {
            "port": port, "upstream": upstream[0], "folder": folder, "seconds": HEADER_SECONDS,
            "user": "user root;" if os.geteuid() == 0 else "",
        }  # fmt: skip
        changed = changed.replace(old, new.format(**places))
    (folder / name).write_text(changed)
    started = {
        "nginx": [program, "-p", str(folder), "-c", str(folder / name), "-e", "stderr"],
        "caddy": [program, "run", "--config", str(folder / name), "--adapter", "caddyfile"],
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            started[request.param], stdout=log, stderr=log,
            env={**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )  # fmt: skip
        try:
            answers(port)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def answers(port: int) -> None:
    """Wait until a server answers."""
    ends = time.monotonic() + 30
    while True:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                return
        except httpx2.HTTPError:
            assert time.monotonic() < ends, "it does not begin"
            time.sleep(0.05)


def seconds_open(port: int, content: bytes, every: bytes, pause: float, most: float) -> float:
    """How long a connection is kept open that sends ``content``, and ``every`` so often."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as peer:
        try:
            peer.sendall(content)
            while time.monotonic() - begun < most:
                peer.settimeout(pause)
                try:
                    if not peer.recv(4096):
                        break
                except TimeoutError:
                    peer.sendall(every)
        except OSError:
            pass
        return time.monotonic() - begun


def test_a_recording_passes_with_its_real_address(
    proxy: int, upstream: tuple[int, list[Scope]]
) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
    answer = httpx2.post(
        f"http://127.0.0.1:{proxy}/v1/animate", content=wav(5.0, 44_100), headers=claimed,
        timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200
    assert len(answer.json()["frames"]) == 150
    headers = dict(upstream[1][-1]["headers"])
    assert headers[b"x-forwarded-for"] == b"127.0.0.1"
    assert b"forwarded" not in headers
    lines = httpx2.post(
        f"http://127.0.0.1:{proxy}/v1/animate?format=ndjson", content=wav(1.0), timeout=60
    )
    assert json.loads(lines.text.splitlines()[-1]) == {"type": "end", "frames": 30}


def test_a_stream_passes(proxy: int, upstream: tuple[int, list[Scope]]) -> None:
    sound = (speech(2.0) * 32767).round().astype("<i2")

    async def talk() -> list[dict]:
        address, claimed = f"ws://127.0.0.1:{proxy}/v1/stream", {"X-Forwarded-For": "192.0.2.1"}
        async with websockets.connect(address, additional_headers=claimed) as socket:
            for chunk in np.array_split(sound, 50):
                await socket.send(chunk.tobytes())
            await socket.send('{"type": "close"}')
            return [json.loads(message) async for message in socket]

    said = asyncio.run(talk())
    assert [said[0]["type"], said[-1]] == ["ready", {"type": "end", "frames": 60}]
    headers = dict(next(s for s in reversed(upstream[1]) if s["type"] == "websocket")["headers"])
    assert headers[b"host"] == f"127.0.0.1:{proxy}".encode()
    assert headers[b"x-forwarded-for"] == b"127.0.0.1"


def test_slow_headers_are_cut_off(proxy: int) -> None:
    head = b"POST /v1/animate HTTP/1.1\r\nHost: here\r\nX-Slow: "
    assert seconds_open(proxy, head, b"a", pause=0.1, most=10) < HEADER_SECONDS + 3
    assert seconds_open(proxy, head, b"a" * 20_000, pause=0.01, most=10) < HEADER_SECONDS + 3


def test_a_body_beyond_the_limit_is_refused_by_its_length(proxy: int) -> None:
    with socket.create_connection(("127.0.0.1", proxy), timeout=10) as peer:
        peer.sendall(
            b"POST /v1/animate HTTP/1.1\r\nHost: here\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert b" 413 " in peer.recv(4096).splitlines()[0]


def test_metrics_are_not_for_callers(proxy: int) -> None:
    assert httpx2.get(f"http://127.0.0.1:{proxy}/metrics").status_code == 403


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
def test_nginx_limits_the_connections_of_an_address(proxy: int) -> None:
    async def talk() -> int:
        address = f"ws://127.0.0.1:{proxy}/v1/stream"
        opened = [await websockets.connect(address) for _ in range(4)]
        try:
            await websockets.connect(address)
        except websockets.InvalidStatus as refused:
            return refused.response.status_code
        finally:
            for socket in opened:
                await socket.close()
        return 101

    assert asyncio.run(talk()) == 429
