"""The artifact: equal to PyTorch, sound in every door, and free of torch when it runs."""

import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from tests.refusals import refusal
from tests.unit import models

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.config import PersonalizerSettings
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.measure import embed_and_sample
from diffusiontalker.export import artifact
from diffusiontalker.export.graph_modules import _zrn
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import PARTS, read_config
from diffusiontalker.runtime.offline import log_mel_chunks
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice_statistics import VoiceStatistics, moments

EXAMPLE = Path(__file__).parents[2] / "examples" / "embed.py"
STEPS = 2
OTHER: dict[str, Any] = {
    "kind": "gru",
    "depth": 0,
    "audio_dim": 6,
    "encoder_width": 10,
    "encoder_depth": 1,
    "personalizer": PersonalizerSettings(dim=4, fused=8),
}
"""A causal student of other widths than most have here."""
RATE = 16_000


@pytest.fixture(scope="module")
def talker() -> Talker:
    return models.talker(teacher=False)


@pytest.fixture(scope="module")
def folder(talker: Talker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "student"
    artifact.export(talker, STEPS, path, "# A student\n")
    return path


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of other widths."""
    path = tmp_path_factory.mktemp("stranger") / "student"
    artifact.export(models.talker(teacher=False, **OTHER), 1, path, "")
    return path


@pytest.fixture(scope="module")
def student(folder: Path) -> Student:
    return Student(folder)


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(folder, tmp_path / "student")


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    voice = np.sin(2 * np.pi * (120 + 40 * seed) * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (0.3 * voice + 0.02 * rng.normal(size=len(t))).astype(np.float32)


def with_torch(
    talker: Talker,
    log_mel: np.ndarray,
    noise: np.ndarray,
    identity: int | None,
    emotion: int | None,
    steps: int,
) -> tuple[np.ndarray, int, int]:
    """The face by the PyTorch model, chosen entries included, without the code of the graph."""
    mask = torch.ones(1, noise.shape[1], 1)
    with torch.no_grad():
        audio = talker.encode(torch.from_numpy(log_mel), mask)
        voice = talker.embed_voice(audio, mask)
        libraries = talker.personalizer.identities(), talker.personalizer.emotions()
        chosen = [
            int((heard @ library.T).argmax()) if given is None else given
            for given, heard, library in zip(
                (identity, emotion), (voice.identity, voice.emotion), libraries, strict=True
            )
        ]
        entries = [library[i][None] for library, i in zip(libraries, chosen, strict=True)]
        condition = talker.condition(audio, *entries, mask)
        face = talker.generate(condition, torch.from_numpy(noise), steps)
    return face.numpy(), *chosen


def run_both(
    student: Student,
    talker: Talker,
    frames: int,
    seed: int,
    identity: int | None,
    emotion: int | None,
    cuts: tuple[int, ...] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """The same clip by graphs, in chunks that end at ``cuts``, and by torch."""
    rng = np.random.default_rng(seed)
    log_mel = rng.normal(size=(2 * frames, 80)).astype(np.float32)
    noise = rng.normal(size=(frames, 52)).astype(np.float32)
    ahead = 2 if student.look_ahead is None else student.look_ahead
    rows = {k: row for k, row in enumerate(log_mel, start=4 - ahead) if k >= 0}
    mel = np.array([rows.get(k, np.zeros(80)) for k in range(2 * frames + 3)], np.float32)
    chunks = list(pairwise([0, *cuts, frames]))
    state, statistics = student.graphs.new_state(), VoiceStatistics()
    heard = []
    for begin, end in chunks:
        features, voice = student.graphs.encode(mel[2 * begin : 2 * end + 3], state)
        heard.append(features)
        statistics.add(moments(voice))
    voices = [rows[0] for rows in student.graphs.personalise(*statistics())]
    embeddings = []
    chosen = []
    for library, index, embedding in zip(
        student.libraries, (identity, emotion), voices, strict=True
    ):
        chosen.append(library.nearest(embedding) if index is None else index)
        embeddings.append(library.entries[chosen[-1]])
    modulation = student.graphs.modulate(*(embedding[None] for embedding in embeddings))
    face = [
        student.graphs.decode(features, noise[begin:end], modulation, state)[0]
        for features, (begin, end) in zip(heard, chunks, strict=True)
    ]
    theirs, *right = with_torch(
        talker, log_mel[None], noise[None], identity, emotion, student.steps
    )
    assert chosen == right
    return np.concatenate(face), theirs[0]


@pytest.mark.parametrize("frames", [1, 7, 90, 400])
@pytest.mark.parametrize(
    ("seed", "identity", "emotion"), [(0, None, None), (1, 2, None), (2, None, 1), (3, 0, 0)]
)
def test_graphs_are_the_model(
    student: Student,
    talker: Talker,
    frames: int,
    seed: int,
    identity: int | None,
    emotion: int | None,
) -> None:
    ours, theirs = run_both(student, talker, frames, seed, identity, emotion)
    assert ours.shape == (frames, len(CHANNELS))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        # Graphs that others trace, too.
        ({"look_ahead": -2}, STEPS),
        ({"look_ahead": 1}, STEPS),
        ({"look_ahead": 8}, STEPS),
        ({"kind": "gru"}, STEPS),
        (OTHER, 1),
    ],
    ids=["before", "near", "far", "gru", "other"],
)
def test_every_causal_student_in_chunks(shape: dict[str, Any], steps: int, tmp_path: Path) -> None:
    talker = models.talker(teacher=False, **shape)
    before = dict(talker.named_modules())
    artifact.export(talker, steps, tmp_path / "out", "")
    assert dict(talker.named_modules()) == before
    student = Student(tmp_path / "out")
    for cuts in ((), (1,), (1, 2, 3, 10, 89)):
        ours, theirs = run_both(student, talker, 90, 5, None, 1, cuts)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("kind", [{}, {"kind": "gru", "depth": 0}], ids=str)
def test_a_student_that_hears_whole_recordings(kind: dict[str, Any], tmp_path: Path) -> None:
    talker = models.talker(teacher=False, look_ahead=None, **kind)
    artifact.export(talker, 1, tmp_path / "out", "")
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["look_ahead"] is config["stream"] is None
    student = Student(tmp_path / "out")
    for frames in (6, 7, 90, 400):
        ours, theirs = run_both(student, talker, frames, frames, None, 1)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert student.animate(speech(20.0), RATE).coefficients.shape == (600, 52)
    with pytest.raises(UserError, match="takes whole recordings only"):
        student.stream()


def test_cross_attention_is_exported(tmp_path: Path) -> None:
    settings = PersonalizerSettings(dim=8, fused=8, fusion="cross")
    own = models.talker(teacher=False, personalizer=settings)
    artifact.export(own, 1, tmp_path / "a", "# A student\n")  # which compares it with the model
    assert Student(tmp_path / "a").config.model["personalizer"]["fusion"] == "cross"


def test_onnx_gates_by_hand() -> None:
    # torch: reset, update, new; ONNX: update, reset, new
    rows = torch.tensor([[1.0], [2.0], [3.0]])
    assert _zrn(rows).flatten().tolist() == [2, 1, 3]


def test_artifact_holds_what_it_should(folder: Path, talker: Talker) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(read_config(folder).files)
    assert not folder.with_name("student.partial").exists()
    assert (folder / "README.md").read_text() == "# A student\n"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["channels"] == list(CHANNELS)
    assert (config["steps"], config["fps"], config["sample_rate"]) == (STEPS, 30, RATE)
    assert type(talker.config).from_dict(config["model"]) == talker.config
    for name in read_config(folder).graphs:
        onnx.checker.check_model(folder / name)
        assert b"/diffusiontalker/" not in (folder / name).read_bytes()  # no path of this machine
    expected = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    assert artifact.size_mb(folder) == pytest.approx(expected)


def test_an_artifact_carries_front_end_and_stream_parameters(folder: Path) -> None:
    """Format 4: numbers as ``web/`` reads them."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["format_version"] == 6
    assert config["front_end"] == {
        "window": 640, "fft": 768, "bands": 80, "mel_per_frame": 2, "floor": 1e-4, "mean": -3.5,
        "scale": 3.0, "stem": 5, "level_db": -23.0, "floor_db": -65, "span_db": 25,
    }  # fmt: skip
    assert config["stream"] == {
        "level_memory": 1800.0, "level_trust": 30.0, "level_max_db": 30.0, "early_frames": 60,
        "update_frames": [2, 10], "glide": [1.0, 0.5], "voice_seconds": [60.0, 8.0],
        "rise_frames": 4,
    }  # fmt: skip
    assert read_config(folder).to_dict() == config | {
        "stream": {
            key: tuple(v) if isinstance(v, list) else v for key, v in config["stream"].items()
        }
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("front_end.window", 400), ("front_end.fft", 1024), ("front_end.floor", 1e-2),
        ("front_end.mean", -3.0), ("front_end.scale", 4.0), ("front_end.level_db", -33.0),
        ("front_end.floor_db", -20), ("front_end.span_db", 3), ("stream.level_memory", 10),
        ("stream.level_trust", 1.0), ("stream.level_max_db", 0.5), ("stream.early_frames", 2),
        ("stream.update_frames", [7, 11]), ("stream.glide", [0.2, 0.1]),
        ("stream.rise_frames", 20),
    ],
)  # fmt: skip
def test_every_parameter_is_honoured(student: Student, own: Path, key: str, value: Any) -> None:
    """Another value, another face: of a stream, and of a recording where it is the front end's."""
    edit(key, value)(own)
    other = Student(own)
    loud, soft = speech(1.0), 0.1 * speech(1.5, seed=1)
    samples = np.concatenate([0.001 * speech(1.0), loud, soft])
    faces = [one.stream(seed=1).push(samples) for one in (student, other)]
    if key != "front_end.window":  # which is a part of the look-ahead
        assert len(faces[0]) == len(faces[1])
    length = min(map(len, faces))
    assert not np.allclose(faces[0][:length], faces[1][:length], atol=1e-6)
    whole = [one.animate(samples, RATE, seed=1).coefficients for one in (student, other)]
    assert np.allclose(*whole, atol=1e-6) == key.startswith("stream.")


