"""The student in a real browser: the numbers of Python."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.browsing import RATE, files_of, speech

from diffusiontalker.audio import log_mel
from diffusiontalker.audio.level import Level, normalize
from diffusiontalker.audio.resampler import Resampler
from diffusiontalker.runtime.noise import Noise
from diffusiontalker.runtime.student import Student

WEB = Path(__file__).parents[2] / "web"
TOLERANCE = 1e-3

# What the scripts below begin with.
BEGIN = """
    const ort = await import("onnxruntime-web");
    const { Student } = await import("/student.js");
    const student = await Student.load(given.folder, { ort });
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


def run(runtime, work: str, samples: np.ndarray, **given: Any) -> Any:
    """What ``work`` returns in the page; it finds a student, samples and ``given`` there."""
    given = {"folder": "student", "samples": samples.tolist()} | given
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
        "return student.animate(samples, 16000, { ...given.options, seed: 5 });",
        samples,
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
    if not options:
        samples[: rate // 2] = 0  # nobody speaks at first
    python = Student(site[0] / "student").stream(rate, seed=5, **options)
    expected = np.concatenate([python.push(samples), python.close()])
    found = run(
        runtime,
        """
        const stream = student.stream(given.rate, { ...given.options, seed: 5 });
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
        const stream = student.stream(16000, { identity: "ada", seed: 5 });
        const face = [...await stream.push(samples.subarray(0, 16000))];
        stream.pin({ identity: "cleo", emotion: "anger" });
        face.push(...await stream.push(samples.subarray(16000)), ...await stream.close());
        return face;
        """,
        samples,
    )
    np.testing.assert_allclose(coefficients(found), np.concatenate(expected), atol=TOLERANCE)


def test_log_mel_and_level_and_resampler_are_pythons(runtime) -> None:
    samples = speech(2.0, 44_100)
    resampler = Resampler(44_100, RATE)
    resampled = np.concatenate([resampler.push(samples), resampler.close(len(samples))])
    prepared = normalize(resampled)
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


@pytest.mark.parametrize("seed", [0, 3, 2**32 + 1, 2**53 - 1])
def test_the_noise_is_pythons(runtime, seed: int) -> None:
    found = run(
        runtime,
        """
        const { gaussian } = await import("/noise.js");
        const [one, two] = [gaussian(given.seed, 52), gaussian(given.seed, 52)];
        return [one(50), [...two(1), ...two(2), ...two(47)]];
        """,
        np.zeros(0),
        seed=seed,
    )
    expected = Noise(seed)(50).ravel()
    for values in found:
        # a cosine may differ in its last bit
        np.testing.assert_allclose(values, expected, rtol=3e-7, atol=1e-9)


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
        "whole: this student takes whole recordings only; distil one with "
        "model.shared.look_ahead_ms",
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


def test_silence_is_at_rest(runtime, site) -> None:
    samples = np.full(RATE, 1e-4, np.float32)
    samples[::2] *= -1
    found = run(runtime, "return student.animate(samples, 16000, { emotion: 'anger' });", samples)
    expected = Student(site[0] / "student").animate(samples, RATE, emotion="anger")
    assert not np.any(found["coefficients"])
    assert (found["frames"], found["identity"], found["emotion"]) == (30, None, "anger")
    assert tuple(found["notes"]) == expected.notes


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
    assert not np.any(silent)  # at rest
    assert nothing == []


def test_versions_are_exact_and_the_lock_names_no_address() -> None:
    package = json.loads((WEB / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        assert version == lock["packages"][f"node_modules/{name}"]["version"]
    installed = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in installed)
