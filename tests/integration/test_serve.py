"""The student behind a real Ray Serve on a free loopback port."""

import json
import socket
import urllib.error
import urllib.request
from io import BytesIO
from urllib.parse import urlencode

import numpy as np
import pytest
import ray
import soundfile
from ray import serve
from serve.app import MAX_BYTES, Options, build
from tests.students import random_student


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = random_student(tmp_path_factory.mktemp("serve") / "student")
    port = free_port()
    ray.init(address="local", num_cpus=2, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(Options(model=str(folder), max_replicas=1)))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def call(url: str, path: str, body: bytes | None = None, **query: object) -> tuple[int, dict]:
    request = urllib.request.Request(f"{url}{path}?{urlencode(query)}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wav(seconds: float) -> bytes:
    file = BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000))
    soundfile.write(file, noise, 16000, format="WAV")
    return file.getvalue()


def test_a_recording_is_animated(url) -> None:
    status, face = call(url, "/v1/animate", wav(1.0), identity="bob", seed=3)
    assert status == 200
    assert face["identity"] == "bob"
    assert face["emotion"] in ("neutral", "anger")
    assert len(face["frames"]) == 30
    assert len(face["frames"][0]["weights"]) == 52
    assert call(url, "/v1/animate", wav(1.0), identity="bob", seed=3)[1] == face


def test_health_and_choices(url) -> None:
    assert call(url, "/healthz") == (200, {"status": "ok"})
    assert call(url, "/v1/choices")[1] == {
        "identities": ["ann", "bob"],
        "emotions": ["neutral", "anger"],
    }


@pytest.mark.parametrize(
    ("body", "query", "word"),
    [
        (b"", {}, "empty"),
        (b"no sound at all", {}, "not a readable audio file"),
        (wav(0.05), {}, "at least"),
        (wav(1.0), {"identity": "anne"}, "ann"),
        (b"\0" * (MAX_BYTES + 1), {}, "shorter"),
    ],
)
def test_a_mistake_is_a_4xx_with_one_line(url, body, query, word) -> None:
    status, problem = call(url, "/v1/animate", body, **query)
    assert status == 422
    assert word in problem["detail"]
    assert "/tmp" not in problem["detail"]