@pytest.mark.parametrize(
    "edits",
    [
        {"look_ahead": -60}, {"look_ahead": 60},
        {"front_end.window": 16, "front_end.fft": 16},  # most mel bands hold no bin
        {"front_end.window": 8000, "front_end.fft": 8192},
        {"front_end.floor_db": -10, "front_end.span_db": 100, "stream.level_trust": 0.0},
        {"stream.level_memory": 1.0, "stream.voice_seconds": [1e-3, 1e9], "stream.glide": [0, 0]},
        {"stream.level_memory": 1e9, "stream.early_frames": 10**9, "stream.rise_frames": 10**6},
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_can_be_honoured(own: Path, edits: dict[str, Any]) -> None:
    for key, value in edits.items():
        edit(key, value)(own)
    student, samples = Student(own), speech(3.0)
    stream = student.stream()
    pushed = [stream.push(part) for part in np.array_split(samples, 40)]
    for found in (
        np.concatenate([*pushed, stream.close()]),
        student.animate(samples, RATE).coefficients,
    ):
        assert found.shape == (90, 52)
        assert np.isfinite(found).all()


def test_the_time_constants_of_the_voice_are_honoured(own: Path) -> None:
    edit("stream.voice_seconds", [2.0, 0.5])(own)
    stream = Student(own).stream()
    stream.push(speech(1.0))
    count = stream.batch.voices._sums[stream.row, 0]  # as of a constant 1, frame by frame
    ages = np.arange(stream.frames) / 30
    assert count[0] == pytest.approx(np.exp(-ages / 2.0).sum())
    assert count[-1] == pytest.approx(np.exp(-ages / 0.5).sum())


def test_an_export_replaces_the_artifact_and_keeps_what_lies_beside_it(own: Path) -> None:
    (own / "mine.txt").write_text("mine")
    (own / "frame.onnx").write_text("of a student that streams")
    artifact.export(models.talker(teacher=False, look_ahead=None), 1, own, "new")
    assert (own / "mine.txt").read_text() == "mine"
    assert not (own / "frame.onnx").exists()
    assert Student(own).steps == 1


def test_an_export_replaces_nothing_but_artifacts(
    tmp_path: Path, talker: Talker, folder: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files, such as notes/mine.txt"):
        artifact.export(talker, STEPS, tmp_path, "")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    with pytest.raises(UserError, match="is a whole bucket"):
        artifact.export(talker, STEPS, storage.location("s3://bucket"), "")
    # but what was left of an export that was killed
    left = tmp_path / "left"
    left.mkdir()
    shutil.copy(folder / "encoder.onnx", left)
    (left / ".0123.tmp").write_text("")
    artifact.export(talker, STEPS, left, "")
    assert Student(left).steps == STEPS


@pytest.mark.parametrize("ahead", [-2, 3, 6, 30, 60])
def test_a_recording_is_heard_to_its_end_however_far_a_student_looks(ahead: int) -> None:
    for frames in (6, 20, 58, 299, 300, 301, 302, 330, 600, 601):
        parts = list(log_mel_chunks(speech(frames / 30), ahead))
        (whole,) = log_mel_chunks(speech(frames / 30), ahead, frames=1000)
        assert frames <= (len(whole) - 3) // 2 <= frames + 1
        stacked = np.concatenate([*(part[:-3] for part in parts), parts[-1][-3:]])
        np.testing.assert_allclose(stacked, whole, atol=1e-5)


def test_a_teacher_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be exported"):
        artifact.export(models.talker(), STEPS, tmp_path / "out", "")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path, talker: Talker) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        artifact.export(talker, STEPS, tmp_path / "file" / "out", "")


def test_a_graph_that_does_not_agree_is_not_shipped(folder: Path, talker: Talker) -> None:
    assert artifact.check(folder, talker, STEPS) < artifact.TOLERANCE / 10
    with pytest.raises(UserError, match="differ from the model"):
        artifact.check(folder, models.talker(seed=9, teacher=False), STEPS)


# what people do with it


def test_the_most_similar_entry_and_named_ones(student: Student, talker: Talker) -> None:
    auto = student.animate(speech(1.0), RATE)
    assert auto.coefficients.shape == (30, 52)
    assert auto.coefficients.dtype == np.float32
    assert auto.fps == 30
    assert auto.identity in models.IDENTITIES
    assert auto.emotion in models.EMOTIONS
    # naming what auto finds is auto; naming anything else is another face
    for identity in models.IDENTITIES:
        for emotion in models.EMOTIONS:
            named = student.animate(speech(1.0), RATE, identity, emotion)
            assert (named.identity, named.emotion) == (identity, emotion)
            same = np.allclose(named.coefficients, auto.coefficients, atol=1e-5)
            assert same is ((identity, emotion) == (auto.identity, auto.emotion))


def test_one_seed_one_face(student: Student) -> None:
    one, two, three = (student.animate(speech(0.5), RATE, seed=s).coefficients for s in (7, 7, 8))
    assert np.array_equal(one, two)
    assert not np.allclose(one, three, atol=1e-3)
    assert ((one >= 0) & (one <= 1)).all()


def test_one_thread_does_all_the_work(student: Student) -> None:
    # A product that is a little too large has a BLAS wake threads for it, which wait for each other
    # by spinning: on a busy machine a recording then took 50 times as long.
    student.animate(speech(2.0), 16_000)
    all_threads, this_one = time.process_time(), time.thread_time()
    for seed in range(10):
        student.animate(speech(10.0, seed), 16_000)
    assert time.process_time() - all_threads < 1.3 * (time.thread_time() - this_one)


def test_any_recording(student: Student) -> None:
    mono = speech(2.0)
    face = student.animate(mono, RATE).coefficients
    # 8 kHz, stereo, 16-bit: the same sentence, the same face but for what 8 kHz leaves out
    narrow = mono.reshape(-1, 2).mean(1)
    pcm = np.round(np.stack([narrow, narrow], axis=1) * 32767).astype(np.int16)
    other = student.animate(pcm, 8_000)
    assert other.coefficients.shape == face.shape == (60, 52)
    assert np.isfinite(other.coefficients).all()
    doubled = student.animate(np.stack([mono, mono], axis=1), RATE).coefficients
    np.testing.assert_allclose(doubled, face, atol=1e-5)
    integers = student.animate(np.round(mono * 2**31 * 0.9).astype(np.int32), RATE).coefficients
    np.testing.assert_allclose(integers, face, atol=1e-3)


@pytest.mark.parametrize(("samples", "frames"), [(3200, 6), (3201, 7), (16_000, 30)])
def test_every_frame_within_the_recording(student: Student, samples: int, frames: int) -> None:
    assert len(student.animate(speech(2.0)[:samples], RATE).coefficients) == frames


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": "adda"}, "unknown identity 'adda'; did you mean 'ada'? (or 'auto')"),
        ({"identity": "zzz"}, "unknown identity 'zzz'; known: ada, ben, cleo (or 'auto')"),
        ({"emotion": "Anger"}, "did you mean 'anger'?"),
        ({"identity": {"ada": "much"}}, "weight 'much'"),
        ({"identity": {5: 1.0}}, "unknown identity 5"),
        ({"identity": ["ada"]}, "give a name"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "a"}, "seed 'a': must be a whole number"),
        ({"seed": 1.5}, "seed 1.5"),
        ({"smooth_ms": "80"}, "smooth_ms '80'"),
        ({"mirror": "false"}, "mirror 'false'"),
        ({"rate": 0}, "sample rate of 0"),
        ({"rate": "44100"}, "take 3: rate '44100'"),
        ({"rate": None}, "rate None"),
        ({"samples": "take.wav"}, "'take.wav' is a path"),
        ({"samples": Path("take.wav")}, "'take.wav' is a path"),
        ({"samples": bytes(9)}, "9 bytes (an odd number"),
        ({"samples": [[0.0], [0.0, 0.0]]}, "no array of samples"),
        ({"samples": np.array(["a"])}, "samples of type <U1"),
        ({"samples": np.zeros(9999, complex)}, "samples of type complex128"),
        ({"samples": None}, "samples of type object"),
        ({"samples": np.zeros(0, np.float32)}, "take 3: holds no samples"),
        ({"samples": np.zeros(100, np.float32)}, "at least 0.2 s"),
        ({"samples": np.full(9999, np.nan, np.float32)}, "the first is number 0,"),
        ({"samples": np.where(np.arange(9999) > 17, np.inf, 0.0)}, "the first is number 18,"),
        ({"samples": np.zeros((2, 3, 4), np.float32)}, "expected samples"),
    ],
)
def test_bad_requests(student: Student, change: dict[str, Any], said: str) -> None:
    request = {"samples": speech(1.0), "rate": RATE, "where": "take 3", **change}
    with pytest.raises(UserError) as caught:
        student.animate(**request)
    assert said in str(caught.value)


