"""The page as people use it, with the student in the page and with a server's."""

import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import serve.routes.page
import soundfile
from serve.admission.api_keys import VARIABLE
from serve.settings import ServeSettings
from tests import served as api
from tests.browsing import RATE, files_of, says, speech
from tests.integration.conftest import WEB

from diffusiontalker import arkit
from diffusiontalker.animation import beat, facecap, glb, livelink, writers
from diffusiontalker.animation.rig import Rig
from diffusiontalker.corpus.procedural.voices import KOKORO_UNSEEN
from diffusiontalker.runtime.student import Student

KEY = "a-key-that-is-long-enough"
VOICE = "Use your voice"
EXAMPLES = WEB / "examples"
FRAME = 1 / arkit.FPS
PHONE = {"width": 390, "height": 844}
DESK = {"width": 900, "height": 700}


@pytest.fixture(scope="module")
def local(installed: Path) -> Iterator[str]:
    """Address of the page from a server of files alone."""
    with files_of(installed) as address:
        yield address


def serving(settings: ServeSettings) -> AbstractContextManager[str]:
    """Address of the API and the page, in this process."""
    return api.listening(api.application(settings)[0])


@pytest.fixture(scope="module")
def settings(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> ServeSettings:
    """Two students, of two steps, and so it says of one."""
    quick = tmp_path_factory.mktemp("quick") / "student"
    shutil.copytree(installed / "student", quick)
    _rename(quick, "steps: 2", "steps: 1")
    return ServeSettings.model_validate(
        {
            "models": {"calm": str(installed / "student"), "quick": str(quick)},
            "identities": str(quick.parent / "saved"),
        }
    )


@pytest.fixture(scope="module")
def remote(installed: Path, settings: ServeSettings) -> Iterator[str]:
    """Address of the page from a server that animates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve.routes.page, "WEB", installed)
        with serving(settings) as address:
            yield address


@contextmanager
def visiting(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page and waits until it is ready; fails at its end if there were errors, or requests
    to anybody else."""
    contexts, complaints = [], []

    def opened(address: str, viewport: dict[str, int] = DESK, **more: Any) -> Any:
        # Few pixels: without a GPU, half of the CPU time goes into drawing the head.
        more = {"device_scale_factor": 0.5} | more
        context = browser.new_context(viewport=viewport, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        own = (address, address.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda r: r.url.startswith(own) or complaints.append(r.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    with visiting(browser) as visit:
        yield visit


@pytest.fixture
def page(visit: Callable[..., Any], local: str) -> Any:
    """The page with the student in it."""
    return ready(visit(local))


@pytest.fixture(scope="module")
def used(browser: Any, local: str) -> Iterator[Any]:
    """The same, for tests that leave nothing chosen but a recording: to load it takes 3 s of CPU,
    most of them to compile graphs and to draw the head without a GPU."""
    with visiting(browser) as visit:
        yield ready(visit(local))


@pytest.fixture
def served(visit: Callable[..., Any], remote: str) -> Any:
    """The page of a server."""
    return ready(visit(remote))


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of speech, in stereo."""
    path = tmp_path_factory.mktemp("spoken") / "hello.wav"
    soundfile.write(path, np.stack([speech(2.0), 0 * speech(2.0)], axis=1), RATE)
    return path


def ready(page: Any) -> Any:
    says(page, "#status", "Ready")
    page.wait_for_function("() => document.querySelector('#head-name').textContent !== ''")
    return page


def choose(page: Any, path: Path) -> str:
    """What the page says of a recording that it has animated."""
    page.evaluate("document.querySelector('#status').textContent = ''")
    page.locator("#recording").set_input_files(path)
    return says(page, "#status", f"{path.name}: ")


def drop(page: Any, path: Path) -> None:
    page.evaluate(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }""",
        [path.name, list(path.read_bytes())],
    )


def downloaded(page: Any, form: str, tmp_path: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=form.upper(), exact=True).click()
    assert download.value.suggested_filename.endswith(f".{form}")
    download.value.save_as(tmp_path / download.value.suggested_filename)
    return tmp_path / download.value.suggested_filename


def shown(page: Any, channel: str = "jawOpen") -> tuple[float, float]:
    """Time, and what the head does then."""
    return tuple(
        page.evaluate(
            """async (channel) => {
                const painted = () => new Promise(requestAnimationFrame);
                await painted();
                await painted();
                return [page.time, page.influence(channel)];
            }""",
            channel,
        )
    )


def between(values: np.ndarray, seconds: float, channel: str = "jawOpen") -> float:
    """The coefficient at a time, linear between frames."""
    times = np.arange(len(values)) * FRAME
    return float(np.interp(seconds, times, values[:, arkit.INDEX[channel]]))


def drawn(page: Any, stronger: int, weaker: int) -> int:
    """Pixels of the curves in which one of red, green and blue (0, 1, 2) outdoes another."""
    return page.locator("#curves").evaluate(
        """(canvas, [stronger, weaker]) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i + 3] > 0 && data[i + stronger] > data[i + weaker] + 60;
            }
            return count;
        }""",
        [stronger, weaker],
    )


def blue(page: Any) -> int:
    return drawn(page, 2, 0)


def orange(page: Any) -> int:
    return drawn(page, 0, 2)


# With the student in the page.


def test_the_head_speaks_in_time_with_the_sound(page: Any, hello: Path, tmp_path: Path) -> None:
    before = blue(page)
    assert "60 frames in" in choose(page, hello)
    assert blue(page) > before + 100
    values, _ = beat.decode(downloaded(page, "json", tmp_path).read_text(), "download")
    assert np.ptp(values[:, arkit.INDEX["jawOpen"]]) > 0.01
    page.get_by_label("Speed").select_option("¼×")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => page.time > 0.2")
    page.get_by_role("button", name="Pause").click()
    moments = [shown(page)]
    for at in (0.35, 1.21, 5.0):
        page.locator("#scrubber").evaluate(
            "(range, at) => { range.value = at; range.dispatchEvent(new Event('input')); }", at
        )
        moments.append(shown(page))
    assert [time for time, _ in moments[1:]] == pytest.approx([0.35, 1.21, 2.0], abs=0.01)
    for seconds, influence in moments:
        assert influence == pytest.approx(between(values, seconds), abs=1e-4)
    assert len({round(influence, 4) for _, influence in moments}) == 4
    page.screenshot(path=tmp_path / "page.png")


def test_the_sound_runs_to_its_end_and_begins_again(used: Any, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, speech(0.5), RATE)
    choose(used, path)
    used.get_by_role("button", name="Play").click()
    used.get_by_role("button", name="Pause").wait_for()
    used.get_by_role("button", name="Play").wait_for()
    assert shown(used)[0] == pytest.approx(0.5, abs=0.02)
    used.get_by_role("button", name="Play").click()
    used.wait_for_function("() => page.time > 0 && page.time < 0.4")


def test_keys_play_and_step(used: Any, hello: Path) -> None:
    choose(used, hello)
    used.keyboard.press("Shift+ArrowRight")
    used.keyboard.press("ArrowRight")
    used.keyboard.press("ArrowRight")
    used.keyboard.press("ArrowLeft")
    assert shown(used)[0] == pytest.approx(1 + FRAME, abs=2e-3)
    used.keyboard.press("Space")
    used.get_by_role("button", name="Pause").wait_for()
    used.keyboard.press("Space")
    used.get_by_role("button", name="Play").wait_for()
    stopped = shown(used)[0]
    used.locator("#seed").focus()
    used.keyboard.press("ArrowLeft")  # the field's own
    assert shown(used)[0] == stopped


def test_all_that_can_be_done_is_reached_by_tab(page: Any, hello: Path) -> None:
    choose(page, hello)
    reached = []
    page.locator("#recording").focus()
    for _ in range(26):
        here = "document.activeElement.id || document.activeElement.textContent"
        reached.append(page.evaluate(here))
        page.keyboard.press("Tab")
    wanted = """recording speak Woman play scrubber speed folder Load identity emotion seed another
        smooth mirror compare JSON CSV own-head Channels""".split()
    assert [name for name in dict.fromkeys(reached) if name in wanted] == wanted


def test_a_phone_shows_it_all_without_scrolling_sideways(
    visit: Callable[..., Any], local: str, hello: Path, tmp_path: Path
) -> None:
    page = ready(visit(local, PHONE, device_scale_factor=2, color_scheme="dark"))
    choose(page, hello)
    page.get_by_role("button", name="Keep as A and compare").click()
    page.get_by_text("Channels", exact=True).click()
    page.get_by_label("Emotion", exact=True).select_option("blend …")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for name in ("#speak", "#examples", "#play", "#head"):
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] < PHONE["height"], f"{name} is below the first screen"
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_an_example_of_each_kind_of_voice_plays_by_one_click(used: Any) -> None:
    used.evaluate("document.activeElement.blur()")  # a test before may have been in a field
    for file, label, _ in examples():
        used.get_by_role("button", name=label, exact=True).click()
        frames = int(says(used, "#status", f"{file}: ").split("; ")[1].split()[0])
        assert frames == pytest.approx(arkit.FPS * soundfile.info(EXAMPLES / file).duration, abs=4)
        used.get_by_role("button", name="Pause").wait_for()
        used.wait_for_function("() => page.time > 0.3")
        used.keyboard.press("Space")  # a click leaves the focus where it was
        used.get_by_role("button", name="Play", exact=True).wait_for()
    used.get_by_role("button", name="Woman", exact=True).focus()
    used.keyboard.press("Enter")
    says(used, "#status", "woman.mp3: ")
    used.evaluate("document.querySelector('#recording').focus()")
    used.get_by_role("button", name="Pause").click()


def examples() -> list[tuple[str, str, dict[str, str]]]:
    """File, label and entry of each example."""
    entries = json.loads((EXAMPLES / "examples.json").read_text())
    return [(entry["file"], entry["label"], entry) for entry in entries]


def test_examples_are_small_and_of_voices_that_are_not_trained_on() -> None:
    assert {file for file, _, _ in examples()} == {path.name for path in EXAMPLES.glob("*.mp3")}
    for file, _, entry in examples():
        sound = soundfile.info(EXAMPLES / file)
        assert (sound.channels, sound.format) == (1, "MP3")
        assert 4 <= sound.duration <= 6
        assert (EXAMPLES / file).stat().st_size < 40_000
        assert entry["synthesizer"] == "espeak" or entry["voice"] in KOKORO_UNSEEN
    assert {entry["synthesizer"] for _, _, entry in examples()} == {"espeak", "kokoro"}


def test_examples_are_made_again(tmp_path: Path) -> None:
    make = runpy.run_path(str(EXAMPLES / "make.py"))["make"]
    [entry] = [entry for _, _, entry in examples() if entry["synthesizer"] == "espeak"]
    made, kept = soundfile.info(make(entry, tmp_path)), soundfile.info(EXAMPLES / entry["file"])
    assert (made.samplerate, made.channels) == (kept.samplerate, kept.channels)
    assert made.duration == pytest.approx(kept.duration, abs=0.1)


@pytest.mark.parametrize("form", ["ogg", "mp3", "flac"])
def test_a_recording_is_dropped_in_any_common_format(used: Any, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    soundfile.write(path, speech(1.0, 44_100), 44_100)
    drop(used, path)
    frames = int(says(used, "#status", f"a.{form}: ").split("; ")[1].split()[0])
    assert 30 <= frames <= 34  # mp3 pads its ends


def test_what_is_not_a_recording_is_said(used: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not a sound")
    used.locator("#recording").set_input_files(path)
    assert says(used, "#problem", "notes.wav") == (
        "notes.wav: not a recording that this browser reads (wav, flac, ogg or mp3)"
    )


def test_files_are_those_of_the_platform(used: Any, hello: Path, tmp_path: Path) -> None:
    choose(used, hello)
    text = downloaded(used, "csv", tmp_path).read_text()
    track = beat.read(downloaded(used, "json", tmp_path).read_text(), "download")
    assert text == livelink.encode(track.values, track.fps)
    assert track.values.shape == (60, 52)
    assert (track.fps, track.stated_fps, track.missing) == (30, 30, ())


def test_two_takes_are_compared(page: Any, hello: Path, tmp_path: Path) -> None:
    choose(page, hello)
    page.keyboard.press("Shift+ArrowRight")
    kept = shown(page)[1]
    assert orange(page) == 0
    page.get_by_role("button", name="Keep as A and compare").click()
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Seed").press("Enter")
    says(page, "#captions", "seed 7")
    words = page.locator("#captions span").all_inner_texts()
    assert [text[:3] for text in words] == ["A ·", "B ·"]
    assert "seed 0" in words[0]
    assert shown(page)[0] == pytest.approx(1, abs=1e-3), "the sound is the same, and stays"
    assert min(orange(page), blue(page)) > 100
    page.screenshot(path=tmp_path / "both.png")
    page.get_by_label("A", exact=True).check()
    assert shown(page)[1] == kept
    assert (blue(page), len(page.locator("#captions span").all())) == (0, 1)
    page.get_by_label("B", exact=True).check()
    other = shown(page)[1]
    assert abs(other - kept) > 1e-3
    page.get_by_role("button", name="Stop comparing").click()
    assert shown(page)[1] == other
    assert orange(page) == 0


def test_emotions_blend(page: Any, hello: Path) -> None:
    choose(page, hello)
    page.get_by_label("Emotion", exact=True).select_option("anger")
    says(page, "#status", ", anger;")
    page.get_by_label("Emotion", exact=True).select_option("blend …")
    says(page, "#status", ", 100 % anger;")
    slider = page.get_by_role("slider", name="neutral")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    says(page, "#status", ", 20 % neutral + 80 % anger;")
    page.get_by_role("slider", name="anger").fill("0")
    slider.fill("0")
    assert says(page, "#problem", "emotion").startswith("emotion: the weights ")


def post_process(page: Any) -> None:
    """Smoothed by 100 ms, and mirrored."""
    page.locator("#smooth").fill("100")
    assert page.locator("#smooth-ms").inner_text() == "100 ms"
    page.get_by_label("Mirror").check()
    says(page, "#captions", "smoothed 100 ms · mirrored")


def test_takes_are_smoothed_and_mirrored(
    page: Any, hello: Path, installed: Path, tmp_path: Path
) -> None:
    choose(page, hello)
    post_process(page)
    samples, rate = soundfile.read(hello, dtype="float32")
    student = Student(installed / "student")
    expected = student.animate(samples.mean(axis=1), rate, smooth_ms=100, mirror=True)
    values, _ = beat.decode(downloaded(page, "json", tmp_path).read_text(), "download")
    np.testing.assert_allclose(values, expected.coefficients, atol=1e-3)
    page.get_by_role("button", name=VOICE).click()
    says(page, "#status", "Listening: ")
    assert page.locator("#smooth").is_disabled(), "a stream keeps it"
    says(page, "#captions", "mirrored")


def test_any_channel_gets_a_curve(page: Any, hello: Path) -> None:
    choose(page, hello)
    page.get_by_text("Channels", exact=True).click()
    height = page.locator("#curves").bounding_box()["height"]
    page.get_by_label("cheekPuff").check()
    curves = page.get_by_role("img", name="cheekPuff")
    curves.wait_for()
    assert curves.bounding_box()["height"] == pytest.approx(height * 7 / 6)
    boxes = page.locator("#channels input").evaluate_all("boxes => boxes.map((box) => box.value)")
    assert sorted(boxes) == list(arkit.CHANNELS)


def test_a_curve_is_a_place_to_seek(used: Any, hello: Path) -> None:
    choose(used, hello)
    box = used.locator("#curves").bounding_box()
    used.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert shown(used)[0] == pytest.approx(0.5, abs=0.01)


def head_of_ones_own(path: Path, rename: Callable[[str], str]) -> Path:
    """A tetrahedron whose tip is moved by jawOpen and eyeBlinkLeft."""
    mean = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    deltas = np.zeros((52, 4, 3), np.float32)
    deltas[[arkit.INDEX["jawOpen"], arkit.INDEX["eyeBlinkLeft"]], 3] = [0, -1, 0]
    rig = Rig(mean, deltas, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    document = pygltflib.GLTF2.load_from_bytes(glb.encode(np.zeros((1, 52)), 30, rig))
    document.meshes[0].extras["targetNames"] = [rename(name) for name in arkit.CHANNELS]
    path.write_bytes(b"".join(document.save_to_bytes()))
    return path


def with_sides(name: str) -> str:
    return "blends." + name.replace("Left", "_L").replace("Right", "_R")


def test_a_head_of_ones_own_speaks(page: Any, hello: Path, tmp_path: Path) -> None:
    assert page.get_by_text(facecap.CREDIT).is_visible()
    choose(page, hello)
    drop(page, head_of_ones_own(tmp_path / "mine.glb", with_sides))
    assert says(page, "#head-name", "mine.glb") == "mine.glb: 52 of 52 blendshapes"
    assert page.get_by_text(facecap.CREDIT).is_hidden()
    values, _ = beat.decode(downloaded(page, "json", tmp_path).read_text(), "download")
    page.keyboard.press("Shift+ArrowRight")
    for channel in ("jawOpen", "eyeBlinkLeft", "mouthLeft"):
        time, influence = shown(page, channel)
        assert influence == pytest.approx(between(values, time, channel), abs=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("no head"), "mine.glb: not a GLB that this page reads ("),
        (lambda path: head_of_ones_own(path, "x{}".format),
         "mine.glb: no morph target has the name of an ARKit blendshape, such as jawOpen"),
    ],
    ids=["no GLB", "no names"],
)  # fmt: skip
def test_what_is_no_head_is_said_and_the_old_one_stays(
    used: Any, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "mine.glb"
    make(path)
    used.locator("#own-head").set_input_files(path)
    says(used, "#problem", message)
    assert used.locator("#problem").inner_text().startswith(message)
    assert used.locator("#head-name").inner_text() == "head.glb: 52 of 52 blendshapes"


def test_the_microphone_moves_the_face_and_can_be_played(page: Any, tmp_path: Path) -> None:
    button = page.get_by_role("button", name=VOICE)
    button.focus()
    page.keyboard.press("Enter")
    assert "null" not in says(page, "#status", "Listening: "), "nobody has spoken yet"
    page.wait_for_function("() => page.frames >= 30")
    first = shown(page)
    page.get_by_label("Identity", exact=True).select_option("ben")
    says(page, "#status", "Listening: ben")
    assert shown(page) > first
    page.get_by_role("button", name="Stop").click()
    frames = int(says(page, "#status", "Stopped").split()[1])
    values, _ = beat.decode(downloaded(page, "json", tmp_path).read_text(), "download")
    assert len(values) == frames
    assert values.std(axis=0).mean() > 1e-3
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => page.time > 0.2")


def refused(name: str) -> str:
    """A microphone that is not opened, for a reason of this name."""
    error = f"new DOMException('reason', '{name}')"
    return f"{{ getUserMedia: () => Promise.reject({error}) }}"


@contextmanager
def microphone(page: Any, opened: str) -> Iterator[None]:
    """``opened`` is the JavaScript object in place of ``navigator.mediaDevices``."""
    given = f"{{ configurable: true, value: {opened} }}"
    page.evaluate(f"() => void Object.defineProperty(navigator, 'mediaDevices', {given})")
    yield
    page.evaluate("() => delete navigator.mediaDevices")


QUIET_ROOM = """{
    async getUserMedia() {
        const context = new AudioContext();
        const source = new AudioBufferSourceNode(context, {
            buffer: new AudioBuffer({ length: 48000, sampleRate: 48000 }),
            loop: true,
        });
        const noise = source.buffer.getChannelData(0);
        noise.forEach((_, i) => { noise[i] = 2e-4 * (Math.random() - 0.5); });  // -85 dB
        const { stream } = source.connect(context.createMediaStreamDestination());
        source.start();
        return stream;
    },
}"""


def test_where_nobody_speaks_the_mouth_is_at_rest(used: Any, tmp_path: Path) -> None:
    path = tmp_path / "nobody.wav"
    soundfile.write(path, 1e-4 * np.random.default_rng(0).normal(size=RATE), RATE)
    assert "at rest" in choose(used, path)
    used.keyboard.press("Shift+ArrowRight")
    assert [shown(used, name)[1] for name in ("jawOpen", "mouthClose", "mouthPucker")] == [0, 0, 0]
    values, _ = beat.decode(downloaded(used, "json", tmp_path).read_text(), "download")
    assert (len(values), values.any()) == (30, False)
    with microphone(used, QUIET_ROOM):
        used.get_by_role("button", name=VOICE).click()
        says(used, "#status", "Listening: ")
        used.wait_for_function("() => page.frames >= 45")
        assert shown(used)[1] == 0
        used.get_by_role("button", name="Stop").click()
        says(used, "#status", "Stopped")
    values, _ = beat.decode(downloaded(used, "json", tmp_path).read_text(), "download")
    assert len(values) >= 45
    assert not values.any()


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("undefined", "https"),
        (refused("NotAllowedError"), "allow it"),
        (refused("NotFoundError"), "connect one"),
        (refused("NotReadableError"), "close other programs"),
        (refused("OverconstrainedError"), "reason"),
    ],
)
def test_without_a_microphone_the_page_says_what_to_do_and_keeps_the_take(
    used: Any, hello: Path, devices: str, message: str
) -> None:
    choose(used, hello)
    with microphone(used, devices):
        used.get_by_role("button", name=VOICE).click()
        says(used, "#problem", "microphone: ")
        assert message in used.locator("#problem").inner_text()
    assert used.evaluate("page.frames") == 60
    assert used.get_by_role("button", name="Play", exact=True).is_enabled()
    assert used.get_by_role("button", name=VOICE).is_enabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "no artifact there, or it lacks config.yaml (HTTP 404)"),
        (lambda folder: (folder / "decoder.onnx").unlink(),
         "no artifact there, or it lacks decoder.onnx (HTTP 404)"),
        (lambda folder: (folder / "encoder.onnx").write_bytes(b"no graph"),
         "encoder.onnx cannot be loaded ("),
        (lambda folder: shutil.copy(folder / "encoder.onnx", folder / "personalizer.onnx"),
         "these are not a student's graphs ("),
        (lambda folder: (folder / "config.yaml").write_text("a: [1"),
         "config.yaml is not an artifact's configuration ("),
        (lambda folder: _rename(folder, "fft: 768", "fft: 800"),
         "config.yaml is not an artifact's configuration (front_end.fft is 800"),
        (lambda folder: (folder / "config.yaml").write_text("format_version: 1"),
         "artifact format 1, but this release reads 6; export it again"),
        (lambda folder: _rename(folder, "- ben\n", ""),
         "these are not a student's graphs (config.yaml has another number of names "
         "for identity)"),
    ],
)  # fmt: skip
def test_a_bad_artifact_gives_one_line_and_a_good_one_mends_it(
    used: Any, installed: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    other = installed / tmp_path.name  # another each time: the browser keeps files of a folder
    shutil.copytree(installed / "student", other)
    try:
        change(other)
        used.get_by_label("Student").fill(f"./{other.name}")
        used.keyboard.press("Enter")
        said = says(used, "#problem", f"./{other.name}: ")
    finally:
        shutil.rmtree(other, ignore_errors=True)
    assert said.startswith(f"./{other.name}: {message}")
    assert "\n" not in said
    assert used.locator("#speak").is_disabled()
    used.get_by_label("Student").fill("student")
    used.get_by_role("button", name="Load", exact=True).click()
    says(used, "#status", "Ready")
    assert used.locator("#problem").inner_text() == ""


def _rename(folder: Path, old: str, new: str) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(old, new, 1))


