"""POST /v1/animate and the lists, without Ray Serve: what comes back, and what is refused."""

import asyncio
import json
import re
import struct
import threading
from collections.abc import AsyncIterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import ray
import soundfile
from serve import app
from serve.admission.api_keys import VARIABLE
from serve.http import responses
from serve.middleware import access_log
from serve.routes import health, request_body
from serve.routes.animate import RecordingParameters, TimeLimitedResponse
from serve.scheduling.thread_pool import THREAD_NAME
from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect
from tests import served
from tests.served import GAME_KEY, KEYS, STUDIO_KEY, serving, speech, wav
from tests.students import IDENTITIES, random_student

from diffusiontalker import arkit
from diffusiontalker.animation import beat, livelink, timing
from diffusiontalker.errors import UserError

STUDIO = {"Authorization": f"Bearer {STUDIO_KEY}"}
GAME = {"Authorization": f"Bearer {GAME_KEY}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_student(tmp_path_factory.mktemp("served") / "student")


@pytest.fixture(scope="module")
def client(folder):
    with serving(served.settings(folder)) as client:
        yield client


def problem(response, status: int, field: str | None) -> str:
    """The line of a refusal, after checking its form."""
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert (response.status_code, told["status"]) == (status, status), told
    assert told["field"] == field, told
    assert told["title"]
    assert "\n" not in told["detail"]
    assert "/tmp" not in told["detail"]
    return told["detail"]


def test_the_face_is_that_of_the_runtime(client, folder) -> None:
    answer = client.post("/v1/animate?identity=bob&emotion=anger&seed=3", content=wav(1.0))
    assert answer.status_code == 200
    values, fps = beat.decode(answer.text, "answer")
    assert fps == 30
    samples, rate = soundfile.read(BytesIO(wav(1.0)))
    face = served.student(str(folder)).animate(samples, rate, "bob", "anger", 3)
    np.testing.assert_allclose(values, face.coefficients, atol=1e-6)
    told = answer.json()
    assert (told["model"], told["identity"], told["emotion"]) == ("student", "bob", "anger")
    assert answer.headers["x-frames"] == "30"
    assert answer.headers["x-identity"] == "bob"


def test_auto_reports_identity_and_emotion(client) -> None:
    told = client.post("/v1/animate", content=wav(1.0)).json()
    assert told["identity"] in IDENTITIES
    assert told["emotion"] in ("neutral", "anger")


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_other_formats_are_decoded(client, form: str) -> None:
    answer = client.post("/v1/animate", content=wav(1.0, 44_100, form=form))
    assert len(answer.json()["frames"]) in range(29, 34)  # MP3 pads


def test_multipart_is_the_same_as_raw(client) -> None:
    raw = client.post("/v1/animate", content=wav(1.0)).content
    parts = client.post("/v1/animate", files={"file": ("a.wav", wav(1.0), "audio/wav")})
    assert parts.content == raw


def test_every_format_holds_the_same_face(client) -> None:
    def asked(form: str):
        answer = client.post(f"/v1/animate?format={form}", content=wav(1.0))
        assert answer.status_code == 200
        return answer

    face = beat.decode(asked("json").text, "json")[0]
    table = asked("csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert "face.csv" in table.headers["content-disposition"]
    np.testing.assert_allclose(livelink.decode(table.text, "csv")[0], face, atol=1e-6)
    arrays = np.load(BytesIO(asked("npz").content), allow_pickle=False)
    np.testing.assert_allclose(arrays["coefficients"], face, atol=1e-6)
    assert list(arrays["names"]) == list(arkit.CHANNELS)
    scene = asked("glb").content
    assert struct.unpack_from("<4sII", scene) == (b"glTF", 2, len(scene))
    lines = [json.loads(line) for line in asked("ndjson").text.splitlines()]
    assert [line["type"] for line in lines] == ["start", "frames", "end"]
    assert lines[0]["channels"] == list(arkit.CHANNELS)
    np.testing.assert_allclose(lines[1]["coefficients"], face, atol=1e-5)
    assert lines[2]["frames"] == 30


def test_json_in_parts_is_the_layout_as_a_whole() -> None:
    face = np.random.default_rng(0).random((2 * responses.JSON_FRAMES + 1, 52), np.float32)
    info = responses.AnimationInfo("student", 2, None, "anger", 24, ("cut short",))
    found = json.loads(responses.encode("json", face, info))
    told = {"model": "student", "identity": None, "emotion": "anger", "notes": ["cut short"]}
    assert found == {**told, **beat.layout(face, 24)}


def test_the_lines_of_ndjson_are_made_in_threads_of_recordings(client, monkeypatch) -> None:
    threads, counted = set(), []
    frames_message = responses.frames_message

    def watched(*given, **more) -> bytes:
        threads.add(threading.current_thread().name)
        return frames_message(*given, **more)

    monkeypatch.setattr(responses, "frames_message", watched)
    metrics = client.app.state.service.metrics
    monkeypatch.setattr(metrics, "count_frames", lambda *given: counted.append(given))
    client.post("/v1/animate?format=ndjson&fps=60", content=wav(12.0))
    assert {name.rpartition("_")[0] for name in threads} == {THREAD_NAME}
    assert counted == [("student", "recording", 360)]


def test_a_response_that_is_not_read_is_cut_off() -> None:
    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"line"
        finally:
            left.append(True)

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # nothing is read

    async def receive() -> dict:
        return await asyncio.Event().wait()

    async def answer() -> None:
        await TimeLimitedResponse(0.05, parts())(
            {"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send
        )
        await asyncio.sleep(0.05)

    left: list[bool] = []
    asyncio.run(asyncio.wait_for(answer(), 5))
    assert left == [True]


def test_a_long_recording_comes_in_parts_as_ndjson(client) -> None:
    text = client.post("/v1/animate?format=ndjson", content=wav(12.0)).text
    parts = [json.loads(line) for line in text.splitlines()][1:-1]
    assert [(part["first"], part["time"]) for part in parts] == [(0, 0.0), (300, 10.0)]
    whole = beat.decode(client.post("/v1/animate", content=wav(12.0)).text, "json")[0]
    rows = np.concatenate([part["coefficients"] for part in parts])
    np.testing.assert_allclose(rows, whole, atol=1e-5)


def test_sixty_frames_per_second_are_interpolated(client) -> None:
    slow = beat.decode(client.post("/v1/animate", content=wav(12.0)).text, "30")[0]
    answer = client.post("/v1/animate?fps=60", content=wav(12.0))
    quick, fps = beat.decode(answer.text, "60")
    assert (fps, len(quick)) == (60, 720)
    np.testing.assert_allclose(quick[::2], slow, atol=2e-6)
    np.testing.assert_allclose(quick[1:-1:2], (slow[:-1] + slow[1:]) / 2, atol=2e-6)
    np.testing.assert_allclose(quick[-1], slow[-1], atol=2e-6)


def test_frames_at_the_rate_of_an_engine(client) -> None:
    slow = beat.decode(client.post("/v1/animate", content=wav(2.0)).text, "30")[0]
    assert (
        tuple(map(int, get_args(RecordingParameters.model_fields["fps"].annotation)))
        == timing.RATES
    )
    for fps in timing.RATES:
        answer = client.post(f"/v1/animate?fps={fps}", content=wav(2.0))
        face, told = beat.decode(answer.text, "")
        assert (told, len(face)) == (fps, 2 * fps)
        now = np.minimum(np.arange(2 * fps) * 30 / fps, 59)
        for channel, expected in zip(face.T, slow.T, strict=True):
            np.testing.assert_allclose(channel, np.interp(now, range(60), expected), atol=3e-6)


def test_weights_blend_names(client) -> None:
    def face(query: str) -> np.ndarray:
        answer = client.post(f"/v1/animate?{query}", content=wav(1.0))
        assert answer.status_code == 200
        return beat.decode(answer.text, query)[0]

    one = face("identity=ann&emotion=anger")
    np.testing.assert_allclose(face("identity=ann:2&emotion=anger:0.5"), one, atol=1e-5)
    blend = face("identity=ann:0.5,bob:0.5&emotion=anger:0.5,neutral:0.5")
    assert np.abs(blend - one).max() > 1e-3


@pytest.mark.parametrize(
    ("query", "field", "word"),
    [
        ("identity=anne", "identity", "'ann'"),
        ("identity=ann:x", "identity", "0.7"),
        ("emotion=anger:1,anger:2", "emotion", "twice"),
        ("emotion=anger&emotion=neutral", "emotion", "twice"),
        ("identity=ann:-1", "identity", "-1"),
        ("emotion=glee", "emotion", "anger"),
        ("emotion=", "emotion", "pattern"),
        ("model=other", "model", "student (2 steps)"),
        ("steps=7", "steps", "student (2 steps)"),
        ("seed=-1", "seed", "0"),
        ("seed=x", "seed", "integer"),
        ("fps=23", "fps", "'24'"),
        ("format=fbx", "format", "'csv'"),
        ("smooth_ms=nan", "smooth_ms", "finite"),
        ("emotoin=anger", "emotoin", "emotion?"),
        ("colour=red", "colour", "model, steps"),
    ],
)
def test_a_wrong_option_is_named(client, query: str, field: str, word: str) -> None:
    assert word in problem(client.post(f"/v1/animate?{query}", content=wav(1.0)), 422, field)


def flac_claiming(seconds: int, rate: int = 16_000) -> bytes:
    """A small FLAC whose header claims a length."""
    content = bytearray(wav(1.0, rate, form="FLAC"))
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = (fields >> 36 << 36 | seconds * rate).to_bytes(8, "big")
    return bytes(content)


def wav_of(samples: np.ndarray, rate: int) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"no sound at all", "not a readable"),
        (b"RIFF" + bytes(2000), "not a readable"),
        (wav(1.0)[:30], "not a readable"),
        (wav(1.0)[:44], "no samples"),
        (wav(0.05), "0.2 s"),
        (wav_of(np.full(16_000, np.nan, np.float32), 16_000), "NaN"),
        (wav_of(np.full(16_000, np.inf, np.float32), 16_000), "NaN or infinite"),
        (wav_of(np.zeros(2000, np.float32), 500), "500 Hz"),
        (flac_claiming(36_000), "36000 s"),
        (wav(1.0, form="FLAC")[:500], "not a readable"),
        (wav_of(np.zeros((16_000, 6), np.float32), 16_000), "6 channels"),
        (flac_claiming(500, 384_000), "-ar 48000"),
        (wav(1.0, form="AIFF"), "AIFF"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42", "ffmpeg -i IN"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01", "WebM"),
        (b'{"error": "quota"}', "JSON"),
        (wav(1.0).translate(None, b"\0\r\n"), "--data-binary"),
        (b"OggS" + bytes(5000), "not a readable"),
        (b"ID3" + bytes(5000), "not a readable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "not a readable"),
        (b"PK\x03\x04" + bytes(500), "not a readable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_recordings_are_refused(client, body: bytes, word: str) -> None:
    assert word in problem(client.post("/v1/animate", content=body), 422, "body")


def test_silence_is_a_face_at_rest(client) -> None:
    silence = wav_of(np.zeros(16_000, np.float32), 16_000)
    told = client.post("/v1/animate", content=silence)
    assert told.status_code == 200
    assert (told.json()["identity"], told.json()["emotion"]) == (None, None)
    assert not np.any([frame["weights"] for frame in told.json()["frames"]])
    assert len(told.json()["frames"]) == 30
    (note,) = told.json()["notes"]
    assert note.startswith("silent")
    assert told.headers["x-notes"] == note
    assert "x-identity" not in told.headers
    lines = client.post("/v1/animate?format=ndjson", content=silence)
    assert json.loads(lines.text.splitlines()[0])["notes"] == [note]
    assert lines.headers["x-notes"] == note


def test_a_cut_recording_and_cancelling_channels_are_noted(client) -> None:
    left = speech(1.0)
    cut = wav_of(np.stack([left, -left], axis=1), 16_000)[:-64_000]
    told = client.post("/v1/animate?format=csv", content=cut)
    chosen, missing = told.headers["x-notes"].split(" | ")
    assert "cancel" in chosen
    assert "cut short" in missing
    assert told.headers["x-identity"] in IDENTITIES
    assert "x-notes" not in client.post("/v1/animate", content=wav(1.0)).headers
    saved = client.post("/v1/identities?name=half", content=wav(8.0)[:-100_000])
    assert "cut short" in saved.json()["notes"][0]
    client.delete("/v1/identities/half")
    headers = client.get("/openapi.json").json()["paths"]["/v1/animate"]["post"]["responses"]
    assert "X-Notes" in headers["200"]["headers"]


def test_a_recording_that_unpacks_to_more_than_is_allowed(folder) -> None:
    with serving(served.settings(folder, limits={"seconds": 2})) as client:
        assert "2 s" in problem(client.post("/v1/animate", content=wav(2.5)), 422, "body")
        assert client.post("/v1/animate", content=wav(1.9)).status_code == 200


def test_bodies_have_a_limit_declared_or_not(folder) -> None:
    with serving(served.settings(folder, limits={"bytes": 40_000})) as client:
        assert client.post("/v1/animate", content=wav(1.0)).status_code == 200
        told = problem(client.post("/v1/animate", content=wav(2.0)), 413, "body")
        assert "40000 bytes" in told

        def pieces():
            for _ in range(100):
                yield bytes(1000)

        problem(client.post("/v1/animate", content=pieces()), 413, "body")


@pytest.mark.parametrize(
    ("body", "kind", "status", "field"),
    [
        (b"--x\r\n\r\n", "multipart/form-data", 400, "body"),
        (b"no parts", "multipart/form-data; boundary=x", 400, "body"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x", 422, "file",
        ),
    ],
)  # fmt: skip
def test_broken_multipart(client, body, kind, status, field) -> None:
    answer = client.post("/v1/animate", content=body, headers={"content-type": kind})
    problem(answer, status, field)


def test_a_form_is_parsed_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr(request_body, "PARSED_BYTES", 100)
    content = bytes(1600)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    request: Any = SimpleNamespace(
        headers=Headers({"content-type": "multipart/form-data; boundary=x"})
    )

    async def scenario() -> tuple[bytes, int]:
        reading = asyncio.create_task(
            request_body._multipart_file(request, head + content + b"\r\n--x--\r\n")
        )
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        return reading.result(), turns

    read, turns = asyncio.run(scenario())
    assert read == content
    assert turns > 16


def test_other_charsets_of_a_form_are_refused(client) -> None:
    """Decoding punycode takes time with the square of a text's length."""
    kind = "multipart/form-data; boundary=x; charset=punycode"
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--x--\r\n'
    answer = client.post("/v1/animate", content=body, headers={"content-type": kind})
    assert "UTF-8" in problem(answer, 400, "body")


def test_multipart_may_be_written_in_capitals(client) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    kind = {"content-type": 'Multipart/Form-Data; charset="utf-8"; boundary=x'}
    body = head + wav(1.0) + b"\r\n--x--\r\n"
    assert client.post("/v1/animate", content=body, headers=kind).status_code == 200


def test_a_damaged_file_of_the_server_is_only_in_its_log(
    folder, tmp_path, caplog, monkeypatch
) -> None:
    with serving(served.settings(folder, identities=str(tmp_path))) as client:
        client.post("/v1/identities?name=carla", content=wav(4.0))
        (kept,) = tmp_path.rglob("carla.json")
        kept.write_text("no json")
        answer = client.post("/v1/animate?identity=carla", content=wav(1.0))
        problem(answer, 503, None)
        assert "carla.json" in caplog.text

        async def away(name: str) -> None:
            raise UserError(f"{folder}: no such artifact")

        monkeypatch.setattr(client.app.state.service.students, "load", away)
        problem(client.get("/readyz"), 503, None)


@pytest.mark.parametrize("page", [False, True])
def test_there_is_no_such_route_or_method(folder, page: bool) -> None:
    with serving(served.settings(folder, page=page)) as client:
        wrong = client.get("/v1/animate")
        assert "use POST" in problem(wrong, 405, None)
        assert wrong.headers["allow"] == "POST"
        problem(client.options("/v1/animate"), 405, None)
        problem(client.post("/v1/models"), 405, None)
        problem(client.put("/v1/models"), 405, None)
        head = client.head("/v1/animate")
        assert (head.status_code, head.headers["allow"]) == (405, "POST")
        problem(client.get("/v1/nothing"), 404, None)
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/nothing"):
            pass


def test_a_stream_without_its_upgrade_gets_a_hint(client) -> None:
    answer = client.get("/v1/stream")
    assert "proxy" in problem(answer, 426, None)
    assert answer.headers["upgrade"] == "websocket"
    assert "/v1/stream" not in client.get("/openapi.json").json()["paths"]


def test_an_internal_error_does_not_show_its_cause(folder, monkeypatch) -> None:
    monkeypatch.setattr("serve.routes.request_body.decode", lambda *_: 1 / 0)
    with serving(served.settings(folder)) as client:
        told = problem(client.post("/v1/animate", content=wav(1.0)), 500, None)
    assert "ZeroDivisionError" not in told


def test_a_page_of_another_origin_can_read_an_internal_error(folder, monkeypatch) -> None:
    monkeypatch.setattr("serve.routes.request_body.decode", lambda *_: 1 / 0)
    other = "https://elsewhere.example"
    with serving(served.settings(folder, cors_origins=[other])) as client:
        answer = client.post("/v1/animate", content=wav(1.0), headers={"Origin": other})
        problem(answer, 500, None)
    assert answer.headers["access-control-allow-origin"] == other


def test_headers_are_ascii_and_lose_nothing() -> None:
    info = responses.AnimationInfo("student", 2, "Zoë 50%", "joy\n", 30, ("café", "a | b"))
    assert info.headers == {
        "X-Model": "student", "X-Identity": "Zo%C3%AB 50%25", "X-Emotion": "joy%0A",
        "X-Notes": "caf%C3%A9 | a | b",
    }  # fmt: skip
    plain = responses.AnimationInfo("a-b_c.d", 2, "ann (UK), 'x'", None, 30)
    assert plain.headers == {"X-Model": "a-b_c.d", "X-Identity": "ann (UK), 'x'"}


def test_the_metrics_of_all_nodes_have_each_comment_once() -> None:
    def node(frames: int) -> str:
        return (
            "# HELP ray_diffusiontalker_frames Frames.\n# TYPE ray_diffusiontalker_frames counter\n"
            f"ray_diffusiontalker_frames {frames}\n# HELP ray_node_cpu CPU.\nray_node_cpu 1\n"
        )

    assert health.merge([node(3), node(5)]).splitlines() == [
        "# HELP ray_diffusiontalker_frames Frames.",
        "# TYPE ray_diffusiontalker_frames counter",
        "ray_diffusiontalker_frames 3",
        "ray_diffusiontalker_frames 5",
    ]


def test_lists(client) -> None:
    assert client.get("/v1/models").json() == {
        "default": "student",
        "models": [
            {"name": "student", "steps": 2, "look_ahead_ms": 70.0, "precision": "fp32"},
        ],
    }
    assert client.get("/v1/emotions").json() == {"emotions": ["neutral", "anger"]}
    assert client.get("/v1/identities").json() == {"library": [*IDENTITIES], "saved": []}
    shapes = client.get("/v1/blendshapes").json()
    assert [shape["name"] for shape in shapes["blendshapes"]] == list(arkit.CHANNELS)
    by_name = {shape["name"]: shape for shape in shapes["blendshapes"]}
    assert by_name["eyeBlinkLeft"]["mirror"] == "eyeBlinkRight"
    assert by_name["jawOpen"] == {"name": "jawOpen", "region": "lip", "mirror": "jawOpen"}
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_voice_is_saved_used_and_forgotten(client, folder) -> None:
    voice = wav(4.0, seed=5)
    saved = client.post("/v1/identities?name=carla", content=voice)
    assert saved.status_code == 201
    assert saved.json() == {
        "name": "carla", "seconds": 4.0, "nearest": saved.json()["nearest"], "notes": [],
    }  # fmt: skip
    assert client.get("/v1/identities").json()["saved"] == ["carla"]
    answer = client.post("/v1/animate?identity=carla", content=wav(1.0))
    assert "x-identity" not in answer.headers
    heard = served.student(str(folder)).recognise(speech(4.0, seed=5), 16_000)
    face = served.student(str(folder)).animate(speech(1.0), 16_000, heard.identity)
    np.testing.assert_allclose(beat.decode(answer.text, "")[0], face.coefficients, atol=2e-3)
    blend = client.post("/v1/animate?identity=carla:3,ann:1", content=wav(1.0))
    library = served.student(str(folder)).libraries[0]
    mixed = 3 * heard.identity + library.entries[library.names.index("ann")]
    face = served.student(str(folder)).animate(speech(1.0), 16_000, mixed)
    np.testing.assert_allclose(beat.decode(blend.text, "")[0], face.coefficients, atol=2e-3)
    wrong = client.post("/v1/animate?identity=carla:1,carlo:1", content=wav(1.0))
    assert "did you mean 'carla'" in problem(wrong, 422, "identity")
    many = ",".join(f"nobody{number}:1" for number in range(9))
    problem(client.post(f"/v1/animate?identity={many}", content=wav(1.0)), 422, "identity")
    told = problem(client.post("/v1/identities?name=carla", content=voice), 409, "name")
    assert "taken" in told
    assert client.delete("/v1/identities/carla").status_code == 204
    problem(client.delete("/v1/identities/carla"), 404, "name")
    problem(client.post("/v1/animate?identity=carla", content=wav(1.0)), 422, "identity")


@pytest.mark.parametrize(
    ("name", "seconds", "status", "field"),
    [
        ("ann", 4.0, 409, "name"),
        ("auto", 4.0, 409, "name"),
        ("../up", 4.0, 422, "name"),
        ("", 4.0, 422, "name"),
        ("short", 1.0, 422, "body"),
        ("long", 61.0, 422, "body"),
    ],
)
def test_invalid_identities_are_refused(client, name, seconds, status, field) -> None:
    answer = client.post("/v1/identities", params={"name": name}, content=wav(seconds))
    problem(answer, status, field)
    assert client.get("/v1/identities").json()["saved"] == []


def test_silence_is_no_identity(client) -> None:
    file = BytesIO()
    soundfile.write(file, np.zeros(64_000), 16_000, format="WAV")
    answer = client.post("/v1/identities?name=nobody", content=file.getvalue())
    problem(answer, 422, "body")


def test_identities_have_a_limit(folder, tmp_path) -> None:
    changed = {"limits": {"identities": 1}, "identities": str(tmp_path)}
    with serving(served.settings(folder, **changed)) as client:
        assert client.post("/v1/identities?name=one", content=wav(3.5)).status_code == 201
        problem(client.post("/v1/identities?name=two", content=wav(3.5)), 409, "name")


def test_keys_and_whose_identities_are_seen(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(VARIABLE, KEYS)
    with serving(served.settings(folder, identities=str(tmp_path))) as client:
        assert "Bearer KEY" in problem(client.get("/v1/models"), 401, "Authorization")
        wrong = client.get("/v1/models", headers={"Authorization": "Bearer 0123456789abcdef"})
        assert "not known" in problem(wrong, 401, "Authorization")
        assert wrong.headers["www-authenticate"] == "Bearer"
        assert client.get("/healthz").status_code == 200
        client.post("/v1/identities?name=dora", content=wav(3.5), headers=STUDIO)
        assert client.get("/v1/identities", headers=STUDIO).json()["saved"] == ["dora"]
        assert client.get("/v1/identities", headers=GAME).json()["saved"] == []
        query = "/v1/animate?identity=dora"
        assert client.post(query, content=wav(1.0), headers=STUDIO).status_code == 200
        problem(client.post(query, content=wav(1.0), headers=GAME), 422, "identity")
    assert not any("0123456789abcdef" in str(path) for path in tmp_path.rglob("*"))


def test_keys_that_cannot_be_used_are_refused_without_being_shown(folder, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "studio=short-secret")
    with (
        pytest.raises(UserError, match="entry 1") as error,
        serving(served.settings(folder)),
    ):
        pass
    assert "short-secret" not in str(error.value)


def test_a_replica_without_the_keys_does_not_start() -> None:
    with pytest.raises(UserError, match=VARIABLE):
        app._check_keys(with_keys=True, without_keys=True)
    app._check_keys(with_keys=True, without_keys=False)
    app._check_keys(with_keys=False, without_keys=True)


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_listening_beyond_this_machine_without_keys_is_logged(
    folder, monkeypatch, caplog, host, warned
) -> None:
    monkeypatch.setattr(app.HTTPOptions, "__new__", lambda _: SimpleNamespace(host=host))
    # `serve run --address` says to which Ray, and comes later. Another test of this process may
    # have one open.
    connected = []
    monkeypatch.setattr(ray, "init", lambda *_, **__: connected.append(True))
    app.build(served.settings(folder))
    assert (VARIABLE in caplog.text) is warned
    monkeypatch.setenv(VARIABLE, KEYS)
    caplog.clear()
    app.build(served.settings(folder))
    assert not caplog.text
    assert not connected


def test_the_page_is_shown_without_what_lies_in_its_student_folder(
    folder, tmp_path, monkeypatch
) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.yaml").write_text("steps: 2")
    (tmp_path / "students.js").write_text("")
    monkeypatch.setattr("serve.routes.page.WEB", tmp_path)
    with serving(served.settings(folder, page=True)) as client:
        problem(client.get("/"), 404, None)  # there is none, and all else works
        assert client.get("/healthz").status_code == 200
    (tmp_path / "index.html").write_text("<html>")
    with serving(served.settings(folder, page=True)) as client:
        assert client.get("/").status_code == client.get("/students.js").status_code == 200
        for path in ("student/config.yaml", "student//config.yaml", "./student/config.yaml"):
            assert client.get(f"/{path}").status_code == 404


def test_the_rate_limit_has_a_retry_after(folder) -> None:
    with serving(served.settings(folder, limits={"requests_per_minute": 3})) as client:
        for _ in range(3):
            assert client.get("/v1/models").status_code == 200
        refused = client.get("/v1/models")
        problem(refused, 429, None)
        assert int(refused.headers["retry-after"]) > 0


def test_a_full_replica_says_so(folder) -> None:
    with serving(served.settings(folder)) as client:
        capacity = client.app.state.service.recordings
        with capacity.acquire("a"):
            assert client.post("/v1/animate", content=wav(1.0)).status_code == 200
        capacity.limit = 0
        refused = client.post("/v1/animate", content=wav(1.0))
        assert "recordings" in problem(refused, 429, None)
        assert refused.headers["retry-after"] == "1"
        assert capacity.used == 0


def test_pages_of_other_origins_may_only_look(folder) -> None:
    other = {"Origin": "https://elsewhere.example"}
    with serving(served.settings(folder)) as client:
        answer = client.get("/v1/models", headers=other)
        assert "access-control-allow-origin" not in answer.headers
        problem(client.post("/v1/animate", content=wav(1.0), headers=other), 403, "Origin")
        own = {"Origin": "http://localhost"}
        assert client.post("/v1/animate", content=wav(1.0), headers=own).status_code == 200
    allowed = {"cors_origins": ["https://elsewhere.example"]}
    with serving(served.settings(folder, **allowed)) as client:
        answer = client.post("/v1/animate", content=wav(1.0), headers=other)
        assert answer.headers["access-control-allow-origin"] == "https://elsewhere.example"


REBOUND = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
"""What a browser sends for a page that made its own name lead here."""


def test_dns_rebinding_is_refused(folder, monkeypatch) -> None:
    with serving(served.settings(folder)) as client:
        told = problem(client.post("/v1/animate", content=wav(1.0), headers=REBOUND), 421, "Host")
        assert "allowed_hosts" in told
        problem(client.get("/v1/identities", headers=REBOUND), 421, "Host")
        for path in ("/healthz", "/readyz"):
            assert client.get(path, headers=REBOUND).status_code == 200
        for host in (
            "localhost", "LocalHost:8000", "studio.localhost", "127.0.0.1:8000", "[::1]:8000",
            "[::1]", "10.0.0.7:8000", "localhost.",
        ):  # fmt: skip
            assert client.get("/v1/models", headers={"Host": host}).status_code == 200, host
        for host in ("localhost.evil.example", "127.0.0.1.evil.example", "1.2.3", "evil[::1]"):
            problem(client.get("/v1/models", headers={"Host": host}), 421, "Host")
    for hosts in (["Evil.example"], ["*"]):
        with serving(served.settings(folder, allowed_hosts=hosts)) as client:
            assert client.get("/v1/models", headers=REBOUND).status_code == 200
    monkeypatch.setenv(VARIABLE, KEYS)
    with serving(served.settings(folder)) as client:  # the page has no key
        problem(client.get("/v1/models", headers=REBOUND), 401, "Authorization")
        assert client.get("/v1/models", headers={**REBOUND, **STUDIO}).status_code == 200


def test_a_request_starts_no_thread_but_that_of_its_recording(client, monkeypatch) -> None:
    """Under Ray Serve each would be a new one."""

    async def begun(work, *_, **__) -> None:
        raise AssertionError(f"a thread for {work}")

    monkeypatch.setattr("fastapi.dependencies.utils.run_in_threadpool", begun)
    monkeypatch.setattr("fastapi.routing.run_in_threadpool", begun)
    assert client.post("/v1/animate", content=wav(1.0)).status_code == 200


def test_an_answer_goes_out_before_it_is_logged(monkeypatch) -> None:
    events = []

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def written_in_the_next_round(message) -> None:
        if message["type"] == "http.response.body":
            asyncio.get_running_loop().call_soon(events.append, "written")

    monkeypatch.setattr(access_log.logger, "info", lambda line: events.append("logged"))
    scope = {"type": "http", "path": "/v1/animate"}
    asyncio.run(access_log.AccessLog(app)(scope, None, written_in_the_next_round))
    assert events == ["written", "written", "logged"]


def test_the_access_log_has_no_names(client, caplog) -> None:
    with caplog.at_level("INFO", "ray.serve"):
        client.post("/v1/animate?identity=bob", content=wav(1.0))
        client.delete("/v1/identities/somebody")
        client.get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "ray.serve"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/animate", 200),
        ("DELETE", "/v1/identities/{name}", 404),
    ]
    assert lines[0]["model"] == "student"
    assert not re.search("bob|somebody|testclient", caplog.text)


def test_the_access_log_has_internal_errors(folder, monkeypatch, caplog) -> None:
    monkeypatch.setattr("serve.routes.request_body.decode", lambda *_: 1 / 0)
    with caplog.at_level("INFO", "ray.serve"), serving(served.settings(folder)) as client:
        client.post("/v1/animate", content=wav(1.0))
    assert '"status": 500' in caplog.text
