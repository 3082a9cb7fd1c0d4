"""Recordings without faces: how they become clips, and what a teacher makes of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.unit import models

from diffusiontalker import config, stage_keys
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import DegradationSettings, PseudoLabelSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder, Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.run import corpus_content
from diffusiontalker.pseudo_labels import recordings, stage
from diffusiontalker.pseudo_labels.recordings import FRAME, Batch
from diffusiontalker.pseudo_labels.stage import Labelling
from diffusiontalker.training import ray_data
from diffusiontalker.training.checkpoints import save_talker
from diffusiontalker.training.windows import MotionWindows


def tone(seconds: float, level: float = 0.1) -> np.ndarray:
    return level * np.sin(np.arange(round(seconds * SAMPLE_RATE)) * 0.3).astype(np.float32)


# From recordings to clips


def test_silence_at_the_ends_is_cut_off() -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    found = recordings.trimmed(np.concatenate([silence, tone(1), silence]))
    assert len(found) == pytest.approx(1.1 * SAMPLE_RATE, abs=FRAME)  # 50 ms are left
    assert np.abs(found[: 4 * FRAME]).max() == 0
    assert len(recordings.trimmed(tone(0.3))) == 0
    assert len(recordings.trimmed(np.zeros(10, np.float32))) == 0


def test_a_long_recording_is_cut_where_it_is_quiet() -> None:
    audio = np.concatenate([tone(3), tone(0.1, 0.001), tone(3), tone(0.1, 0.001), tone(2)])
    found = list(recordings.pieces(audio, 4.0))
    np.testing.assert_array_equal(np.concatenate(found), audio)
    first, second = np.cumsum([len(one) for one in found])[:2] / SAMPLE_RATE
    assert 3.0 < first < 3.1
    assert 6.1 < second < 6.2


def test_without_a_quiet_moment_pieces_are_short_enough_all_the_same() -> None:
    found = list(recordings.pieces(tone(9), 4.0))
    np.testing.assert_array_equal(np.concatenate(found), tone(9))
    assert max(map(len, found)) <= 4 * SAMPLE_RATE


def test_short_recordings_are_joined_with_pauses() -> None:
    own = [tone(1, 0.1 * (i + 1)) for i in range(5)]
    found = recordings.joined(own, 4.0, np.random.default_rng(0))
    assert len(found) == 2
    whole = np.concatenate(found)
    low, high = recordings.PAUSE_SECONDS
    assert 5 * (1 + low) <= len(whole) / SAMPLE_RATE <= 5 * (1 + high)
    assert 0 < np.abs(whole[:100]).max() < 1e-3  # a pause, of noise
    for one in own:  # none is lost or cut
        assert any(np.array_equal(one, whole[at : at + len(one)]) for at in starts(whole, one))
    alone = recordings.joined([tone(9), tone(1)], 4.0, np.random.default_rng(0))
    assert [round(len(one) / SAMPLE_RATE) for one in alone] in ([9, 1], [10, 1], [10, 2], [9, 2])


def starts(whole: np.ndarray, part: np.ndarray) -> list[int]:
    """Where a part may begin."""
    window = part[1:6]
    hits = np.flatnonzero(np.isclose(whole[1 : -len(window)], window[0]))
    return [int(at) for at in hits if np.array_equal(whole[at + 1 : at + 6], window)]


def test_batches_mix_speakers_and_are_of_about_a_size() -> None:
    size = recordings.SHARD_BYTES // 4
    files = {f"{who}/{i}.wav": size for who in ("ada", "ben") for i in range(8)}
    files |= {"c.wav": 9 * size}
    found = recordings.batches(files, seed=0)
    assert [one.shard for one in found] == [f"train-{i:05d}.parquet" for i in range(len(found))]
    assert sorted(name for one in found for name in one.files) == sorted(files)
    assert max(len(one.files) for one in found) == 4
    assert ("c.wav",) in [one.files for one in found]  # larger than a shard
    for one in found:  # a speaker's lie together, so that they can be joined
        speakers = [recordings.speaker_of(name) for name in one.files]
        assert speakers == sorted(speakers)
    assert max(len({recordings.speaker_of(name) for name in one.files}) for one in found) == 2
    assert recordings.batches(dict(reversed(files.items())), seed=0) == found
    assert recordings.batches(files, seed=1) != found


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "notes.txt").write_text("none")
    with pytest.raises(UserError, match=r"holds no recordings \(.wav"):
        recordings.listing(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        recordings.listing(tmp_path / "missing")
    soundfile.write(tmp_path / "ada" / "A.WAV", tone(1), SAMPLE_RATE)
    for hidden in (".git/annex/a.wav", "ada/._a.wav"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"RIFF")
    (tmp_path / "ada" / "dead.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "ada" / "dead.txt").symlink_to(tmp_path / "nowhere.txt")
    before = recordings.listing(tmp_path)
    assert set(before.files) == {"ada/A.WAV"}
    assert [reason.split(": ")[0] for reason in before.left_out] == ["ada/dead.wav"]
    soundfile.write(tmp_path / "ada" / "A.WAV", tone(2), SAMPLE_RATE)
    assert recordings.listing(tmp_path).files != before.files


# From clips to labelled shards


class Encoder:
    """Stands for ``FrozenEncoder``: features from the loudness of a frame."""

    def many(self, clips: list[np.ndarray], frames: list[int], _: float) -> list[np.ndarray]:
        return [
            np.abs(np.resize(audio, (count, models.FEATURES))).astype(np.float32)
            for audio, count in zip(clips, frames, strict=True)
        ]


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "ada").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, rate in enumerate((SAMPLE_RATE, 8000, 44100)):
        soundfile.write(folder / "ada" / f"{number}.wav", 0.1 * rng.normal(size=rate), rate)
    (folder / "ada" / "bad.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "ada" / "still.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    return folder


@pytest.fixture
def label(tmp_path: Path, speech: Path) -> Callable[..., tuple[list[Clip], list[str]]]:
    """Label the recordings of a speaker in this process."""
    save_talker(tmp_path / "teacher", models.talker())

    def run(out: str = "out", share: float = 0.0, **settings: Any) -> tuple[list[Clip], list[str]]:
        how = Labelling(
            str(speech), str(tmp_path / "teacher"), 2, "ddim", ("model", (0,), None),
            PseudoLabelSettings(clip_seconds=2, **settings), DegradationSettings(share=share),
        )  # fmt: skip
        actor = stage._Labeller(how, tmp_path / out)
        vars(actor)["encoder"] = Encoder()
        (tmp_path / out).mkdir(exist_ok=True)
        files = tuple(sorted(recordings.listing(speech).files))
        info, unread, mistake = actor.write(Batch("train-00000.parquet", files))
        assert not mistake
        path = tmp_path / out / "train-00000.parquet"
        return (shards.clips_of(shards.read_table(path)) if info else []), unread

    return run


def test_faces_are_the_teachers(label: Any) -> None:
    clips, unread = label()
    assert len(clips) == 3
    assert len({clip.id for clip in clips}) == 3
    for clip in clips:
        frames = len(clip.coefficients)
        assert frames == len(clip.audio) * FPS // SAMPLE_RATE
        assert clip.log_mel is not None
        assert clip.features is not None
        assert (len(clip.log_mel), len(clip.features)) == (2 * frames, frames)
        assert (clip.identity, clip.emotion, clip.split) == (None, "neutral", "train")
        assert clip.coefficients.min() >= 0
        assert clip.coefficients.max() <= 1
        assert clip.coefficients.std() > 0.01
    assert len(unread) == 2
    assert "bad.wav" in unread[0]
    assert "still.wav" in unread[1]


def test_emotions_may_be_those_that_the_teacher_recognises(label: Any) -> None:
    named = {clip.emotion for clip in label("named", emotion="anger")[0]}
    assert named == {"anger"}
    assert {clip.emotion for clip in label("free", emotion=None)[0]} <= set(models.EMOTIONS)


def test_faces_are_those_of_the_seed(label: Any, tmp_path: Path) -> None:
    def content(name: str) -> bytes:
        return (tmp_path / name / "train-00000.parquet").read_bytes()

    label("a"), label("b"), label("c", seed=1)
    assert content("a") == content("b")
    assert content("a") != content("c")


def test_the_student_takes_a_degraded_recording_and_the_teacher_a_clean_one(label: Any) -> None:
    clean, degraded = label("clean")[0], label("degraded", share=1.0)[0]
    for one, other in zip(clean, degraded, strict=True):
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
        np.testing.assert_array_equal(one.features, other.features)
        assert not np.array_equal(one.log_mel, other.log_mel)


def test_a_shard_is_kept_unless_recordings_of_it_could_not_be_read(
    label: Any, speech: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "train-00000.parquet"
    assert len(label()[1]) == 2
    before = path.stat().st_mtime_ns
    assert len(label()[1]) == 2  # named again after a kill
    assert path.stat().st_mtime_ns > before
    soundfile.write(speech / "ada" / "bad.wav", tone(1), SAMPLE_RATE)
    soundfile.write(speech / "ada" / "still.wav", tone(1), SAMPLE_RATE)
    clips, unread = label()
    assert unread == []
    before = path.stat().st_mtime_ns
    assert len(label()[0]) == len(clips)
    assert path.stat().st_mtime_ns == before


def test_a_shard_that_is_made_again_is_incomplete_until_it_is_there(
    label: Any, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label()
    soundfile.write(speech / "ada" / "bad.wav", tone(1), SAMPLE_RATE)
    soundfile.write(speech / "ada" / "still.wav", tone(1), SAMPLE_RATE)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage._Labeller, "labelled", killed)
        with pytest.raises(KeyboardInterrupt):
            label()
    assert len(label()[0]) > 3  # with the two that were unreadable before
    assert not list((tmp_path / "out").glob("*.unread.json"))


def test_too_many_unreadable_recordings_end_the_stage_at_once() -> None:
    stage.check_readable("here", ["a: bad"], 10)
    with pytest.raises(UserError, match=r"2 of 10 recordings, or more.*a: bad; b: bad"):
        stage.check_readable("here", ["a: bad", "b: bad"], 10)
    with pytest.raises(UserError):
        stage.check_readable("here", ["a: bad"], 1)


def test_a_recording_that_cannot_be_reached_ends_the_stage(label: Any, speech: Path) -> None:
    files = recordings.listing(speech).files
    (speech / "ada" / "0.wav").unlink()  # between the listing and its turn
    how = Labelling(
        str(speech), "teacher", 2, "ddim", ("model", (0,), None), PseudoLabelSettings(),
        DegradationSettings(),
    )  # fmt: skip
    actor = stage._Labeller(how, speech.parent / "other")
    info, unread, mistake = actor.write(Batch("train-00000.parquet", tuple(files)))
    assert (info, unread) == ("", [])
    assert "0.wav" in mistake


def test_the_key_is_of_the_recordings_and_not_of_their_place() -> None:
    def key(own: str, *more: Any) -> str:
        given = config.load(None, ["output=a", f"pseudo_labels.recordings={own}"])
        return stage_keys.pseudo_labels_key(given, *more)

    base = ("teacher-a", "features", {"a.wav": "1 x"})
    assert key("there", *base) == key("here", *base)
    assert len({key("here", *base), key("here", "teacher-b", *base[1:]),
                key("here", "teacher-a", "others", base[2]),
                key("here", *base[:2], {"a.wav": "2 x"})}) == 4  # fmt: skip


# Into the rounds


def test_rounds_train_on_both_and_validate_on_the_corpus(
    corpus_folder: Path, hand_made: Callable[..., Clip], tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    clips = [hand_made(12, id=f"p{i}", identity=None) for i in range(5)]
    info = shards.write_shard(extra / "train-00000.parquet", clips)
    write_manifest(extra, Manifest(stage.SOURCE, [info], [], []))
    data = CorpusFolder(corpus_folder, open_corpus(corpus_folder))
    both = replace(data, pseudo_labelled=CorpusFolder(extra, open_corpus(extra)))
    windows = MotionWindows(12, [], [])
    assert ray_data.batches_of(data, "train", windows, 1) == 3
    assert ray_data.batches_of(both, "train", windows, 1) == 8
    assert ray_data.batches_of(both, "val", windows, 1) == 3
    groups = ray_data._groups(both, "train", windows, 8)
    assert [one.files for one in groups] == [
        (str(corpus_folder / "train-00000.parquet"), str(extra / "train-00000.parquet"))
    ]
    assert corpus_content(both)[:2] == corpus_content(data)
    assert len(corpus_content(both)) == 3