def test_evaluation_hears_what_the_artifact_hears(student: Student, talker: Talker) -> None:
    clip = models.clip(frames=40, seed=5)
    assert clip.log_mel is not None
    heard = embed_and_sample(talker, clip, STEPS, "ddim", seeds=3, seed=1)
    assert heard.samples.shape == (3, 40, 52)
    log_mel = clip.log_mel.astype(np.float32)[None]
    zeros = np.zeros((1, 40, 52), np.float32)
    _, identity, emotion = with_torch(talker, log_mel, zeros, None, None, STEPS)
    assert (heard.identity, heard.emotion) == (
        models.IDENTITIES[identity],
        models.EMOTIONS[emotion],
    )
    again = embed_and_sample(talker, clip, STEPS, "ddim", seeds=3, seed=1)
    assert np.array_equal(heard.samples, again.samples)
    assert not np.allclose(heard.samples[0], heard.samples[1], atol=1e-3)


# damage


def edit(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.yaml"
        config = yaml.safe_load(path.read_text())
        *blocks, name = key.split(".")
        block = config[blocks[0]] if blocks else config
        if value is None:
            del block[name]
        else:
            block[name] = value
        path.write_text(yaml.safe_dump(config))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def only_nan(name: str) -> Callable[[Path], None]:
    """A graph whose weights are all NaN, and whose shapes are right."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / name)
        for weight in model.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT:
                values = np.full_like(onnx.numpy_helper.to_array(weight), np.nan)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, folder / name)

    return change


def weights_elsewhere(folder: Path) -> None:
    model = onnx.load(folder / "decoder.onnx")
    onnx.save(
        model, folder / "decoder.onnx", save_as_external_data=True, location="weights",
        size_threshold=0,
    )  # fmt: skip


def huge(folder: Path) -> None:
    with (folder / "decoder.onnx").open("r+b") as file:
        file.truncate(2**28 + 1)  # a hole: nothing is written


def cut(folder: Path) -> None:
    path = folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:5000])


def bomb(key: str) -> Callable[[Path], None]:
    """A value of some lines that is ten thousand million numbers long once it is written out."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))

    def damage(folder: Path) -> None:
        path = folder / "config.yaml"
        rest = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}:")]
        path.write_text(f"a0: &a0 [{', '.join('0' * 10)}]\n{levels}{key}: *a9\n" + "\n".join(rest))

    return damage


