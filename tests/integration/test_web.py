"""The student in a real browser: the numbers of Python."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.browsing import RATE, files_of, speech

from diffusiontalker import audio
from diffusiontalker.runtime import log_mel
from diffusiontalker.runtime.level import Level
from diffusiontalker.runtime.resampler import Resampler
from diffusiontalker.runtime.student import Student

WEB = Path(__file__).parents[2] / "web"
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


@pytest.fixture(scope="module")
def site(installed: Path) -> Iterator[tuple[Path, str]]:
    """Folder and address of the page."""
    with files_of(installed) as address:
        yield installed, address


@pytest.fixture(scope="module")
def runtime(browser: Any, site: tuple[Path, str]) -> Iterator[Any]:
    """A page that does nothing but run the modules of the student."""
    page = browser.new_page()
    page.route("**/page/main.js", lambda route: route.fulfill(content_type="text/javascript"))
    page.goto(site[1])
    yield page
    page.close()


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


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("student", {}),
        ("student", {"identity": "ben", "emotion": "anger"}),
        ("whole", {"identity": {"ada": 1, "cleo": 3}}),
    ],
    ids=["auto", "names", "weights"],
)
def test_a_recording_gets_pythons_face(runtime, site, folder, options) -> None:
    samples = speech(10.5)  # more than one chunk
    expected = Student(site[0] / folder).animate(samples, RATE, seed=5, **options)
    found = run(
        runtime,
        "return student.animate(samples, 16000, { ...given.options, noise });",
        samples,
        frames=315,
        folder=f"{site[1]}/{folder}",
        options=options,
    )
    face = coefficients(found["coefficients"])
    assert found["frames"] == len(face) == 315
    assert (found["identity"], found["emotion"]) == (expected.identity, expected.emotion)
    assert found["channels"][24] == "jawOpen"
    np.testing.assert_allclose(face, expected.coefficients, atol=TOLERANCE)
    assert face.std(axis=0).mean() > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("rate", "options"),
    [(RATE, {}), (44_100, {"identity": "ben", "emotion": "anger"}), (8_000, {})],
)
def test_a_stream_gets_pythons_face(runtime, site, rate, options) -> None:
    samples = speech(2.5, rate)
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
    assert len(face) == 75
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
        "whole: this student takes whole recordings only; distil one with student.look_ahead_ms",
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


def test_versions_are_exact_and_the_lock_names_no_address() -> None:
    package = json.loads((WEB / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        assert version == lock["packages"][f"node_modules/{name}"]["version"]
    installed = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in installed)
