"""The student behind a real Ray Serve: requests, streams, updates, and replicas that die."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np
import pytest
import ray
import websockets
from ray import serve
from serve.app import build
from serve.settings import ServeSettings
from tests.ports import free_port
from tests.served import speech, wav
from tests.students import random_student

from diffusiontalker.benchmarks import memory
from diffusiontalker.runtime.student import Student

NAME = "diffusiontalker"
PAUSE = 0.1
"""Seconds between a client's requests: without them a replica that starts finds no CPU."""
MIDDLEWARE = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    random_student(root / "one", steps=1, look_ahead=None)
    return random_student(root / "two")


def settings(folder, **replicas: object) -> ServeSettings:
    return ServeSettings.model_validate(
        {
            "models": {"two": str(folder), "one": str(folder.parent / "one")},
            "identities": str(folder.parent / "saved"),
            "limits": {"requests_per_minute": 1_000_000},
            "replicas": {"num_cpus": 0.5, "downscale_delay_s": 1, "upscale_delay_s": 0, **replicas},
        }
    )


@pytest.fixture(scope="module")
def url(folder):
    port = free_port()
    before = dict(os.environ)
    os.environ.update(MIDDLEWARE)
    ray.init(address="local", num_cpus=3, log_to_driver=False, include_dashboard=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
        serve.run(build(settings(folder, max_replicas=1)), name=NAME)
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)


def replicas() -> list[int]:
    """Process ids of the replicas that run."""
    return [pid for pid in memory.family(os.getpid()) if b"ServeReplica" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it has just ended


def test_a_recording_is_animated_by_either_student(url, folder) -> None:
    two = httpx2.post(f"{url}/v1/animate?identity=bob&seed=3", content=wav(1.0), timeout=60)
    assert two.status_code == 200
    assert (two.json()["model"], two.json()["identity"]) == ("two", "bob")
    one = httpx2.post(f"{url}/v1/animate?identity=bob&seed=3&steps=1", content=wav(1.0), timeout=60)
    assert one.json()["model"] == "one"
    assert one.json()["frames"] != two.json()["frames"]
    unknown = httpx2.post(f"{url}/v1/animate?steps=3", content=wav(1.0), timeout=60)
    assert unknown.status_code == 422
    assert unknown.headers["content-type"] == "application/problem+json"


def test_a_stream_through_the_proxy(url, folder) -> None:
    sound = (speech(2.0) * 32767).round().astype(np.int16)

    async def talk() -> list:
        said = []
        address = url.replace("http", "ws") + "/v1/stream?identity=ann&emotion=anger&format=binary"
        async with websockets.connect(address) as socket:
            assert json.loads(await socket.recv())["type"] == "ready"
            for chunk in np.array_split(sound, 50):
                await socket.send(chunk.astype("<i2").tobytes())
            await socket.send('{"type": "close"}')
            async for message in socket:
                said.append(message)
        return said

    said = asyncio.run(talk())
    assert json.loads(said[-1]) == {"type": "end", "frames": 60}
    face = np.concatenate([np.frombuffer(m[8:], "<f4").reshape(-1, 52) for m in said[:-1]])
    stream = Student(folder).stream(identity="ann", emotion="anger")
    np.testing.assert_allclose(
        face, np.concatenate([stream.push(sound), stream.close()]), atol=1e-4
    )


def test_the_page_and_its_head_come_with_it(url) -> None:
    page = httpx2.get(f"{url}/", timeout=60)
    assert page.status_code == 200
    assert "<title>" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    head = httpx2.get(f"{url}/head.glb", timeout=60)
    assert head.content[:4] == b"glTF"
    assert httpx2.get(f"{url}/../pyproject.toml", timeout=60).status_code == 404


def test_metrics_of_all_processes_are_collected(url) -> None:
    httpx2.post(f"{url}/v1/animate", content=wav(1.0), timeout=60)
    deadline = time.monotonic() + 60
    # Each process of Ray reports its metrics at intervals.
    # Under the names by which rules and dashboards ask for them (k8s/components/monitoring).
    wanted = (
        "ray_diffusiontalker_frames_total{", "ray_diffusiontalker_stage_ms_bucket{",
        "ray_serve_num_http_requests_total{", 'kind="recording"', 'application="diffusiontalker"',
    )  # fmt: skip
    while not all(name in (text := httpx2.get(f"{url}/metrics").text) for name in wanted):
        assert time.monotonic() < deadline, text[:2000]
        time.sleep(1)
    assert "ray_node_cpu" not in text


class Load(threading.Thread):
    """Sends one request after the other until it is stopped, and counts the responses."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.url, self.seed = url, seed
        self.answers: Counter[str] = Counter()
        self.stopped = threading.Event()

    def run(self) -> None:
        with httpx2.Client(timeout=60) as client:
            while not self.stopped.is_set():
                try:
                    answer = client.post(
                        f"{self.url}/v1/animate?identity=ann&seed={self.seed}", content=wav(1.0)
                    )
                    whole = answer.status_code == 200 and len(answer.json()["frames"]) == 30
                    self.answers[
                        "whole" if whole else f"{answer.status_code} {answer.text[:80]}"
                    ] += 1
                except httpx2.HTTPError as error:
                    self.answers[repr(error)] += 1
                time.sleep(PAUSE)


def under_load(url: str, what) -> Counter:
    loads = [Load(url, seed) for seed in range(4)]
    for load in loads:
        load.start()
    try:
        time.sleep(1)
        what()
        time.sleep(1)
    finally:
        for load in loads:
            load.stopped.set()
        for load in loads:
            load.join(90)
    return sum((load.answers for load in loads), Counter())


def settle(count: int) -> None:
    deadline = time.monotonic() + 60
    while len(replicas()) != count or serve.status().applications[NAME].status != "RUNNING":
        assert time.monotonic() < deadline, (replicas(), serve.status())
        time.sleep(0.5)


def test_nothing_is_lost_when_replicas_come_go_and_die(url, folder) -> None:
    def kill() -> None:
        os.kill(replicas()[0], signal.SIGKILL)
        time.sleep(1)
        settle(2)

    def run(**changed: object) -> None:
        serve.run(build(settings(folder, **changed)), name=NAME)

    steps = {
        "scaling up by the load": lambda: (
            run(max_replicas=2, target_ongoing_requests=0.2, downscale_delay_s=600),
            settle(2),
        ),
        "a replica is killed": kill,
        "a rolling update": lambda: (
            run(min_replicas=2, max_replicas=2, drain_seconds=20),
            settle(2),
        ),
        "scaling down by the load": lambda: (
            run(max_replicas=2, target_ongoing_requests=100, drain_seconds=20),
            settle(1),
        ),
    }
    for name, step in steps.items():
        answers = under_load(url, step)
        assert set(answers) == {"whole"}, (name, answers)
        assert answers["whole"] > 10, name
