"""The student in a real browser: the numbers of Python."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.browsing import RATE, files_of, speech
from tests.tools import tool
from tests.unit import models

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio import log_mel
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import normalize
from diffusiontalker.audio.resampler import Resampler
from diffusiontalker.diffusion.noise import correlations
from diffusiontalker.export import precision
from diffusiontalker.runtime.artifact import RANGES
from diffusiontalker.runtime.blinks import BlinkParameters, Blinks
from diffusiontalker.runtime.noise import Noise, NoiseParameters
from diffusiontalker.runtime.stream_batch.running_level import RunningLevel
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.student import Student

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
TOLERANCE = 1e-3
INT8_STREAM = 0.03
"""Tolerance of streams: Python's run frame.onnx, whose 8-bit ranges are calibrated separately."""
OTHER = {
    "front_end": {"floor": 3e-4, "mean": -3.0, "scale": 2.5, "level_db": -20.0, "span_db": 20},
    "stream": {
        "level_memory": 200, "level_trust": 10.0, "level_max_db": 8.0, "early_frames": 21,
        "update_frames": [3, 7], "glide": [0.8, 0.3], "voice_seconds": [5.0, 1.0], "rise_frames": 9,
    },
}  # fmt: skip
"""Parameters that no release was exported with."""

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


@pytest.fixture(scope="module")
def int8(site: tuple[Path, str]) -> Path:
    """The student with 8-bit layers, beside it on the site."""
    folder = shutil.copytree(site[0] / "student", site[0] / "int8")
    precision.int8(folder, [models.clip("c", frames=60, audio=speech(2.0))])
    return folder


@pytest.fixture(scope="module")
def other(site: tuple[Path, str]) -> Path:
    """The student with ``OTHER`` parameters, beside it on the site."""
    folder = shutil.copytree(site[0] / "student", site[0] / "parameters")
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for block, values in OTHER.items():
        assert config[block].keys() >= values.keys()
        config[block] |= values
    path.write_text(yaml.safe_dump(config))
    return folder


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


