"""WS /v1/stream, without Ray Serve: frames, control, and every way to be refused."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from serve.admission.api_keys import VARIABLE
from serve.middleware.flow_control import MAX_MESSAGE
from serve.websocket.protocol import MAX_CONTROL
from starlette.websockets import WebSocketDisconnect
from tests import served
from tests.served import serving, speech, wav
from tests.students import random_student

from diffusiontalker import arkit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_student(tmp_path_factory.mktemp("served") / "student")


@pytest.fixture(scope="module")
def client(folder):
    with serving(served.settings(folder)) as client:
        yield client


@contextmanager
def opened(client, query: str = "", **more):
    with client.websocket_connect(f"/v1/stream?{query}", **more) as socket:
        yield socket


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).round().astype("<i2").tobytes()


def finish(socket) -> list[dict]:
    """All messages until the end, which comes with a clean close."""
    socket.send_text('{"type": "close"}')
    said = []
    while not said or said[-1]["type"] != "end":
        said.append(socket.receive_json())
    with pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_json()
    assert closed.value.code == 1000
    return said


def rows(messages: list[dict]) -> np.ndarray:
    return np.concatenate([m["coefficients"] for m in messages if m["type"] == "frames"])


def test_frames_are_those_of_the_runtime_and_say_when_they_are(client, folder) -> None:
    sound = (speech(3.0) * 32767).round().astype(np.int16)
    with opened(client, "identity=bob&emotion=auto&seed=4") as socket:
        ready = socket.receive_json()
        assert ready["type"] == "ready"
        assert (ready["model"], ready["steps"], ready["fps"]) == ("student", 2, 30)
        assert ready["look_ahead_ms"] == 70.0
        assert ready["channels"] == list(arkit.CHANNELS)
        for chunk in np.array_split(sound, 75):
            socket.send_bytes(chunk.astype("<i2").tobytes())
        said = finish(socket)
    assert said[-1] == {"type": "end", "frames": 90}
    first = 0
    for message in said[:-1]:
        assert (message["first"], message["time"]) == (first, round(first / 30, 6))
        assert message["identity"] == "bob"
        first += len(message["coefficients"])
        # The emotion is recognised from two frames of speech on.
        assert message["emotion"] in (("neutral", "anger") if first >= 2 else (None,))
    stream = served.student(str(folder)).stream(identity="bob", seed=4)
    expected = np.concatenate([stream.push(sound), stream.close()])
    np.testing.assert_allclose(rows(said), expected, atol=2e-5)


def test_binary_frames_hold_the_same_numbers(client) -> None:
    sound = speech(1.0, 48_000)
    query = "rate=48000&encoding=float32&identity=ann&emotion=anger"
    with opened(client, query) as socket:
        socket.receive_json()
        socket.send_bytes(sound.astype("<f4").tobytes())
        as_text = rows(finish(socket))
    with opened(client, f"{query}&format=binary") as socket:
        socket.receive_json()
        socket.send_bytes(sound.astype("<f4").tobytes())
        socket.send_text('{"type": "close"}')
        face, expected = [], 0
        while expected < len(as_text):
            content = socket.receive_bytes()
            first, count = np.frombuffer(content[:8], "<u4")
            assert first == expected
            face.append(np.frombuffer(content[8:], "<f4").reshape(count, 52))
            expected += count
        assert socket.receive_json() == {"type": "end", "frames": 30}
    np.testing.assert_allclose(np.concatenate(face), as_text, atol=1e-5)


def test_pins_change_the_face_and_wrong_pins_do_not_end_it(client) -> None:
    with opened(client, "identity=ann&emotion=neutral") as socket:
        socket.receive_json()
        for text, word in (
            ('{"type": "pin", "emotion": "glee"}', "anger"),
            ('{"type": "pin", "emotion": {"anger": -1}}', "-1"),
            ('{"type": "pin", "colour": "red"}', "colour"),
            ('{"type": "pin", "emotion": {"anger": 1, "anger": 2}}', "twice"),
            ("[" * 10_000, "pin or close"),
            ('{"type": "jump"}', "pin or close"),
            ("no json", "pin or close"),
        ):
            socket.send_text(text)
            told = socket.receive_json()
            assert (told["type"], told["status"], told["closing"]) == ("problem", 422, False)
            assert word in told["detail"], told
        socket.send_text('{"type": "pin", "emotion": {"anger": 1.0}, "identity": "bob"}')
        socket.send_bytes(pcm(speech(3.0)))
        said = finish(socket)
    assert said[-2]["identity"] == "bob"
    assert said[-2]["emotion"] == "anger"


def refused(client, query: str = "", send: bytes | None = None, **more) -> tuple[dict, int]:
    """The problem that ends a stream, and the close code."""
    with opened(client, query, **more) as socket:
        if send is not None:
            socket.receive_json()
            socket.send_bytes(send)
        told = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert told["type"] == "problem"
    assert told["closing"] is True
    return told, closed.value.code


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("rate=100", "rate"),
        ("rate=x", "rate"),
        ("rate=191999", "rate"),
        ("encoding=mp3", "encoding"),
        ("format=xml", "format"),
        ("identity=anne", "identity"),
        ("emotion=glee", "emotion"),
        ("model=other", "model"),
        ("steps=7", "steps"),
        ("seed=-1", "seed"),
        ("speed=2", "speed"),
    ],
)
def test_a_wrong_option_ends_it_before_it_begins(client, query: str, field: str) -> None:
    told, code = refused(client, query)
    assert (told["status"], told["field"], code) == (422, field, 1008)


def test_wrong_samples_end_it(client) -> None:
    assert refused(client, send=b"odd")[0]["field"] == "samples"
    told, code = refused(client, send=bytes(MAX_MESSAGE + 2))
    assert (told["status"], code) == (413, 1009)
    nan = np.full(640, np.nan, "<f4").tobytes()
    assert "NaN" in refused(client, "encoding=float32", send=nan)[0]["detail"]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "WebM"])
def test_a_file_ends_it_by_its_name(client, kind: str) -> None:
    webm = b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04"
    content = webm if kind == "WebM" else wav(1.0, form=kind)
    told, code = refused(client, "rate=48000", send=content[: 2 * (len(content) // 2)])
    assert (told["status"], told["field"], code) == (422, "samples", 1008)
    assert kind.lower() in told["detail"].lower()


def test_silence_has_no_identity(client) -> None:
    with opened(client) as socket:
        socket.receive_json()
        socket.send_bytes(bytes(32_000))
        said = [socket.receive_json(), *finish(socket)]
    assert {(m["identity"], m["emotion"]) for m in said if m["type"] == "frames"} == {(None, None)}
    assert not rows(said).any()


def test_a_long_message_is_processed_in_slices(client) -> None:
    """Between two of them other streams are processed."""
    with opened(client, "rate=8000") as socket:
        socket.receive_json()
        socket.send_bytes(pcm(speech(10.0, 8000)))
        said = finish(socket)
    counts = [len(message["coefficients"]) for message in said[:-1]]
    assert sum(counts) == 300
    assert max(counts) <= 7


def test_a_long_text_ends_it(client) -> None:
    with opened(client) as socket:
        socket.receive_json()
        socket.send_text(json.dumps({"type": "pin", "emotion": "a" * MAX_CONTROL}))
        told = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (told["status"], closed.value.code) == (413, 1009)
    assert "a" * 100 not in told["detail"]


def test_a_damaged_file_of_the_server_is_a_503_without_its_path(folder, tmp_path) -> None:
    with serving(served.settings(folder, identities=str(tmp_path))) as client:
        client.post("/v1/identities?name=carla", content=served.wav(4.0))
        next(tmp_path.rglob("carla.json")).write_text("no json")
        told, code = refused(client, "identity=carla")
        assert (told["status"], code) == (503, 1012)
        assert str(tmp_path) not in told["detail"]


def test_a_stream_that_is_idle_or_lasts_too_long_is_closed(folder) -> None:
    with serving(served.settings(folder, limits={"idle_seconds": 0.1})) as client:
        told, code = refused(client, send=b"")
        assert (told["status"], code) == (408, 1008)
        assert "nothing" in told["detail"]
    with serving(served.settings(folder, limits={"stream_seconds": 0.1})) as client:
        told, code = refused(client, send=b"")
        assert (told["status"], code) == (408, 1008)
        assert "last" in told["detail"]


def test_streams_have_a_limit_and_leave_their_place(folder) -> None:
    with serving(served.settings(folder, limits={"streams": 1})) as client:
        with opened(client) as one:
            assert one.receive_json()["type"] == "ready"
            told, code = refused(client)
            assert (told["status"], code) == (429, 1013)
        with opened(client) as again:
            assert again.receive_json()["type"] == "ready"


def test_keys_come_as_a_header_or_as_a_subprotocol(folder, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "studio=0123456789abcdef")
    with serving(served.settings(folder)) as client:
        told, code = refused(client)
        assert (told["status"], code) == (401, 1008)
        header = {"Authorization": "Bearer 0123456789abcdef"}
        with opened(client, headers=header) as socket:
            assert socket.receive_json()["type"] == "ready"
        offered = ["diffusiontalker.v1", "key.0123456789abcdef"]
        with opened(client, subprotocols=offered) as socket:
            assert socket.accepted_subprotocol == "diffusiontalker.v1"
            assert socket.receive_json()["type"] == "ready"


def test_pages_of_other_origins_may_not_stream(client) -> None:
    for origin in ("https://elsewhere.example", "http://[x", "null"):
        told, code = refused(client, headers={"Origin": origin})
        assert (told["status"], code) == (403, 1008)


def test_dns_rebinding_is_refused(client) -> None:
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    told, code = refused(client, headers=rebound)
    assert (told["status"], told["field"], code) == (421, "Host", 1008)


@pytest.mark.parametrize(
    ("query", "send", "word"),
    [
        ("rate=44101", None, "44101 Hz"),
        ("", b"odd", "3 bytes"),
        ("encoding=float32", np.full(640, np.nan, "<f4").tobytes(), "NaN"),
        ("emotion=anger&emotion=neutral", None, "twice"),
        ("emotoin=anger", None, "emotion?"),
    ],
)
def test_the_close_itself_has_the_reason(client, query: str, send: bytes | None, word: str) -> None:
    """A peer that has sent and not yet read may only see the close frame."""
    with opened(client, query) as socket:
        if send is not None:
            socket.receive_json()
            socket.send_bytes(send)
        assert word in socket.receive_json()["detail"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert word in closed.value.reason
    assert len(closed.value.reason.encode()) <= 123


def test_a_disconnected_stream_leaves_no_trace(client) -> None:
    with opened(client) as socket:
        socket.receive_json()
        socket.send_bytes(pcm(speech(0.5)))
    assert client.app.state.service.streams.used == 0


def test_the_log_has_one_line_per_stream(client, caplog) -> None:
    with caplog.at_level("INFO", "ray.serve"), opened(client) as socket:
        socket.receive_json()
        socket.send_bytes(pcm(speech(1.0)))
        finish(socket)
    lines = [json.loads(r.message) for r in caplog.records if r.name == "ray.serve"]
    assert [(line["method"], line["route"], line["status"], line["frames"]) for line in lines] == [
        ("WS", "/v1/stream", 1000, 30)
    ]
