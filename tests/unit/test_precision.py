"""Smaller weights: what they cost is measured, and refused where it is too much."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests import summaries
from tests.refusals import refusal
from tests.unit import models
from tests.unit.test_export_runtime import speech

from diffusiontalker import storage
from diffusiontalker.config import ExportJobSettings, ExportSettings
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import streaming
from diffusiontalker.export import artifact, precision
from diffusiontalker.objectives import metrics
from diffusiontalker.pipeline.delivery import ship
from diffusiontalker.pipeline.finished import export_again
from diffusiontalker.runtime.artifact import FRAME, GRAPHS
from diffusiontalker.runtime.student import Student
from diffusiontalker.summary.run import ExportReport

RATE = 16_000


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [
        models.clip(f"c{k}", frames=40, seed=k, audio=speech(40 / 30, seed=k)) for k in range(3)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "student"
    artifact.export(models.talker(teacher=False), 2, path, "")
    return path


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "student")


def test_half_precision_is_half_the_size_and_hardly_another_face(folder: Path, own: Path) -> None:
    for name in (*GRAPHS, FRAME):
        precision.fp16(own / name)
        onnx.checker.check_model(own / name)
        kinds = {
            t.data_type
            for t in onnx.load(own / name).graph.initializer
            if t.dims
            and np.prod(t.dims) > precision.SMALL
            and t.data_type != onnx.TensorProto.INT64
        }
        assert kinds <= {onnx.TensorProto.FLOAT16}
    faces = [Student(path).animate(speech(1.0), RATE).coefficients for path in (folder, own)]
    assert 0 < np.abs(faces[0] - faces[1]).max() < 5e-3


def test_a_weight_beyond_half_precision(own: Path) -> None:
    model = onnx.load(own / "decoder.onnx")
    tensor = next(
        t for t in model.graph.initializer if t.data_type == 1 and np.prod(t.dims) > precision.SMALL
    )
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e6
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, own / "decoder.onnx")
    assert "too large for half precision; use fp32" in refusal(
        lambda: precision.fp16(own / "decoder.onnx")
    )


def test_int8_is_smaller_and_close(folder: Path, own: Path, clips: list[Clip]) -> None:
    precision.int8(own, clips)
    operators = {node.op_type for node in onnx.load(own / "decoder.onnx").graph.node}
    assert "DequantizeLinear" in operators
    students = Student(folder), Student(own)
    for faces in (
        [student.animate(speech(1.0), RATE).coefficients for student in students],
        [student.stream().push(speech(1.0)) for student in students],
    ):
        difference = np.abs(faces[0] - faces[1])
        assert 0 < difference.mean() < 0.02
    # a stream of it is the same however it is cut
    cuts = ([16_000], [100, 5000, 10_900])
    ways = []
    for ends in cuts:
        stream = Student(own).stream(seed=1)
        parts = [stream.push(p) for p in np.split(speech(1.0), ends[:-1])]
        ways.append(np.concatenate([*parts, stream.close()]))
    np.testing.assert_allclose(ways[0], ways[1], atol=1e-4)


def test_int8_needs_something_to_calibrate_with(own: Path) -> None:
    assert "no validation clips to calibrate" in refusal(lambda: precision.int8(own, []))


def test_growth_by_hand() -> None:
    grown = precision.growth({"lbe": 0.2, "energy_score": 0.4}, {"lbe": 0.21, "energy_score": 0.4})
    assert grown == pytest.approx({"lbe": 0.05, "energy_score": 0.0})


def test_validation_errors_are_what_the_metrics_say(folder: Path, clips: list[Clip]) -> None:
    student = Student(folder)
    (voice,) = precision.recognised_voices(student, clips[:1])
    heard = student.animate(clips[0].audio, RATE)
    assert voice == (heard.identity, heard.emotion)
    # The given voice is used, and not the one that is recognised.
    voice = tuple(
        next(name for name in names if name != own)
        for names, own in zip((models.IDENTITIES, models.EMOTIONS), voice, strict=True)
    )
    made = [student.animate(clips[0].audio, RATE, *voice, seed=s) for s in range(4)]
    found = precision.validation_errors(student, clips[:1], [voice])
    faces = [one.coefficients for one in made]
    assert found["lbe"] == pytest.approx(
        np.mean([metrics.lbe(face, clips[0].coefficients) for face in faces])
    )
    assert found["energy_score"] == pytest.approx(
        metrics.energy_score(np.stack(faces), clips[0].coefficients)
    )
    stream = student.stream(identity=voice[0], emotion=voice[1])
    streamed = np.concatenate([stream.push(clips[0].audio), stream.close()])
    expected = metrics.lbe(streamed, clips[0].coefficients)
    assert found["streamed_lbe"] == pytest.approx(expected, rel=1e-4)


def test_a_voice_between_two_emotions_does_not_decide_over_a_precision(
    own: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where two emotions are equally near, the last bit of an artifact decides on another face.
    # That is counted, and what it costs is not the precision's.
    talker = models.talker(teacher=False)
    told = precision.recognised_voices(Student(own), clips)
    settings = ExportSettings(precision="fp16", clips=3)

    def otherwise(way: str, changed: int) -> None:
        other = [("ada", "anger" if emotion == "neutral" else "neutral") for _, emotion in told]
        answers = iter([told, [*other[:changed], *told[changed:]]])
        monkeypatch.setattr(precision, way, lambda student, clips: next(answers))

    for way in ("recognised_voices", "tracked_voices"):
        otherwise(way, 1)
        found = artifact.export(talker, 2, own, "", settings, clips)
        assert found.voices_changed == 1
        assert max(map(abs, found.growth.values())) < 0.01
        otherwise(way, 2)
        said = refusal(lambda: artifact.export(talker, 2, own, "", settings, clips))
        assert "in 2 of 3 clips of validation, as recordings or as streams; at most 1 may" in said
        monkeypatch.undo()


def test_what_a_stream_hears_is_judged_too(folder: Path, clips: list[Clip]) -> None:
    student = Student(folder)
    streams = [student.stream() for _ in clips]
    for stream, clip in zip(streams, clips, strict=True):
        stream.push(clip.audio)
        stream.close()
    assert precision.tracked_voices(student, clips) == [
        (one.identity, one.emotion) for one in streams
    ]


@pytest.mark.parametrize("most", [3, 16, 32])
def test_the_limit_that_is_said_is_the_one_that_holds(most: int) -> None:
    allowed = max(most // 10, 1)
    for changed, refused in ((allowed, False), (allowed + 1, True)):
        found = ExportReport(precision="int8", clips=most, voices_changed=changed)
        why = artifact.too_much(found, ExportSettings())
        assert (why is not None) is refused
    assert why is not None
    assert f"{allowed + 1} of {most} clips" in why
    assert f"at most {allowed} may change" in why


def test_a_long_run_ends_with_an_artifact(
    own: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(artifact, "too_much", lambda found, settings: "another face")
    shipped = ship(models.talker(teacher=False), 2, own, "", ExportSettings(clips=3), clips)
    assert shipped == ExportReport(precision="fp32")
    assert Student(own).config.precision == "fp32"
    said = capsys.readouterr().out
    assert "exported in fp16 instead" in said
    assert "exported in fp32 instead" in said


def test_an_export_that_costs_too_much_is_refused_and_nothing_is_replaced(
    own: Path, clips: list[Clip]
) -> None:
    (own / "README.md").write_text("What was there before.")  # the graphs would be the same
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    talker = models.talker(teacher=False)
    # On faces of noise an error may as well shrink, but never to nothing.
    strict = ExportSettings(precision="int8", clips=3).model_copy(update={"max_growth": -1.0})
    said = refusal(lambda: artifact.export(talker, 2, own, "", strict, clips))
    assert said.startswith("int8: ")
    assert "at most -100.0% is allowed (max_growth)" in said
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    free = strict.model_copy(update={"max_growth": 1.0})
    found = artifact.export(talker, 2, own.with_name("free"), "", free, clips)
    assert found.precision == "int8"
    assert max(found.growth.values()) <= 1.0
    assert "no validation clips" in refusal(
        lambda: artifact.export(talker, 2, own, "", ExportSettings(precision="fp16"), [])
    )


def test_streams_beside_whole_recordings(folder: Path, clips: list[Clip], tmp_path: Path) -> None:
    student = Student(folder)
    found = streaming.compare(student, clips)
    assert found is not None
    assert found.clips == 3
    assert found.look_ahead_ms == pytest.approx(70)
    assert found.growth == pytest.approx(found.lbe / found.lbe_whole - 1)
    assert abs(found.pinned_growth) < 0.02
    artifact.export(models.talker(teacher=False, look_ahead=None), 1, tmp_path / "whole", "")
    assert streaming.measure(Student(tmp_path / "whole"), clips, 2) is None


def test_a_speakers_clips_are_joined_with_sound_and_face_together(
    folder: Path, clips: list[Clip]
) -> None:
    other = models.clip("d", frames=20, identity="ben", audio=speech(0.5))  # short of its face
    first, ben = streaming.joined([clips[0], other, clips[1]])
    assert (first.identity, ben.identity) == ("ada", "ben")
    assert np.array_equal(first.coefficients[40:], clips[1].coefficients)
    assert len(first.coefficients) == 80
    at = round(40 * 16_000 / 30)
    assert np.array_equal(first.audio[at : at + 1000], clips[1].audio[:1000])
    assert len(ben.audio) == round(20 * 16_000 / 30)
    assert not ben.audio[8000:].any()
    said: list[tuple[int, int]] = []
    found = streaming.measure(Student(folder), [*clips, other], 2, lambda *of: said.append(of))
    assert said == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found is not None
    assert found.joined is not None
    assert (found.clips, found.joined.clips) == (2, 2)
    assert found.joined.seconds_per_clip == pytest.approx((120 + 20) / 2 / 30)


@pytest.mark.parametrize(
    ("run", "model", "said"),
    [
        ("nowhere", None, "holds no summary.json; give the folder of a finished run"),
        ("run", "student-3", "holds no student 'student-3'; known: student-4"),
        ("empty", None, "known: none"),
        ("damaged", None, "summary.json: not as this release writes it: models.0.steps"),
    ],
)
def test_exports_of_what_is_not_there(
    tmp_path: Path, run: str, model: str | None, said: str
) -> None:
    teacher, student = ({"name": n, "steps": 4, "folder": "x"} for n in ("teacher", "student-4"))
    runs = {"run": [teacher, student], "empty": [teacher], "damaged": [{"name": "teacher"}]}
    for name, models_there in runs.items():
        (tmp_path / name).mkdir()
        storage.write_json(tmp_path / name / "summary.json", summaries.content(models=models_there))
    settings = ExportJobSettings(run=str(tmp_path / run), out=str(tmp_path / "out"), model=model)
    assert said in refusal(lambda: export_again(settings))
    assert not (tmp_path / "out").exists()
