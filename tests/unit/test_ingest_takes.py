"""One take into clips and measurements: what is kept, refused and reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.sets import write_take
from tests.sources_made import face, make_beat, make_folder
from tests.unit.ingest_sets import items, settings, source_of, write_own_set

from diffusiontalker.arkit import INDEX, ORDERS
from diffusiontalker.config import SourceSettings
from diffusiontalker.corpus import clips, lip_sync
from diffusiontalker.corpus.ingest import take_reader
from diffusiontalker.corpus.ingest.batches import PlannedTake, plan_batches
from diffusiontalker.corpus.ingest.take_reader import read_take
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.corpus.sources import Source, open_source
from diffusiontalker.corpus.take_reports import TakeReport
from diffusiontalker.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_own_set(tmp_path)


def test_a_long_take_becomes_clips_that_join_up(root: Path) -> None:
    write_take(root, "ann/anger/long", seconds=7.3)
    item = next(i for i in items(root) if i.take.id == "ann-anger-long")
    found, report = read_take(source_of(root), item, settings(root, "clip_seconds=3"))
    assert [len(clip.coefficients) for clip in found] == [90, 90, 39]
    assert [clip.id for clip in found] == [f"ann-anger-long-{k:03d}" for k in range(3)]
    whole = np.concatenate([clip.coefficients for clip in found])
    assert np.array_equal(whole, np.load(root / "ann/anger/long.npy"))
    assert all(len(c.audio) == len(c.coefficients) * 16_000 // 30 for c in found)
    assert (report.clips, report.seconds, report.rate, report.fps) == (3, 7.3, 22_050, 30.0)
    assert report.maximum[INDEX["jawOpen"]] == pytest.approx(0.6, abs=0.01)
    assert report.reason is None


def test_labels_of_a_take_are_those_of_its_clips(root: Path) -> None:
    for item in items(root):
        (clip,), _ = read_take(source_of(root), item, settings(root))
        assert clip.identity == item.take.id.split("-")[0]
        assert clip.emotion == (None if "unlabelled" in item.take.id else "anger")
        assert clip.split == "train"


def test_a_take_that_is_malformed_or_too_short_has_a_reason_and_no_clips(root: Path) -> None:
    (root / "ann/anger/0.wav").write_bytes(b"RIFF")
    np.save(root / "ann/anger/1.npy", np.full((75, 52), np.nan))
    write_take(root, "ann/anger/2", seconds=0.6)
    reasons = {}
    for item in items(root)[:3]:
        found, report = read_take(source_of(root), item, settings(root))
        assert found == []
        reasons[report.take] = report.reason
    assert "not a readable audio file" in reasons["ann-anger-0"]
    assert "NaN or infinity" in reasons["ann-anger-1"]
    assert "0.60 s: shorter than a clip may be" in reasons["ann-anger-2"]


def folder_item(root: Path, name: str = "one", **options: object) -> tuple[Source, PlannedTake]:
    source = open_source(SourceSettings(kind="folder", root=str(root), options=options))
    return source, next(PlannedTake(t, "train") for t in source.takes().takes if t.id == name)


def reported(root: Path, tmp_path: Path, *overrides: str, **options: object):
    return read_take(*folder_item(root, **options), settings(tmp_path, *overrides))


def lose(path: Path, *spans: tuple[int, int]) -> None:
    """Rows of a CSV as they are where the app lost the face."""
    lines = path.read_text().splitlines()
    for start, stop in spans:
        for number in range(start + 1, stop + 1):
            lines[number] = lines[number].split(",")[0] + ",0"
    path.write_text("\n".join(lines))


def test_what_is_filled_in_is_bounded_and_reported(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=12.0)
    lose(root / "one.csv", (60, 75), (120, 210))  # half a second, and three
    found, report = reported(root, tmp_path)
    assert [len(clip.coefficients) for clip in found] == [120, 150]
    expected = face(12.0, 0, 30.0)[210:]
    np.testing.assert_allclose(found[1].coefficients, expected, atol=1e-6)
    assert (report.seconds, report.lost_seconds, report.dropped_seconds) == (9.0, 3.0, 3.0)
    assert report.filled == pytest.approx(15 / 270)


@pytest.mark.parametrize(
    "spans", [[(30, 300)], [(n + 1, n + 20) for n in range(0, 360, 20)]], ids=["hole", "flicker"]
)
def test_a_take_without_a_face_for_most_of_it_is_put_aside(tmp_path: Path, spans: list) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=12.0)
    lose(root / "one.csv", *spans)
    found, report = reported(root, tmp_path)
    assert found == []
    assert "the face is lost in" in report.reason


@pytest.mark.parametrize("order", ["mediapipe", "livelink"])
def test_columns_in_another_order_are_seen_by_the_jaw(tmp_path: Path, order: str) -> None:
    root = make_folder(tmp_path / "mine", ["one.npy"], seconds=6.0)
    names = ORDERS[order][0]
    there = [INDEX.get(name, INDEX["tongueOut"]) for name in names]
    np.save(root / "one.npy", np.load(root / "one.npy")[:, there])
    found, report = reported(root, tmp_path)
    assert found == []
    assert f"source.options.channels={order}" in report.reason
    found, report = reported(root, tmp_path, channels=order)
    assert len(found) == 1
    assert report.doubt is None
    found, report = reported(root, tmp_path, channels="arkit")  # the user knows better
    assert len(found) == 1
    assert "jawOpen does not follow the sound" in report.doubt


def test_an_order_that_nothing_confirms_is_noted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.npy"], seconds=2.0)
    assert reported(root, tmp_path)[1].notes == (take_reader.UNCONFIRMED,)
    assert reported(root, tmp_path, channels="arkit")[1].notes == ()
    make_folder(root, ["one.npy"], seconds=4.0)
    assert reported(root, tmp_path)[1].notes == ()


def test_a_jaw_that_stands_still_while_there_is_sound(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.npy"], seconds=6.0)
    values = np.load(root / "one.npy")
    values[:, INDEX["jawOpen"]] *= 0.01
    np.save(root / "one.npy", values)
    assert "jawOpen hardly moves (by 0.00" in reported(root, tmp_path)[1].doubt
    values[:, INDEX["jawOpen"]] = 0.1
    np.save(root / "one.npy", values)
    assert "but mouthFunnel does" in reported(root, tmp_path)[1].doubt
    values[:, INDEX["mouthFunnel"]] = values[:, INDEX["jawOpen"]] = 0.1
    np.save(root / "one.npy", values)
    assert "jawOpen hardly moves" in reported(root, tmp_path)[1].doubt
    soundfile.write(root / "one.wav", np.zeros(96_000), 16_000)
    assert reported(root, tmp_path)[1].doubt is None


def stamped(count: int, base: int) -> list[str]:
    """Timecodes that skip no number."""
    codes = []
    for frame in range(count):
        second, field = divmod(frame, base)
        codes.append(f"00:{second // 60:02d}:{second % 60:02d}:{field:02d}.000")
    return codes


@pytest.mark.parametrize(
    ("base", "fps"), [(24, 24 / 1.001), (30, 30 / 1.001), (60, 60 / 1.001), (25, 25), (60, 60)]
)
def test_long_takes_stay_in_step(tmp_path: Path, base: int, fps: float) -> None:
    """Two minutes, in which a rate a thousandth off would be 120 ms apart."""
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=120.0, fps=fps)
    header, *rows = (root / "one.csv").read_text().splitlines()
    codes = stamped(len(rows), base)
    rows = [f"{code},{row.split(',', 1)[1]}" for code, row in zip(codes, rows, strict=True)]
    (root / "one.csv").write_text("\n".join([header, *rows]))
    source, item = folder_item(root)
    recording, (samples, values, _) = take_reader.align_with_rate(
        source.read(item.take), settings(tmp_path)
    )
    assert recording.fps == pytest.approx(fps)
    (early, _), (late, _) = (
        lip_sync.lip_audio_lag(samples[clips.frame_to_sample(k) :], values[k : k + 600])
        for k in (0, 3000)
    )
    assert abs(early) < 0.005
    assert abs(late) < 0.005
    assert abs(read_take(source, item, settings(tmp_path))[1].drift_seconds) < 0.005
    if base != round(fps, 6):
        source, item = folder_item(root, fps=base)
        report = read_take(source, item, settings(tmp_path))[1]
        assert report.drift_seconds == pytest.approx(-0.08, abs=0.01)


def test_lips_outweigh_a_length_that_fits_by_chance(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=120.0, fps=60.0)
    samples, rate = soundfile.read(root / "one.wav")
    soundfile.write(root / "one.wav", np.pad(samples, (0, round(0.12 * rate))), rate)
    source, item = folder_item(root)
    assert clips.with_true_rate(source.read(item.take)).fps < 60
    _, report = read_take(source, item, settings(tmp_path))
    assert (report.fps, report.notes) == (60, ())


def test_notes_of_a_take_are_reported(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.npy"], seconds=6.0)
    np.save(root / "one.npy", np.load(root / "one.npy") - 0.6)
    assert "out_of_range=clip" in reported(root, tmp_path)[1].reason
    np.save(root / "one.npy", (np.load(root / "one.npy") + 0.6) * 6)  # a whisper in per cent?
    assert "scale=0.01" in reported(root, tmp_path)[1].reason
    np.save(root / "one.npy", np.load(root / "one.npy") / 6 - 0.6)
    found, report = reported(root, tmp_path, "out_of_range=clip")
    assert "clipped that lay outside" in report.notes[0]
    assert report.minimum[0] == pytest.approx(-0.59)  # as published
    assert found[0].coefficients.min() == 0


def test_a_sound_that_is_cut_short_is_said_to_be_so_where_it_does_not_fit(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=6.0)
    content = (root / "one.wav").read_bytes()
    (root / "one.wav").write_bytes(content[: len(content) // 2])
    found, report = reported(root, tmp_path)
    assert found == []
    assert "cut short" in report.reason
    assert "cut short" in report.notes[0]


def test_what_a_face_is_like_is_told_by_the_frames_that_show_it(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=6.0)
    header, *rows = (root / "one.csv").read_text().splitlines()
    column = header.split(",").index("EyeBlinkLeft")
    for number in (59, 121):  # full at both sides of what is lost
        cells = rows[number].split(",")
        cells[column] = "1.0"
        rows[number] = ",".join(cells)
    (root / "one.csv").write_text("\n".join([header, *rows]))
    lose(root / "one.csv", (60, 121))
    _, report = reported(root, tmp_path)
    assert report.lost_seconds == pytest.approx(2.0, abs=0.1)
    assert report.pinned[INDEX["eyeBlinkLeft"]] == pytest.approx(2 / 119, abs=1e-4)


def test_a_jaw_that_no_column_names_is_not_in_doubt(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=6.0)
    _, report = reported(root, tmp_path, ignore=["jawOpen"])
    assert report.missing == ("jawOpen",)
    assert report.doubt is None


@pytest.mark.parametrize("kind", ["code", "shape", "tracked", "unreadable"])
def test_whatever_fails_in_one_take_is_a_reason(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(root)
    (item, *_) = items(root)
    match kind:
        case "code":
            monkeypatch.setattr(type(source), "read", lambda self, take: {}["no such\nkey"])
        case "shape":
            published = replace(source.read(item.take), coefficients=np.zeros((75, 51), np.float32))
            monkeypatch.setattr(type(source), "read", lambda self, take: published)
        case "tracked":
            published = replace(source.read(item.take), tracked=np.ones(74, bool))
            monkeypatch.setattr(type(source), "read", lambda self, take: published)
        case "unreadable":
            loss = UserError("cannot read a.wav: gone")
            monkeypatch.setattr(take_reader.take_quality, "cancelled_db", raising(loss))
    found, report = read_take(source, item, settings(root))
    assert found == []
    words = {"code": "KeyError", "shape": "(75, 51)", "tracked": "(74,)", "unreadable": "gone"}
    assert words[kind] in report.reason
    assert "\n" not in report.reason
    assert plan_batches(source, [item.take], settings(root))


def raising(error: Exception):
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_server_that_is_away_is_no_fault_of_a_take(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, (item, *_) = source_of(root), items(root)
    away = UserError("cannot read s3://a/b: the server does not answer")
    away.__cause__ = TimeoutError()
    monkeypatch.setattr(type(source), "read", raising(away))
    monkeypatch.setattr(take_reader.storage, "is_remote", lambda path: path == source.root)
    with pytest.raises(UserError, match="does not answer"):
        read_take(source, item, settings(root))
    away.__cause__ = FileNotFoundError()
    assert read_take(source, item, settings(root))[1].reason == str(away)


def read_first(root: Path, *overrides: str) -> tuple[list[Clip], TakeReport]:
    return read_take(source_of(root), items(root)[0], settings(root, *overrides))


def make_useless(root: Path, kind: str) -> None:
    """Give the first take no sound, no movement, or channels that cancel."""
    sound, face = (root / f"ann/anger/0.{suffix}" for suffix in ("wav", "npy"))
    samples, rate = soundfile.read(sound)
    match kind:
        case "silent":
            soundfile.write(sound, np.zeros(len(samples)), rate)
        case "frozen":
            np.save(face, np.full((75, 52), 0.25, np.float32))
        case "cancel":
            soundfile.write(sound, np.stack([samples, -samples], 1), rate)
        case "half cancel":
            soundfile.write(sound, np.stack([samples, -0.6 * samples], 1), rate)
        case "stereo":
            soundfile.write(sound, np.stack([samples, samples[::-1]], 1), rate)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("silent", "silent: nothing in its audio"),
        ("frozen", "the face does not move"),
        ("cancel", None),
        ("half cancel", None),
        ("stereo", None),
    ],
)
def test_a_take_without_life_is_left_out_unless_it_is_wanted(
    root: Path, kind: str, reason: str | None
) -> None:
    make_useless(root, kind)
    found, report = read_first(root)
    if reason is None:
        assert found
    else:
        assert found == []
        assert reason in (report.reason or "")
    assert report.silent == (kind == "silent")
    assert report.frozen == (kind == "frozen")
    assert (report.cancelled_db > 10) == ("cancel" in kind)
    found, report = read_first(root, "keep_lifeless=true")
    assert (len(found), report.reason) == (1, None)


def test_clips_have_the_words_and_phones_of_their_time(tmp_path: Path) -> None:
    make_beat(tmp_path / "beat", ["1_wayne_0_9_9"], seconds=4.0)
    chosen = settings(tmp_path / "beat", "source.kind=beat", "clip_seconds=2")
    source = open_source(chosen.source)
    found, _ = read_take(source, PlannedTake(source.takes().takes[0], "train"), chosen)
    assert [(clip.text, clip.phones) for clip in found] == [
        ("hello", ["ʌ"]), ("wide world", ["", "w"]),
    ]  # fmt: skip
    assert [clip.phone_starts.tolist() for clip in found] == [[0.0], [0.0, 1.0]]