def test_a_student_of_whole_recordings_offers_no_microphone(page: Any) -> None:
    page.get_by_label("Student").fill("whole")
    page.keyboard.press("Enter")
    says(page, "#status", "cannot follow a microphone")
    assert page.locator("#speak").is_disabled()


@pytest.mark.parametrize("lost", ["**/js-yaml*", "**/three.module*"])
def test_a_missing_package_is_said(browser: Any, local: str, lost: str) -> None:
    page = browser.new_page()
    page.route(lost, lambda route: route.fulfill(status=404))
    page.goto(local)
    says(page, "#problem", "The page is not complete: run npm ci in its folder.")
    page.close()


def test_without_a_head_and_without_webgl_the_rest_works(
    browser: Any, local: str, hello: Path
) -> None:
    context = browser.new_context()
    context.add_init_script("HTMLCanvasElement.prototype.getContext = new Proxy("
        "HTMLCanvasElement.prototype.getContext, { apply: (get, canvas, [kind, ...more]) => "
        "kind.startsWith('webgl') ? null : get.call(canvas, kind, ...more) })")  # fmt: skip
    page = context.new_page()
    page.goto(local)
    says(page, "#status", "Ready")
    says(page, "#note", "This browser offers no WebGL")
    assert "60 frames" in choose(page, hello)
    assert blue(page) > 100
    context.close()
    page = browser.new_page()
    page.route("**/head.glb", lambda route: route.fulfill(status=404))
    page.goto(local)
    says(page, "#status", "Ready")
    says(page, "#note", "There is no head.glb beside this page")
    assert "60 frames" in choose(page, hello)
    page.close()