DAMAGE = [
    *(
        pytest.param(
            lambda folder, name=name: (folder / name).unlink(), f"lacks {name}", id=f"no-{name}"
        )
        for name in PARTS
    ),
    pytest.param(shutil.rmtree, "no such artifact folder", id="no-folder"),
    pytest.param(edit("channels", sorted(CHANNELS, reverse=True)), "channel order", id="order"),
    pytest.param(edit("channels", "none"), "channel order", id="channels"),
    pytest.param(edit("format_version", 1), "artifact format 1, but this", id="version"),
    pytest.param(edit("format_version", "6"), "artifact format 6, but this", id="version-text"),
    pytest.param(
        edit("format_version", 4), "artifact format 4, but this release reads 6; export it again: "
        "python jobs/export.py", id="version-3",
    ),
    pytest.param(edit("fps", 25), "fps is 25;", id="fps"),
    pytest.param(edit("sample_rate", 8000), "sample_rate is 8000;", id="sample-rate"),
    pytest.param(edit("front_end", None), "not an artifact's configuration", id="no-front-end"),
    pytest.param(edit("front_end.window", None), "front_end: window is", id="no-window"),
    pytest.param(edit("front_end.windows", 640), "front_end: windows is", id="unknown-key"),
    pytest.param(edit("front_end.window", 0), "front_end.window is 0;", id="window-0"),
    pytest.param(edit("front_end.window", 640.0), "a whole number", id="window-float"),
    pytest.param(edit("front_end.floor", "low"), "front_end.floor is low;", id="floor-text"),
    pytest.param(edit("front_end.scale", float("nan")), "front_end.scale is nan;", id="scale-nan"),
    pytest.param(edit("front_end.fft", 512), "fft is less than window", id="fft"),
    pytest.param(edit("front_end.bands", 40), "encoder.onnx: is not this student's", id="bands"),
    pytest.param(edit("stream", "null"), "not an artifact's configuration", id="stream-text"),
    pytest.param(edit("stream.glide", [1.0, 2.0]), "stream.glide is 2.0;", id="glide"),
    pytest.param(edit("stream.glide", [1.0]), "stream.glide: give two", id="glide-of-one"),
    pytest.param(edit("stream.rise_frames", True), "stream.rise_frames is True;", id="rise-bool"),
    pytest.param(edit("noise", None), "not an artifact's configuration", id="no-noise"),
    pytest.param(edit("noise.gaze_threshold", -1), "noise.gaze_threshold is -1;", id="gaze"),
    pytest.param(edit("noise.gaze_threshold", True), "noise.gaze_threshold is", id="gaze-bool"),
    pytest.param(edit("noise.gaze_threshold", "a"), "noise.gaze_threshold is a;", id="gaze-text"),
    pytest.param(
        edit("noise.gaze_threshold", float("nan")), "gaze_threshold is nan;", id="gaze-nan"
    ),
    pytest.param(edit("noise.lag_1", [0.5]), "noise.lag_1: give a number for each", id="lags"),
    pytest.param(edit("noise.lag_1", [1.0] * 52), "noise.lag_1 is 1.0;", id="lag-1"),
    pytest.param(edit("noise.lag_2", [-0.9999] * 52), "no process has these", id="no-process"),
    pytest.param(edit("noise.lag_2", ["a"] * 52), "noise.lag_2 is a;", id="lag-text"),
    pytest.param(edit("blinks.shape", [1.5]), "blinks.shape is 1.5;", id="blink-range"),
    pytest.param(edit("blinks.shape", [0.5] * 31), "a second at most", id="blink-long"),
    pytest.param(edit("blinks", None), "not an artifact's configuration", id="no-blinks"),
    pytest.param(edit("look_ahead", 61), "look_ahead is 61;", id="look-ahead-61"),
    pytest.param(edit("steps", None), "not an artifact's configuration", id="no-steps"),
    pytest.param(edit("steps", "two"), "not an artifact's configuration", id="steps"),
    pytest.param(edit("steps", float("inf")), "not an artifact's configuration", id="steps-inf"),
    pytest.param(write("config.yaml", b"[" * 5000), "not an artifact's", id="yaml-deep"),
    pytest.param(write("config.yaml", b"a: !!timestamp x"), "not an artifact's", id="yaml-time"),
    pytest.param(bomb("steps"), "configuration (it has aliases)", id="bomb-steps"),
    pytest.param(bomb("release"), "it has aliases", id="bomb-release"),
    pytest.param(edit("release", [1]), "release, precision", id="release"),
    pytest.param(write("config.yaml", b" " * (2**20 + 1)), "1048577 bytes", id="yaml-long"),
    pytest.param(edit("identities", 5), "not an artifact's configuration", id="identities"),
    pytest.param(edit("identities", [1, 2, 3]), "not an artifact's configuration", id="numbers"),
    pytest.param(edit("emotions", ["neutral"]), "does not belong to config.yaml", id="names"),
    pytest.param(write("config.yaml", b"{"), "not an artifact's configuration", id="yaml"),
    pytest.param(write("config.yaml", b"- a"), "not an artifact's configuration", id="list"),
    pytest.param(write("config.yaml", b""), "not an artifact's configuration", id="empty"),
    pytest.param(write("config.yaml", b"\xff\xfe\x81"), "not an artifact's", id="binary"),
    pytest.param(
        write("config.yaml", b"a: !!python/object/apply:os.system [false]"), "not an artifact's",
        id="python-yaml",
    ),
    pytest.param(edit("look_ahead", "far"), "not an artifact's configuration", id="look-ahead"),
    pytest.param(write("decoder.onnx", b"not a graph"), "cannot be loaded", id="onnx"),
    pytest.param(write("encoder.onnx", b""), "cannot be loaded", id="empty-onnx"),
    pytest.param(cut, "cannot be loaded", id="cut-onnx"),
    pytest.param(huge, "decoder.onnx: 268435457 bytes", id="huge-onnx"),
    pytest.param(weights_elsewhere, "decoder.onnx: keeps its weights", id="elsewhere-onnx"),
    *(
        pytest.param(only_nan(name), f"{name}: is not this student's", id=f"nan-{name}")
        for name in ("encoder.onnx", "decoder.onnx", "frame.onnx")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_damaged_artifacts(own: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(own)
    with pytest.raises(UserError) as caught:
        Student(own)
    assert said in str(caught.value)
    assert str(own) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_somebody_elses_graph(own: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([], "identity", [value], [value])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, own / "encoder.onnx")
    with pytest.raises(UserError, match=r"encoder.onnx: is not this student's"):
        Student(own)


@pytest.mark.parametrize("name", ["modulation.onnx", "decoder.onnx", "frame.onnx"])
def test_a_graph_of_another_student(own: Path, stranger: Path, name: str) -> None:
    shutil.copy(stranger / name, own / name)
    assert f"{own / name}: is not this student's" in refusal(lambda: Student(own))


@pytest.mark.parametrize("given", ["", "teacher-5", "student/config.yaml", "student/decoder.onnx"])
def test_the_folder_that_was_meant_is_named(own: Path, given: str) -> None:
    """A run, one of its stages, or a file of the artifact."""
    (own.parent / "teacher-5").mkdir()
    assert refusal(lambda: Student(own.parent / given)).endswith(f"did you mean {own}?")


def test_no_folder_at_all(tmp_path: Path) -> None:
    assert "did you mean" not in refusal(lambda: Student(tmp_path / "nowhere"))
    assert "not None" in refusal(lambda: Student(None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "the following arguments are required: recording"),
        (["speech.wav", "--model", "nowhere"], "no such artifact folder"),
        (["speech.wav", "--model", "student"], "speech.wav: no such file"),
        (["speech.wav"], "speech.wav: no such file"),
    ],
)
def test_the_example_explains_what_it_needs(
    own: Path, given: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(own.parent)
    monkeypatch.setattr(sys, "argv", ["embed.py", *given])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert end.value.code == 2
    assert said in capsys.readouterr().err


# lightness

PROBE = """
import sys, time
started = time.perf_counter()
from diffusiontalker.runtime.student import Student
loading = time.perf_counter() - started
import numpy as np
Student(sys.argv[1]).animate(0.1 * np.ones(8000, np.float32), 16000)
heavy = {"torch", "ray", "transformers", "pyarrow", "scipy", "pandas"} & set(sys.modules)
print(sorted(heavy), loading)
"""


def test_runtime_needs_neither_torch_nor_ray(folder: Path) -> None:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder)],
        check=True, capture_output=True, text=True,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p.endswith("platform"))},
    )  # fmt: skip
    heavy, loading = done.stdout.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(loading) < 10
    assert time.perf_counter() - started < 30
