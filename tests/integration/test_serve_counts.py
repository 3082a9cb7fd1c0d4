"""The rate limit, counted for all replicas in a real Redis."""

import asyncio
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from serve.admission import rate_limit
from tests.ports import free_port
from tests.served import serving, settings
from tests.students import random_student
from tests.tools import tool

from diffusiontalker.errors import UserError

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("counts") / "student")


@contextmanager
def counting(port: int, folder: Path) -> Iterator[None]:
    """A Redis on this port, which wants the password."""
    server = tool("redis-server")
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([server, *own, "--requirepass", PASSWORD], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port, password=PASSWORD)
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        client.close()
        yield
    finally:
        process.terminate()
        process.wait()


def statuses(*clients: object) -> list[int]:
    return [client.get("/v1/models").status_code for client in clients]


def test_replicas_share_a_count_and_outlive_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limit, "STORAGE_RETRY", 0.0)
    port = free_port()
    limits = {"requests_per_minute": 3, "storage": f"redis://127.0.0.1:{port}"}
    monkeypatch.setenv(rate_limit.PASSWORD, PASSWORD)
    asked = settings(folder, limits=limits)
    if time.time() % 60 > 50:
        time.sleep(10)  # counts are of a clock's minutes
    with serving(asked) as first, serving(asked) as second:
        with counting(port, tmp_path):
            assert statuses(first, second, first, second, first) == [200, 200, 200, 429, 429]
            assert "limits.storage" not in caplog.text
        # It has gone: each counts for itself, and says so once.
        assert statuses(first, first, first, first) == [200, 200, 200, 429]
        said = [line for line in caplog.messages if "limits.storage" in line]
        assert len(said) == 1
        with counting(port, tmp_path):  # and is back, empty
            statuses(second)  # which finds that its connection is gone
            assert statuses(first, second, first, second) == [200, 200, 200, 429]


def test_a_wrong_password_is_reported_and_not_shown(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    storage = f"redis://:wrong-secret@127.0.0.1:{port}"
    with counting(port, tmp_path), serving(settings(folder, limits={"storage": storage})) as client:
        assert statuses(client) == [200]
    said = next(line for line in caplog.messages if "limits.storage" in line)
    assert "password" in said
    assert "wrong-secret" not in caplog.text


@pytest.mark.parametrize("address", ["rediss-x://:secret@host", "redis://:secret@host"])
def test_an_address_with_a_password_is_not_repeated(folder: Path, address: str) -> None:
    with (
        pytest.raises(UserError) as told,
        serving(settings(folder, limits={"storage": address})),
    ):
        pass
    said = str(told.value)
    assert said.startswith("limits.storage: ")
    assert "redis://host:port" in said
    assert "secret" not in "".join(traceback.format_exception(told.value))


def test_a_storage_that_does_not_answer_delays_one_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limit, "STORAGE_TIMEOUT", 0.2)
    asked = settings(folder, limits={"requests_per_minute": 3, "storage": rate_limit.IN_MEMORY})
    with serving(asked) as client:
        limiter, calls = client.app.state.service.access._rate_limiter, 0

        class Silent:
            async def hit(self, rate: object, bucket: str) -> bool:
                nonlocal calls
                calls += 1
                await asyncio.sleep(60)
                return True

        monkeypatch.setattr(limiter, "_shared", Silent())
        assert statuses(client, client, client, client) == [200, 200, 200, 429]
    assert calls == 1
    assert "no answer in 0.2 s" in caplog.text