# With a server.


def test_a_server_animates(served: Any, hello: Path, settings: ServeSettings, tmp_path: Path):
    asked = []
    served.on("request", lambda request: asked.append(request.url))
    assert "60 frames in" in choose(served, hello)
    assert "model=calm&steps=2" in asked[-1]
    samples, rate = soundfile.read(hello, dtype="float32")
    post_process(served)
    assert "smooth_ms=100&mirror=true" in asked[-1]
    student = Student(settings.models["calm"])
    expected = student.animate(samples.mean(axis=1), rate, smooth_ms=100, mirror=True)
    values, _ = writers.read_coefficients(downloaded(served, "npz", tmp_path))
    np.testing.assert_allclose(values, expected.coefficients, atol=1e-4)
    assert downloaded(served, "glb", tmp_path).read_bytes()[:4] == b"glTF"
    served.keyboard.press("Shift+ArrowRight")
    time, influence = shown(served)
    assert influence == pytest.approx(between(values, time), abs=1e-4)
    served.get_by_label("Model").select_option("quick, 1 step")
    says(served, "#captions", "quick")
    assert not any("onnx" in url or "yaml" in url for url in asked)


def test_a_server_plays_an_example(served: Any) -> None:
    served.get_by_role("button", name="Happy woman").click()
    says(served, "#status", "happy.mp3: ")
    served.get_by_role("button", name="Pause").wait_for()
    served.wait_for_function("() => page.time > 0.3")


