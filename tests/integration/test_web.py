"""The student in a real browser: the numbers of Python, and a page that a person can use."""

import json
import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.unit import models

from diffusiontalker import audio
from diffusiontalker.animation import beat
from diffusiontalker.export import artifact
from diffusiontalker.runtime import log_mel
from diffusiontalker.runtime.level import Level
from diffusiontalker.runtime.resampler import Resampler
from diffusiontalker.runtime.student import Student

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WEB = Path(__file__).parents[2] / "web"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
NPM = shutil.which("npm")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH"),
    pytest.mark.skipif(NPM is None, reason="no npm on the PATH"),
]
RATE = audio.SAMPLE_RATE
TOLERANCE = 1e-3

# What the scripts below begin with: Python's noise takes the place of the browser's own.
BEGIN = """
    const ort = await import("onnxruntime-web");
    const { Student } = await import("/student.js");
    const student = await Student.load(given.folder, { ort });
    let drawn = 0;
    const noise = (frames) => new Float32Array(given.noise.slice(drawn, drawn += 52 * frames));
    const samples = new Float32Array(given.samples);
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder and address of the installed page, with a student in ``student/`` beside it, and one
    that hears whole recordings alone in ``whole/``."""
    folder = tmp_path_factory.mktemp("web") / "web"
    shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "student"))
    made = subprocess.run(
        [NPM, "ci", "--no-audit", "--no-fund"],
        cwd=folder, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    artifact.export(models.talker(teacher=False), 2, folder / "student", "# A student\n")
    whole = models.talker(teacher=False, look_ahead=None)
    artifact.export(whole, 2, folder / "whole", "# A student\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    """The recording that Chromium's microphone hears, again and again."""
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(path, speech(4.0, 48_000), 48_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(microphone):
    flags = (
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runtime(browser, site):
    """The page for those tests that only run its modules."""
    page = browser.new_page()
    page.goto(site[1])
    yield page
    page.close()


@pytest.fixture
def page(browser, site):
    """A fresh page, student loaded; fails at its end if there were errors or other requests."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            request.url.startswith((site[1], "data:", "blob:")) or complaints.append(request.url)
        ),
    )
    page.goto(site[1])
    says(page, "#status", "Ready")
    yield page
    context.close()
    assert complaints == []


def speech(seconds: float, rate: int = RATE) -> np.ndarray:
    """Something with a pitch, syllables and pauses: (n,) float32."""
    at = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * at), 0, None)
    hiss = np.random.default_rng(0).normal(0, 0.003, len(at))
    return (0.05 * tone * syllables + hiss).astype(np.float32)


def noise(frames: int, seed: int = 5) -> list[float]:
    """What Python's student of that seed draws for so many frames."""
    drawn = np.random.default_rng(seed).standard_normal((frames, 52), np.float32)
    return drawn.ravel().tolist()


def run(runtime, work: str, samples: np.ndarray, frames: int = 0, **given: Any) -> Any:
    """What ``work`` returns in the page; it finds a student, samples, noise and ``given`` there."""
    given = {"folder": "student", "samples": samples.tolist(), "noise": noise(frames)} | given
    # As text: playwright takes seconds for lists this long.
    answer = runtime.evaluate(
        f"""async (text) => {{
            const answer = async (given) => {{ {BEGIN} {work} }};
            const plain = (_, value) => (ArrayBuffer.isView(value) ? [...value] : value);
            return JSON.stringify(await answer(JSON.parse(text)), plain);
        }}""",
        json.dumps(given),
    )
    return json.loads(answer)


def coefficients(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 52)


def says(page, selector: str, text: str) -> str:
    """Wait until an element says it, and return all that it says."""
    element = page.locator(selector)
    sync_api.expect(element).to_contain_text(text, timeout=60_000)
    return element.inner_text()


def drawn(page) -> int:
    """Pixels of the canvas in the colour of the curves."""
    return page.locator("#curves").evaluate("""canvas => {
        const context = canvas.getContext("2d");
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const isCurve = (i) => data[i + 3] > 0 && data[i + 2] > data[i] + 60;
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += isCurve(i);
        return count;
    }""")


@pytest.mark.parametrize("folder", ["student", "whole"])
@pytest.mark.parametrize(
    "options",
    [{}, {"identity": "ben", "emotion": "anger"}, {"identity": {"ada": 1, "cleo": 3}}],
    ids=["auto", "names", "weights"],
)
def test_a_recording_gets_pythons_face(runtime, site, folder, options) -> None:
    samples = speech(12.3)  # more than one chunk
    expected = Student(site[0] / folder).animate(samples, RATE, seed=5, **options)
    found = run(
        runtime,
        "return student.animate(samples, 16000, { ...given.options, noise });",
        samples,
        frames=369,
        folder=f"{site[1]}/{folder}",
        options=options,
    )
    face = coefficients(found["coefficients"])
    assert found["frames"] == len(face) == 369
    assert (found["identity"], found["emotion"]) == (expected.identity, expected.emotion)
    assert found["channels"][24] == "jawOpen"
    np.testing.assert_allclose(face, expected.coefficients, atol=TOLERANCE)
    assert face.std(axis=0).mean() > 10 * TOLERANCE


@pytest.mark.parametrize("rate", [RATE, 44_100, 8_000])
@pytest.mark.parametrize(
    "options", [{}, {"identity": "ben", "emotion": "anger"}], ids=["auto", "names"]
)
def test_a_stream_gets_pythons_face(runtime, site, rate, options) -> None:
    samples = speech(4.0, rate)
    python = Student(site[0] / "student").stream(rate, seed=5, **options)
    expected = np.concatenate([python.push(samples), python.close()])
    found = run(
        runtime,
        """
        const stream = student.stream(given.rate, { ...given.options, noise });
        const pushed = [];
        for (let at = 0, size = 1; at < samples.length; at += size, size = (size * 7) % 1999) {
            pushed.push(stream.push(samples.subarray(at, at + size)));
        }
        pushed.push(stream.close());
        const face = (await Promise.all(pushed)).flatMap((piece) => [...piece]);
        const { lookAheadMs, identity, emotion } = stream;
        return { face, lookAheadMs, identity, emotion };
        """,
        samples,
        frames=len(expected),
        options=options,
        rate=rate,
    )
    face = coefficients(found["face"])
    assert len(face) == 120
    assert found["lookAheadMs"] == pytest.approx(python.look_ahead_ms)
    assert (found["identity"], found["emotion"]) == (python.identity, python.emotion)
    np.testing.assert_allclose(face, expected, atol=TOLERANCE)
    assert face.std(axis=0).mean() > 10 * TOLERANCE


def test_a_stream_glides_where_it_is_pinned(runtime, site) -> None:
    samples = speech(2.0)
    python = Student(site[0] / "student").stream(seed=5, identity="ada")
    expected = [python.push(samples[:RATE])]
    python.pin(identity="cleo", emotion="anger")
    expected += [python.push(samples[RATE:]), python.close()]
    found = run(
        runtime,
        """
        const stream = student.stream(16000, { identity: "ada", noise });
        const face = [...await stream.push(samples.subarray(0, 16000))];
        stream.pin({ identity: "cleo", emotion: "anger" });
        face.push(...await stream.push(samples.subarray(16000)), ...await stream.close());
        return face;
        """,
        samples,
        frames=60,
    )
    np.testing.assert_allclose(coefficients(found), np.concatenate(expected), atol=TOLERANCE)


def test_log_mel_and_level_and_resampler_are_pythons(runtime) -> None:
    samples = speech(2.0, 44_100)
    resampler = Resampler(44_100, RATE)
    resampled = np.concatenate([resampler.push(samples), resampler.close(len(samples))])
    prepared = audio.normalize(resampled)
    powers = np.square(resampled[:32000].reshape(-1, 320)).mean(axis=1)
    found = run(
        runtime,
        """
        const { Level } = await import("/level.js");
        const { frameCount, pad, power, standardise, starts } = await import("/log_mel.js");
        const { prepare } = await import("/audio.js");
        const { Resampler } = await import("/resampler.js");
        const resampler = new Resampler(44100, 16000);
        const resampled = [...resampler.push(samples), ...resampler.close(samples.length)];
        const prepared = prepare(samples, 44100);
        const mel = standardise(power(pad(prepared), starts(0, 2 * frameCount(prepared.length))));
        const level = new Level();
        const gains = given.powers.map((power) => level.next(power));
        return { resampled, prepared, mel, gains };
        """,
        samples,
        powers=powers.tolist(),
    )
    np.testing.assert_allclose(found["resampled"], resampled, atol=1e-6)
    np.testing.assert_allclose(found["prepared"], prepared, atol=1e-5)
    mel = np.array(found["mel"]).reshape(-1, 80)
    np.testing.assert_allclose(mel, log_mel.log_mel(prepared), atol=1e-4)
    np.testing.assert_allclose(found["gains"], Level()(powers)[:, 0], rtol=1e-4)


def test_the_browsers_own_noise_is_normal_and_follows_its_seed(runtime) -> None:
    values, same, other = run(
        runtime,
        """
        const { gaussian } = await import("/noise.js");
        const [one, two] = [gaussian(3, 52), gaussian(3, 52)];
        return [one(1000), [...two(1), ...two(2), ...two(997)], gaussian(4, 52)(1000)];
        """,
        np.zeros(0),
    )
    assert values == same
    values, other = np.array(values), np.array(other)
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(values) < 1.96).mean() == pytest.approx(0.95, abs=0.005)
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.02


MISTAKES = {
    "student.animate(samples, 16000, { identity: 'eve' })":
        "unknown identity 'eve'; known: ada, ben, cleo (or 'auto')",
    "student.animate(samples, 16000, { emotion: { anger: -1 } })":
        "emotion 'anger': weight -1; give 0 or more",
    "student.animate(samples, 16000, { emotion: { anger: 0 } })":
        "emotion: the weights are all zero",
    "student.animate(samples, 16000, { seed: -1 })": "seed -1: must be a whole number, 0 or more",
    "student.animate(samples.subarray(0, 1600), 16000)":
        "audio: 0.100 s; at least 0.2 s are needed",
    "student.animate(samples.map(() => NaN), 16000)": "audio: NaN or infinite samples",
    "student.animate([0, 0], 16000)": "audio: give mono samples as a Float32Array",
    "student.animate(samples, 999)": "audio: a sample rate of 999 Hz; expected 1000 to 384000",
    "student.stream(7999)": "audio: a sample rate of 7999 Hz; expected 8000 to 192000",
    "student.stream().push(samples.map(() => NaN))": "audio: NaN or infinite samples",
    "closed.push(samples)": "audio: the stream is closed; begin another",
    "closed.close()": "audio: the stream is closed already",
    "whole.stream()":
        "whole: this student hears whole recordings alone; distil one with student.look_ahead_ms",
}  # fmt: skip


def test_mistakes_are_refused_in_one_line(runtime) -> None:
    found = run(
        runtime,
        """
        const { UserError } = await import("/errors.js");
        const whole = await Student.load("whole", { ort });
        const closed = student.stream();
        await closed.close();
        const messages = {};
        for (const script of given.scripts) {
            try { await eval(script); } catch (error) {
                messages[script] = error instanceof UserError ? error.message : String(error);
            }
        }
        return messages;
        """,
        speech(1.0),
        scripts=list(MISTAKES),
    )
    assert found == MISTAKES


def test_a_stream_of_silence_and_one_of_nothing(runtime) -> None:
    silent, nothing = run(
        runtime,
        """
        const stream = student.stream();
        const silent = [...await stream.push(samples), ...await stream.close()];
        return [silent, await student.stream().close()];
        """,
        np.zeros(RATE),
    )
    assert coefficients(silent).shape == (30, 52)
    assert np.isfinite(silent).all()
    assert nothing == []


def test_a_chosen_recording_is_drawn_and_saved(page, tmp_path) -> None:
    path = tmp_path / "hello.wav"
    soundfile.write(path, np.stack([speech(3.0), 0 * speech(3.0)], axis=1), RATE)
    before = drawn(page)
    assert page.locator("#download").is_disabled()
    page.locator("#recording").set_input_files(path)
    said = says(page, "#status", "90 frames in")
    assert said.startswith("hello.wav: ")
    assert drawn(page) > before + 500
    with page.expect_download() as download:
        page.locator("#download").click()
    text = download.value.path().read_text()
    values, fps = beat.decode(text, "download")  # what other tools of the house read
    assert values.shape == (90, 52)
    assert fps == 30
    assert json.loads(text)["frames"][30]["time"] == 1.0
    page.get_by_label("Identity").select_option("cleo")
    says(page, "#status", "hello.wav: cleo")


def test_a_recording_is_dropped_in_any_common_format(page, tmp_path) -> None:
    for name in ("a.ogg", "b.mp3", "c.flac"):
        path = tmp_path / name
        soundfile.write(path, speech(2.0, 44_100), 44_100)
        page.evaluate(
            """([name, bytes]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], name));
                document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
            }""",
            [name, list(path.read_bytes())],
        )
        frames = int(says(page, "#status", f"{name}: ").split("; ")[1].split()[0])
        assert 60 <= frames <= 64  # mp3 pads its ends


def test_what_is_not_a_recording_is_said(page, tmp_path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not a sound")
    page.locator("#recording").set_input_files(path)
    assert says(page, "#problem", "notes.wav") == (
        "notes.wav: not a recording that this browser reads (wav, flac, ogg or mp3)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder),
         "./other: no artifact there, or it lacks config.yaml (HTTP 404)"),
        (lambda folder: (folder / "decoder.onnx").unlink(),
         "./other: no artifact there, or it lacks decoder.onnx (HTTP 404)"),
        (lambda folder: (folder / "encoder.onnx").write_bytes(b"no graph"),
         "./other: encoder.onnx cannot be loaded ("),
        (lambda folder: shutil.copy(folder / "encoder.onnx", folder / "personalizer.onnx"),
         "./other: these are not a student's graphs ("),
        (lambda folder: (folder / "config.yaml").write_text("a: [1"),
         "./other: config.yaml is not an artifact's configuration"),
        (lambda folder: (folder / "config.yaml").write_text("format_version: 1"),
         "./other: artifact format 1, but this release reads 2; export it again"),
        (lambda folder: _rename(folder, "- ben\n", ""),
         "./other: these are not a student's graphs (config.yaml has another number of names "
         "for identity)"),
    ],
)  # fmt: skip
def test_a_bad_artifact_gives_one_line_and_a_good_one_mends_it(page, site, change, message):
    other = site[0] / "other"
    shutil.copytree(site[0] / "student", other)
    try:
        change(other)
        page.locator("#folder").fill("./other")
        page.keyboard.press("Enter")
        said = says(page, "#problem", "./other")
    finally:
        shutil.rmtree(other, ignore_errors=True)
    assert said.startswith(message)
    assert "\n" not in said
    assert page.locator("#speak").is_disabled()
    page.locator("#folder").fill("student")
    page.get_by_role("button", name="Load", exact=True).click()
    says(page, "#status", "Ready")
    assert page.locator("#problem").inner_text() == ""


def _rename(folder: Path, old: str, new: str) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(old, new, 1))


def test_a_student_of_whole_recordings_offers_no_microphone(page) -> None:
    page.locator("#folder").fill("whole")
    page.keyboard.press("Enter")
    says(page, "#status", "Ready: choose a recording.")
    assert page.locator("#speak").is_disabled()


def test_the_microphone_moves_the_face(page) -> None:
    button = page.get_by_role("button", name="Speak")
    button.focus()
    page.keyboard.press("Enter")
    says(page, "#status", "Listening: ")
    end = time.monotonic() + 30
    while frames(page, "frames,") < 45:
        assert time.monotonic() < end, "the microphone is silent"
        time.sleep(0.1)
    assert drawn(page) > 500
    page.get_by_label("Identity").select_option("ben")
    says(page, "#status", "Listening: ben")
    page.get_by_role("button", name="Stop").click()
    says(page, "#status", "Stopped")
    count = frames(page, "frames")
    with page.expect_download() as download:
        page.locator("#download").click()
    values, _ = beat.decode(download.value.path().read_text(), "download")
    assert len(values) == count
    assert values.std(axis=0).mean() > 10 * TOLERANCE


def frames(page, before: str) -> int:
    """The number that stands before that word in the page's status."""
    words = page.locator("#status").inner_text().split()
    return int(words[words.index(before) - 1])


def test_a_missing_package_is_said(browser, site) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/js-yaml*", lambda route: route.fulfill(status=404))
    page.goto(site[1])
    says(page, "#problem", "The page is not complete: run npm ci in its folder.")
    context.close()


def test_nothing_sticks_out_on_a_phone(browser, site) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(site[1])
    says(page, "#status", "Ready")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()


def test_versions_are_exact_and_the_lock_names_no_address() -> None:
    package = json.loads((WEB / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        assert version == lock["packages"][f"node_modules/{name}"]["version"]
    installed = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in installed)
