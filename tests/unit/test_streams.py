"""Many streams pushed together: each the frames it would make alone, whatever the others."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import soxr
from tests.refusals import refusal
from tests.unit import models
from tests.unit.test_export_runtime import speech

from diffusiontalker.errors import UserError
from diffusiontalker.export import artifact
from diffusiontalker.runtime.stream import Stream, push_together
from diffusiontalker.runtime.stream_batch.batch import StreamBatch
from diffusiontalker.runtime.stream_batch.voice_tracking import VoiceTracking
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.student import Student

RATE = 16_000
TICK = RATE // 25
OPTIONS: list[dict[str, Any]] = [
    {},
    {"identity": "ben", "emotion": "anger"},
    {"rate": 48_000, "emotion": "neutral"},
    {"rate": 44_100, "smooth_ms": 80},
    {"rate": 8_000, "mirror": True},
    {"identity": {"ada": 1.0, "cleo": 2.0}},
]


@pytest.fixture(scope="module", params=["tcn", "gru"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    path = tmp_path_factory.mktemp("artifact") / "student"
    artifact.export(models.talker(kind=request.param, teacher=False), 2, path, "")
    return Student(path)


def begin(batch: StreamBatch, number: int) -> Stream:
    return Stream(batch, **OPTIONS[number % len(OPTIONS)], seed=number)


def sound(number: int, seconds: float = 3.0) -> np.ndarray:
    rate = OPTIONS[number % len(OPTIONS)].get("rate", RATE)
    heard = soxr.resample(speech(seconds, seed=number), RATE, rate)
    return heard if number % 2 else np.round(heard * 32767).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize("seed", range(3))
def test_each_stream_as_if_alone(student: Student, seed: int) -> None:
    """They come and go, pause, and are cut as chance will have it."""
    rng = np.random.default_rng(seed)
    numbers = range(9)
    left = {number: sound(number) for number in numbers}
    batch = student.streams()
    streams: dict[int, Stream] = {}
    faces: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
    while left:
        some = [number for number in left if rng.random() < 0.6]
        chunks = []
        for number in some:
            if number not in streams:
                streams[number] = begin(batch, number)
            size = int(rng.choice([0, 1, 100, TICK, 3 * TICK, 20_000]))
            chunks.append(left[number][:size])
            left[number] = left[number][size:]
        made = push_together([streams[number] for number in some], chunks)
        for number, face in zip(some, made, strict=True):
            assert isinstance(face, np.ndarray)
            faces[number].append(face)
            if not len(left[number]):
                faces[number].append(streams[number].close())
                del left[number]
    for number in numbers:
        alone = begin(student.streams(), number)
        expected = np.concatenate([alone.push(sound(number)), alone.close()])
        assert len(expected) == 90
        np.testing.assert_allclose(np.concatenate(faces[number]), expected, rtol=0, atol=1e-5)
        assert (streams[number].identity, streams[number].emotion) == (
            alone.identity, alone.emotion,
        )  # fmt: skip


def test_a_mistake_is_its_own(student: Student) -> None:
    batch = student.streams()
    streams = [begin(batch, 0) for _ in range(4)]
    lone = begin(student.streams(), 0)
    first, second = np.split(speech(2.0), 2)
    streams[3].close()
    bad = [first, np.full(9, np.nan, np.float32), np.array(["a"]), first]
    fine, *refused = push_together(streams, bad)
    np.testing.assert_allclose(fine, lone.push(first), atol=1e-5)
    for answer, said in zip(
        refused, ["NaN or infinite", "samples of type <U1", "is closed; begin another"], strict=True
    ):
        assert isinstance(answer, UserError)
        assert said in str(answer)
    # The refused are as they were: at their beginning.
    late, again, other = push_together(streams[:3], [second, first, first])
    np.testing.assert_allclose(late, lone.push(second), atol=1e-5)
    np.testing.assert_allclose(again, fine, atol=1e-5)
    np.testing.assert_allclose(other, fine, atol=1e-5)


def test_calls_that_are_refused_change_nothing(student: Student) -> None:
    batch, silence = student.streams(), np.zeros(TICK, np.float32)
    stream, stranger = Stream(batch), student.stream()
    assert "pushed twice at once" in refusal(lambda: push_together([stream] * 2, [silence] * 2))
    assert "several batches" in refusal(lambda: push_together([stream, stranger], [silence] * 2))
    assert "1 chunks for 2 streams" in refusal(lambda: push_together([stream] * 2, [silence]))
    assert stream.close().shape == (0, 52)  # it has heard nothing


def test_nobody_and_nothing(student: Student) -> None:
    batch = student.streams()
    assert push_together([], []) == []
    streams = [Stream(batch) for _ in range(2)]
    for face in push_together(streams, [np.zeros(0, np.float32)] * 2):
        assert isinstance(face, np.ndarray)
        assert face.shape == (0, 52)


def test_a_stream_that_begins_takes_the_place_of_one_that_is_gone(student: Student) -> None:
    """And nothing else of it, whatever that one had heard."""
    batch, heard = student.streams(), speech(2.0)
    fresh = begin(batch, 0).push(heard)
    for number in (1, 2, 5):
        stays, goes = begin(batch, 0), begin(batch, number)
        push_together([goes, stays], [sound(number), heard])
        row = goes.row
        del goes
        comes = begin(batch, 0)
        assert comes.row == row
        np.testing.assert_allclose(comes.push(heard), fresh, rtol=0, atol=1e-5)


def test_the_voice_is_followed_at_its_frames(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    updated: dict[int, list[int]] = {0: [], 1: []}
    update = VoiceTracking.update

    def noted(
        tracking: VoiceTracking, rows: np.ndarray, frames: np.ndarray, spoken: np.ndarray
    ) -> np.ndarray:
        before = tracking._embeddings.copy()
        found = update(tracking, rows, frames, spoken)
        for row, frame in zip(rows, frames, strict=True):
            if (tracking._embeddings[row] != before[row]).any():
                updated[row].append(frame)
        return found

    monkeypatch.setattr(VoiceTracking, "update", noted)
    # Always on the way from one pole to the other.
    parameters = dataclasses.replace(StreamParameters(), glide=(0.01, 0.01))
    config = dataclasses.replace(student.config, stream=parameters)
    monkeypatch.setattr(student.graphs, "config", config)
    batch = student.streams()
    streams = [begin(batch, 0), begin(batch, 1)]
    streams[1].pin("ada", "neutral")
    streams[0].push(speech(0.5))  # they do not come to their updates at once
    samples = speech(3.2)
    for at in range(0, len(samples) - TICK + 1, TICK):
        push_together(streams, [samples[at : at + TICK]] * 2)
    # Frame t comes 70 ms after t / 30 s: of 3.2 s, those to 93.9.
    assert [stream.frames for stream in streams] == [109, 94]
    # Every second frame for two seconds, every tenth then; pinned or not.
    early = list(range(2, 61, 2))
    assert updated == {
        streams[0].row: [*early, 70, 80, 90, 100],
        streams[1].row: [*early, 70, 80, 90],
    }


def test_a_graph_runs_once_for_all(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: Counter[str] = Counter()
    for name in ("frame", "personalise", "modulate"):
        graph = getattr(student.graphs, name)

        def counted(*inputs: np.ndarray, name: str = name, graph: Any = graph) -> Any:
            runs[name, len(inputs[0])] += 1
            return graph(*inputs)

        monkeypatch.setattr(student.graphs, name, counted)
    batch = student.streams()
    streams = [Stream(batch, seed=seed) for seed in range(20)]
    runs.clear()
    heard = speech(0.1)  # less look-ahead, a frame
    push_together(streams, [heard] * 20)
    assert runs == {("frame", 20): 1}
    push_together(streams, [heard] * 20)  # frames 2 to 4, that is
    assert runs["frame", 20] == 4
    assert runs["personalise", 20] == 2
    runs.clear()
    silent = [Stream(batch) for _ in range(20)]
    push_together(silent, [np.zeros(RATE // 5, np.float32)] * 20)
    assert runs["frame", 20] == 4
    assert not runs["personalise", 20]  # of nobody


def test_a_stream_that_pauses_keeps_nothing_of_the_others(student: Student) -> None:
    batch = student.streams()
    streams = [Stream(batch, seed=seed) for seed in range(3)]
    push_together(streams, [speech(1.0)] * 3)
    for kept in batch.front_end._audio[streams[0].row]:
        assert kept.base is None