def test_a_busy_server_is_not_taken_for_a_folder_of_files(served: Any) -> None:
    served.route("**/v1/models", lambda route: route.fulfill(status=429, body="busy"))
    served.reload()
    says(served, "#problem", "asked too often")


def test_a_server_blends(served: Any, hello: Path) -> None:
    choose(served, hello)
    served.get_by_label("Emotion", exact=True).select_option("blend …")
    served.get_by_role("slider", name="anger").fill("1")
    says(served, "#status", ", 50 % neutral + 50 % anger;")


def test_a_server_follows_the_microphone(served: Any, tmp_path: Path) -> None:
    served.get_by_role("button", name=VOICE).click()
    assert "null" not in says(served, "#status", "Listening: "), "nobody has spoken yet"
    served.wait_for_function("() => page.frames >= 30")
    served.get_by_label("Identity", exact=True).select_option("ben")
    says(served, "#status", "Listening: ben")
    served.get_by_role("button", name="Stop").click()
    frames = int(says(served, "#status", "Stopped").split()[1])
    path = downloaded(served, "json", tmp_path)
    values, _ = beat.decode(path.read_text(), "download")
    assert (len(values), path.name) == (frames, "microphone.json")
    assert served.get_by_role("button", name="NPZ").is_disabled()


def test_who_speaks_again_at_once_begins_anew(served: Any, hello: Path) -> None:
    served.get_by_role("button", name=VOICE).click()
    assert "null" not in says(served, "#status", "Listening: "), "nobody has spoken yet"
    served.wait_for_function("() => page.frames >= 30")
    served.evaluate(
        "() => { const speak = document.querySelector('#speak'); speak.click(); speak.click(); }"
    )
    says(served, "#status", "Listening: ")
    served.wait_for_function("() => page.frames >= 10")
    served.get_by_role("button", name="Stop").click()
    says(served, "#status", "Stopped")
    # and a file that comes while the microphone opens is what stays
    served.evaluate("() => document.querySelector('#speak').click()")
    served.locator("#recording").set_input_files(hello)
    says(served, "#status", "60 frames in")
    served.wait_for_timeout(1000)
    assert served.locator("#status").inner_text().startswith(hello.name)
    assert served.get_by_role("button", name=VOICE).is_enabled()


