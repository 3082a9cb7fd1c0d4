"""The client and the server's own API, over TCP: what each takes the contract to be."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests import served
from tests.ports import free_port
from tests.served import speech, wav
from tests.students import IDENTITIES, random_student

from diffusiontalker import arkit
from diffusiontalker.animation import writers
from diffusiontalker.client import AsyncClient, Client, Identities
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.student import Student

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("client") / "student")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served.listening(served.application(served.settings(folder))[0]) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_a_face_is_that_of_the_runtime(client: Client, folder: Path, tmp_path: Path) -> None:
    samples = speech(2.0, 48_000)
    made = client.animate(samples, 48_000, identity={"ann": 0.5, "bob": 0.5}, seed=3)
    weights = {"ann": 0.5, "bob": 0.5}
    expected = Student(folder).animate(samples, 48_000, weights, seed=3)
    np.testing.assert_allclose(made.coefficients, expected.coefficients, atol=1e-5)
    assert (made.fps, made.identity, made.model) == (30, None, "student")
    assert made.emotion == expected.emotion

    out = client.download(wav(2.0), tmp_path / "face.csv", identity="bob", fps=60)
    face, fps = writers.read_coefficients(out)
    assert (face.shape, fps) == ((120, 52), 60)


def test_a_stream_is_that_of_the_runtime(client: Client, folder: Path) -> None:
    pcm = np.rint(speech(2.0) * 32767).astype(np.int16)
    options = {"identity": "bob", "emotion": "auto", "seed": 4, "smooth_ms": 20.0, "mirror": True}
    made = list(client.stream(np.array_split(pcm, 50), 16_000, **options))
    stream = Student(folder).stream(16_000, **options)
    expected = np.concatenate([stream.push(pcm), stream.close()])
    np.testing.assert_allclose(
        np.concatenate([frames.coefficients for frames in made]), expected, atol=1e-4
    )
    counts = [len(frames.coefficients) for frames in made]
    assert [frames.first for frames in made] == [0, *np.cumsum(counts)[:-1]]


def test_a_stream_for_asyncio_takes_pins(url: str) -> None:
    async def run() -> tuple[float, int]:
        async with AsyncClient(url) as client, client.stream(emotion="anger") as stream:
            await stream.pin(emotion="angre")
            with pytest.raises(UserError, match="'anger'"):
                await anext(stream)
            await stream.pin(identity={"ann": 1.0}, emotion="neutral")
            await stream.push(speech(1.0))
            await stream.close()
            frames = [frames async for frames in stream]
            return stream.ready.look_ahead_ms, sum(len(f.coefficients) for f in frames)

    assert asyncio.run(run()) == (70.0, 30)


def test_a_voice_is_kept_and_used(client: Client) -> None:
    voice = speech(4.0, seed=7)
    saved = client.save_identity("eve", voice, 16_000)
    assert (saved.name, saved.seconds) == ("eve", 4.0)
    assert saved.nearest in IDENTITIES
    assert client.identities() == Identities([*IDENTITIES], ["eve"])
    assert client.animate(voice, 16_000, identity="eve").coefficients.shape == (120, 52)
    with pytest.raises(UserError, match="taken"):
        client.save_identity("eve", voice, 16_000)
    client.forget_identity("eve")
    assert client.identities().saved == []
    with pytest.raises(UserError, match="eve"):
        client.forget_identity("eve")


def test_what_there_is_to_choose_from(client: Client) -> None:
    assert client.emotions() == ["neutral", "anger"]
    shapes = client.blendshapes()
    assert [shape.name for shape in shapes] == list(arkit.CHANNELS)
    assert shapes[arkit.INDEX["jawLeft"]].mirror == "jawRight"
    (model,) = client.models()
    assert (model.name, model.steps, model.look_ahead_ms, model.default) == (
        "student", 2, 70.0, True,
    )  # fmt: skip


def test_refusals_are_the_servers_lines(client: Client) -> None:
    with pytest.raises(UserError, match="'ann'"):
        client.animate(wav(1.0), identity="anne")
    with pytest.raises(UserError, match="not a readable"):
        client.animate(b"no sound at all")
    with pytest.raises(UserError, match="'anger'"):
        list(client.stream([], emotion="angre"))
    with pytest.raises(UserError, match="rate"):
        list(client.stream([], rate=7))


def test_the_bridge_follows_a_server(url: str, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(wav(1.0))
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "bridge.py", tmp_path / "speech.wav", "--server", url,
         "--to", f"vmc=:{free_port()}", "--identity", "ann:0.5,bob:0.5", "--delay-ms", "400"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("30 frames, 1.0 s, ")
    assert done.stderr.startswith("no receiver yet at vmc 127.0.0.1:")