def in_javascript(options: dict[str, Any]) -> dict[str, Any]:
    """Options by their names there."""
    return {{"smooth_ms": "smoothMs"}.get(name, name): value for name, value in options.items()}


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("student", {}),
        ("student", {"identity": "ben", "emotion": "anger"}),
        ("whole", {"identity": {"ada": 1, "cleo": 3}}),
        ("student", {"smooth_ms": 120.0}),
        ("student", {"mirror": True, "emotion": "anger"}),
    ],
    ids=["auto", "names", "weights", "smooth", "mirror"],
)
def test_a_recording_gets_pythons_face(runtime, site, folder, options) -> None:
    samples = speech(10.5)  # more than one chunk
    expected = Student(site[0] / folder).animate(samples, RATE, seed=5, **options)
    if options.keys() & {"smooth_ms", "mirror"}:
        plain = Student(site[0] / folder).animate(samples, RATE, seed=5)
        assert np.abs(plain.coefficients - expected.coefficients).max() > 10 * TOLERANCE
    found = run(
        runtime,
        "return student.animate(samples, 16000, { ...given.options, seed: 5 });",
        samples,
        folder=f"{site[1]}/{folder}",
        options=in_javascript(options),
    )
    face = coefficients(found["coefficients"])
    assert found["frames"] == len(face) == 315
    assert (found["identity"], found["emotion"]) == (expected.identity, expected.emotion)
    assert found["channels"][24] == "jawOpen"
    np.testing.assert_allclose(face, expected.coefficients, atol=TOLERANCE)
    assert face.std(axis=0).mean() > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (RATE, {}),
        (44_100, {"identity": "ben", "emotion": "anger"}),
        (8_000, {"smooth_ms": 80.0, "mirror": True}),
        (48_000, {}),
    ],
)
def test_a_stream_gets_pythons_face(runtime, site, rate, options) -> None:
    samples = speech(2.5, rate)
    if "identity" not in options:
        samples[: rate // 2] = 0  # no speech at first
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
        options=in_javascript(options),
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


BOTH = """
    const { coefficients, identity } = await student.animate(samples, 16000, given.options);
    const stream = student.stream(16000, given.options);
    const face = [...await stream.push(samples), ...await stream.close()];
    return { coefficients, identity, face, names: [stream.identity, stream.emotion] };
"""


def test_an_int8_artifact_gets_pythons_face(runtime, int8) -> None:
    samples, options = speech(3.0), {"identity": "ben", "emotion": "anger", "seed": 5}
    expected = Student(int8).animate(samples, RATE, **options).coefficients
    stream = Student(int8).stream(**options)
    streamed = np.concatenate([stream.push(samples), stream.close()])
    found = run(runtime, BOTH, samples, folder="int8", options=options)
    np.testing.assert_allclose(coefficients(found["coefficients"]), expected, atol=TOLERANCE)
    # A value that is rounded to the other of two steps moves a gaze by more for a moment.
    errors = np.abs(coefficients(found["face"]) - streamed)
    assert np.quantile(errors, 0.99) < INT8_STREAM
    assert errors.max() < 5 * INT8_STREAM
    assert expected.std(axis=0).mean() > 10 * TOLERANCE
    assert streamed.std(axis=0).mean() > 2 * INT8_STREAM


def test_the_parameters_of_the_artifact_hold(runtime, site, other) -> None:
    samples = speech(3.0)
    samples[:RATE] *= 0.01  # quieter first
    expected = Student(other).animate(samples, RATE)
    stream = Student(other).stream()
    streamed = np.concatenate([stream.push(samples), stream.close()])
    found = run(runtime, BOTH, samples, folder="parameters", options={})
    assert found["identity"] == expected.identity
    assert found["names"] == [stream.identity, stream.emotion]
    np.testing.assert_allclose(
        coefficients(found["coefficients"]), expected.coefficients, atol=TOLERANCE
    )
    np.testing.assert_allclose(coefficients(found["face"]), streamed, atol=TOLERANCE)
    usual = Student(site[0] / "student").stream()
    usual = np.concatenate([usual.push(samples), usual.close()])
    assert np.abs(usual - streamed).max() > 10 * TOLERANCE


def test_a_voice_is_recognised_and_used_for_another_recording(runtime, site) -> None:
    voice, samples = speech(3.0)[::-1].copy(), speech(2.0)
    python = Student(site[0] / "student")
    known = python.recognise(voice, RATE)
    expected = python.animate(samples, RATE, identity=known.identity)
    stream = python.stream(identity=known.identity)
    streamed = np.concatenate([stream.push(samples), stream.close()])
    found = run(
        runtime,
        """
        const known = await student.recognise(new Float32Array(given.voice), 16000);
        given.options = { identity: known.identity };
        const made = await (async () => { """
        + BOTH
        + """ })();
        return { known, ...made };
        """,
        samples,
        voice=voice.tolist(),
    )
    np.testing.assert_allclose(found["known"]["identity"], known.identity, atol=TOLERANCE)
    np.testing.assert_allclose(found["known"]["emotion"], known.emotion, atol=TOLERANCE)
    assert found["known"]["identities"] == pytest.approx(known.identities, abs=TOLERANCE)
    assert found["known"]["emotions"] == pytest.approx(known.emotions, abs=TOLERANCE)
    assert found["identity"] is expected.identity is None
    np.testing.assert_allclose(
        coefficients(found["coefficients"]), expected.coefficients, atol=TOLERANCE
    )
    np.testing.assert_allclose(coefficients(found["face"]), streamed, atol=TOLERANCE)
    assert found["names"] == [stream.identity, stream.emotion]


def test_a_microphone_of_48_khz_gets_pythons_face(runtime, site) -> None:
    found = run(
        runtime,
        """
        const { open } = await import("/page/microphone.js");
        const own = AudioContext;
        globalThis.AudioContext = class extends own {
            constructor() { super({ sampleRate: 48000 }); }
        };
        const source = await open();
        globalThis.AudioContext = own;
        const stream = student.stream(source.rate, { identity: "ben", seed: 5 });
        const chunks = [];
        const pushed = [];
        await new Promise((done) => {
            source.port.onmessage = ({ data }) => {
                chunks.push([...data]);
                pushed.push(stream.push(data));
                if (chunks.length * data.length >= 2 * source.rate) done();
            };
        });
        source.port.onmessage = null;
        await source.stop();
        pushed.push(stream.close());
        const face = (await Promise.all(pushed)).flatMap((piece) => [...piece]);
        return { rate: source.rate, samples: chunks.flat(), face };
        """,
        np.zeros(0),
    )
    assert found["rate"] == 48_000
    samples = np.array(found["samples"], np.float32)
    assert samples.std() > 1e-3, "the microphone is open"
    stream = Student(site[0] / "student").stream(found["rate"], identity="ben", seed=5)
    expected = np.concatenate([stream.push(samples), stream.close()])
    assert 60 <= len(expected) <= 62
    np.testing.assert_allclose(coefficients(found["face"]), expected, atol=TOLERANCE)


def test_log_mel_and_level_and_resampler_are_pythons(runtime) -> None:
    samples = speech(2.0, 44_100)
    resampler = Resampler(44_100, RATE)
    resampled = np.concatenate([resampler.push(samples), resampler.close(len(samples))])
    prepared = normalize(resampled)
    powers = np.square(resampled[:32000].reshape(-1, 320)).mean(axis=1)
    found = run(
        runtime,
        """
        const { RunningLevel } = await import("/running_level.js");
        const { frameCount } = await import("/log_mel.js");
        const audio = await import("/audio.js");
        const { logMel } = student;
        const { Resampler } = await import("/resampler.js");
        const resampler = new Resampler(44100, 16000);
        const resampled = [...resampler.push(samples), ...resampler.close(samples.length)];
        const prepared = audio.normalize(audio.resampled(samples, 44100), logMel.frontEnd);
        const at = logMel.starts(0, 2 * frameCount(prepared.length));
        const mel = logMel.standardise(logMel.power(logMel.pad(prepared), at));
        const level = new RunningLevel(logMel.frontEnd, student.streamParameters);
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
    np.testing.assert_allclose(
        found["gains"], RunningLevel(TRAINING, StreamParameters())(powers)[:, 0], rtol=1e-4
    )


@pytest.mark.parametrize("seed", [0, 3, 2**32 + 1, 2**53 - 1])
def test_the_noise_is_pythons(runtime, seed: int) -> None:
    speeds = np.random.default_rng(0).uniform(0, 0.6, (2, 52))
    parameters = NoiseParameters(*map(tuple, correlations(*speeds).tolist()), gaze_threshold=1.5)
    found = run(
        runtime,
        """
        const { coloured } = await import("/noise.js");
        const [one, two] = [coloured(given.seed, given.lags), coloured(given.seed, given.lags)];
        return [one(50), [...two(1), ...two(2), ...two(47)]];
        """,
        np.zeros(0),
        seed=seed,
        lags=asdict(parameters),
    )
    expected = Noise(seed, parameters)(50).ravel()
    for values in found:
        # a cosine may differ in its last bit
        np.testing.assert_allclose(values, expected, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 2**53 - 1])
def test_the_blinks_are_pythons(runtime, seed: int) -> None:
    shape, face = (0.25, 0.9, 0.5), np.full((900, 52), 0.2, np.float32)
    probability = np.random.default_rng(1).uniform(0, 0.1, 900).astype(np.float32)
    found = run(
        runtime,
        """
        const { Blinks } = await import("/blinks.js");
        const blinks = new Blinks(given.channels, { shape: given.shape }, given.seed);
        const process = (from, to) => {
          const face = new Float32Array((to - from) * 52).fill(0.2);
          return blinks.process(face, Float32Array.from(given.p.slice(from, to)));
        };
        return [...process(0, 1), ...process(1, 5), ...process(5, 900)];
        """,
        np.zeros(0),
        seed=seed,
        shape=shape,
        channels=list(CHANNELS),
        p=probability.tolist(),
    )
    expected = Blinks(seed, BlinkParameters(shape))(face, probability)
    assert (expected > 0.9).sum() > 20
    np.testing.assert_allclose(np.reshape(found, (900, 52)), expected, atol=1e-6)


MISTAKES = {
    "student.animate(samples, 16000, { identity: 'eve' })":
        "unknown identity 'eve'; known: ada, ben, cleo (or 'auto')",
    "student.animate(samples, 16000, { emotion: { anger: -1 } })":
        "emotion 'anger': weight -1; give 0 or more",
    "student.animate(samples, 16000, { emotion: { anger: 0 } })":
        "emotion: the weights or the embedding are all zero or not finite",
    "student.animate(samples, 16000, { identity: new Float32Array(3) })":
        "identity: an embedding of 3 numbers; this student's have 8",
    "student.animate(samples, 16000, { smoothMs: 1001 })": "smoothMs 1001: must be from 0 to 1000",
    "student.stream(16000, { mirror: 1 })": "mirror 1: must be true or false",
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


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
REFUSED = {
    "front_end:\n  window: 1000000000": "front_end.window is 1000000000; must be from 16 to 8000",
    "front_end:\n  stem: 1000000000": "front_end.stem is 1000000000;",
    "front_end:\n  fft: 1024": "3 * 2^n",
    "front_end:\n  floor_db: -1000000000": "front_end.floor_db is -1000000000;",
    "front_end:\n  scale: .nan": "front_end.scale is NaN;",
    "front_end:\n  bands: '80'": "front_end.bands is 80;",
    "stream:\n  update_frames: [0, 1]": "stream.update_frames is 0, 1;",
    "stream:\n  early_frames: -1": "stream.early_frames is -1;",
    "stream:\n  glide: [1, 2]": "stream.glide is 1, 2;",
    f"a0: &a0 [0]\n{BOMB}fps: *a9": "fps is no number;",
}
"""A part of config.yaml that replaces the student's own, and why the page cannot honour it."""


def test_values_that_the_page_cannot_honour_are_refused(runtime, site) -> None:
    own = yaml.safe_load((site[0] / "student" / "config.yaml").read_text())
    for number, part in enumerate(REFUSED):
        changes = {} if "&" in part else yaml.safe_load(part)
        left = {key: value for key, value in own.items() if f"{key}: *" not in part}
        changed = {
            key: value | changes[key] if key in changes else value for key, value in left.items()
        }
        folder = site[0] / f"refused-{number}"
        folder.mkdir()
        text = yaml.safe_dump(changed) + (part if "&" in part else "")
        (folder / "config.yaml").write_text(text)
    found = run(
        runtime,
        """
        const { UserError } = await import("/errors.js");
        const messages = [];
        for (let n = 0; n < given.count; n++) {
            try {
                await Student.load(`refused-${n}`, { ort });
                messages.push("loaded");
            } catch (error) {
                messages.push(error instanceof UserError ? error.message : `internal: ${error}`);
            }
        }
        return messages;
        """,
        np.zeros(0),
        count=len(REFUSED),
    )
    for message, reason in zip(found, REFUSED.values(), strict=True):
        assert reason in message
        assert "config.yaml is not an artifact's configuration" in message


def test_the_page_has_pythons_ranges(runtime) -> None:
    found = run(runtime, "return (await import('/artifact.js')).RANGES;", np.zeros(0))
    assert found == {key: list(limits) for key, limits in RANGES.items()}


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
    wanted = package["dependencies"] | package["devDependencies"]
    top = lock["packages"][""]
    assert top["dependencies"] | top["devDependencies"] == wanted
    for name, version in wanted.items():
        assert version == lock["packages"][f"node_modules/{name}"]["version"]
    installed = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in installed)


def test_the_reports_script_is_what_the_sources_build(installed: Path, tmp_path: Path) -> None:
    built = tmp_path / "face.bundle.js"
    subprocess.run([tool("node"), "build.js", built], cwd=installed, check=True, timeout=60)
    kept = ROOT / "platform" / "diffusiontalker" / "report" / "face.bundle.js"
    assert built.read_bytes() == kept.read_bytes(), "run `npm run build` in web/"
    assert kept.stat().st_size < 1_000_000