@pytest.mark.parametrize("kind", ["page", "served"])
def test_a_voice_is_saved_and_used(
    request: pytest.FixtureRequest, kind: str, hello: Path, tmp_path: Path
) -> None:
    page = request.getfixturevalue(kind)
    path = tmp_path / "long.wav"
    soundfile.write(path, speech(4.0), RATE)

    def save(name: str) -> None:
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Save", exact=True).click()

    choose(page, hello)
    save("short")
    says(page, "#problem", "3 to 60 s")
    choose(page, path)
    save("anna")
    says(page, "#status", "anna, ")
    identity = page.get_by_label("Identity", exact=True)
    assert identity.input_value() == "anna"
    choose(page, hello)
    says(page, "#status", "hello.wav: anna, ")
    identity.select_option("blend …")  # of the library's alone
    says(page, "#status", "hello.wav: 100 % ada")
    assert page.locator("#identity-weights input").count() == 3
    save("ada")
    assert "ada" in says(page, "#problem", "ada")
    for name in ("blend …", " ", "a" * 65, "<b>"):  # the first is the entry that opens the sliders
        save(name)
        assert "name" in says(page, "#problem", "letters" if kind == "page" else "name")


def test_what_a_server_refuses_is_said_in_its_words(served: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not a sound")
    served.locator("#recording").set_input_files(path)
    said = says(served, "#problem", "body")
    assert "\n" not in said


def test_a_server_that_goes_away_is_missed(
    visit: Callable[..., Any], installed: Path, settings: ServeSettings, hello: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(serve.routes.page, "WEB", installed)
    with serving(settings) as address:
        page = ready(visit(address))
    page.locator("#recording").set_input_files(hello)
    says(page, "#problem", "The server does not answer; is it still running?")


def test_a_server_asks_for_its_key(
    visit: Callable[..., Any], installed: Path, settings: ServeSettings, hello: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(serve.routes.page, "WEB", installed)
    monkeypatch.setenv(VARIABLE, f"studio={KEY}")
    with serving(settings) as address:
        page = visit(address)
        says(page, "#problem", "API key")
        page.get_by_label("API key").fill("another-key-that-is-wrong")
        page.get_by_role("button", name="Use", exact=True).click()
        says(page, "#problem", "not known")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        ready(page)
        assert page.locator("#access").is_hidden()
        assert "60 frames" in choose(page, hello)
        page.get_by_role("button", name=VOICE).click()
        says(page, "#status", "Listening: ")
        page.get_by_role("button", name="Stop").click()
        says(page, "#status", "Stopped")
