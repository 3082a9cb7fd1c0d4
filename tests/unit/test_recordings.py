import csv
import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter
from tests.etf_made import make_etf
from tests.sets import KIND, write_set, write_take
from tests.sources_made import face, make_beat, make_folder

from diffusiontalker import config, preparation
from diffusiontalker.arkit import INDEX, ORDERS
from diffusiontalker.config import DataSettings, SourceSettings
from diffusiontalker.corpus import clips, ingest, shards
from diffusiontalker.corpus.ingest import Item
from diffusiontalker.corpus.manifest import Manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.corpus.sources import Source, anywhere, open_source
from diffusiontalker.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = write_set(tmp_path / "set")
    (folder / "notes.txt").write_text("mine")
    return folder


def settings(root: Path, *overrides: str) -> DataSettings:
    keys = [f"source.kind={KIND}", f"source.root={root}", f"output={root.parent / 'out'}"]
    return config.load_data(None, [*keys, *overrides])


def source_of(root: Path) -> Source:
    return open_source(settings(root).source)


def items(root: Path) -> list[Item]:
    return [Item(take, "train") for take in source_of(root).takes().takes]


def test_a_long_take_becomes_clips_that_join_up(root: Path) -> None:
    write_take(root, "ann/anger/long", seconds=7.3)
    item = next(i for i in items(root) if i.take.id == "ann-anger-long")
    found, report = ingest.read_take(source_of(root), item, settings(root, "clip_seconds=3"))
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
        (clip,), _ = ingest.read_take(source_of(root), item, settings(root))
        assert clip.identity == item.take.id.split("-")[0]
        assert clip.emotion == (None if "unlabelled" in item.take.id else "anger")
        assert clip.split == "train"


def test_a_take_that_is_malformed_or_too_short_has_a_reason_and_no_clips(root: Path) -> None:
    (root / "ann/anger/0.wav").write_bytes(b"RIFF")
    np.save(root / "ann/anger/1.npy", np.full((75, 52), np.nan))
    write_take(root, "ann/anger/2", seconds=0.6)
    reasons = {}
    for item in items(root)[:3]:
        found, report = ingest.read_take(source_of(root), item, settings(root))
        assert found == []
        reasons[report.take] = report.reason
    assert "not a readable audio file" in reasons["ann-anger-0"]
    assert "NaN or infinity" in reasons["ann-anger-1"]
    assert "0.60 s: shorter than a clip may be" in reasons["ann-anger-2"]


def folder_item(root: Path, name: str = "one", **options: object) -> tuple[Source, Item]:
    source = open_source(SourceSettings(kind="folder", root=str(root), options=options))
    return source, next(Item(t, "train") for t in source.takes().takes if t.id == name)


def reported(root: Path, tmp_path: Path, *overrides: str, **options: object):
    return ingest.read_take(*folder_item(root, **options), settings(tmp_path, *overrides))


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
    assert reported(root, tmp_path)[1].notes == (ingest.UNCONFIRMED,)
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
    recording, (samples, values, _) = ingest._in_step(source.read(item.take), settings(tmp_path))
    assert recording.fps == pytest.approx(fps)
    (early, _), (late, _) = (
        clips.lip_audio_lag(samples[clips.sample_of(k) :], values[k : k + 600]) for k in (0, 3000)
    )
    assert abs(early) < 0.005
    assert abs(late) < 0.005
    assert abs(ingest.read_take(source, item, settings(tmp_path))[1].drift_seconds) < 0.005
    if base != round(fps, 6):
        source, item = folder_item(root, fps=base)
        report = ingest.read_take(source, item, settings(tmp_path))[1]
        assert report.drift_seconds == pytest.approx(-0.08, abs=0.01)


def test_lips_outweigh_a_length_that_fits_by_chance(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", ["one.csv"], seconds=120.0, fps=60.0)
    samples, rate = soundfile.read(root / "one.wav")
    soundfile.write(root / "one.wav", np.pad(samples, (0, round(0.12 * rate))), rate)
    source, item = folder_item(root)
    assert clips.paced(source.read(item.take)).fps < 60
    _, report = ingest.read_take(source, item, settings(tmp_path))
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


@pytest.mark.parametrize("kind", ["code", "shape", "seen", "gone"])
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
        case "seen":
            published = replace(source.read(item.take), seen=np.ones(74, bool))
            monkeypatch.setattr(type(source), "read", lambda self, take: published)
        case "gone":
            loss = UserError("cannot read a.wav: gone")
            monkeypatch.setattr(ingest.take_quality, "cancelled_db", raising(loss))
    found, report = ingest.read_take(source, item, settings(root))
    assert found == []
    words = {"code": "KeyError", "shape": "(75, 51)", "seen": "(74,)", "gone": "gone"}
    assert words[kind] in report.reason
    assert "\n" not in report.reason
    assert ingest.plan(source, [item.take], settings(root))


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
    monkeypatch.setattr(ingest.storage, "is_remote", lambda path: path == source.root)
    with pytest.raises(UserError, match="does not answer"):
        ingest.read_take(source, item, settings(root))
    away.__cause__ = FileNotFoundError()
    assert ingest.read_take(source, item, settings(root))[1].reason == str(away)


def read_first(root: Path, *overrides: str) -> tuple[list[Clip], ingest.TakeReport]:
    return ingest.read_take(source_of(root), items(root)[0], settings(root, *overrides))


def lifeless(root: Path, kind: str) -> None:
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
    lifeless(root, kind)
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
    found, _ = ingest.read_take(source, Item(source.takes().takes[0], "train"), chosen)
    assert [(clip.text, clip.phones) for clip in found] == [
        ("hello", ["ʌ"]), ("wide world", ["", "w"]),
    ]  # fmt: skip
    assert [clip.phone_starts.tolist() for clip in found] == [[0.0], [0.0, 1.0]]


def test_the_plan_fills_shards_and_never_mixes_splits(root: Path) -> None:
    chosen = settings(root, "shard_minutes=0.1", "split.unseen_speakers=[cleo]")
    takes = source_of(root).takes().takes
    batches = ingest.plan(source_of(root), takes, chosen)
    assert sorted(i.take.id for b in batches for i in b) == sorted(t.id for t in takes)
    assert all(len({item.split for item in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) == 2  # 0.1 min hold two takes of 2.5 s
    assert batches == ingest.plan(source_of(root), takes, chosen)
    assert {i.take.identity for b in batches for i in b if i.split == "test_unseen"} == {"cleo"}


def test_a_take_longer_than_a_shard_has_one_of_its_own(root: Path) -> None:
    takes = source_of(root).takes().takes
    batches = ingest.plan(source_of(root), takes, settings(root, "shard_minutes=0.001"))
    assert [len(batch) for batch in batches] == [1] * len(takes)


def test_clip_by_clip_a_batch_writes_a_shard_for_each_split(root: Path) -> None:
    chosen = settings(root, "split.rule=published", "clip_seconds=1", "split.val=0.3")
    (batch,) = ingest.plan(source_of(root), source_of(root).takes().takes, chosen)
    out = root.parent / "out"
    out.mkdir()
    part = ingest.write_batch(chosen, out, "abc", 4, batch)
    assert [info.file for info in part.shards] == [
        f"{split}-00004.parquet" for split in ("test_seen", "train", "val")
    ]
    for info in part.shards:
        table = shards.read_table(out / info.file, sha256=info.sha256)
        assert set(table.column("split").to_pylist()) == {info.split}
        assert table.schema.metadata[b"diffusiontalker.source_fingerprint"] == b"abc"
    of = {c: i.split for i in part.shards for c in _ids(out / i.file)}
    assert of["ann-anger-0-000"] is not None
    assert len(of) == 48
    takes = {name.rsplit("-", 1)[0] for name, split in of.items() if split == "train"}
    assert takes & {name.rsplit("-", 1)[0] for name, split in of.items() if split == "val"}


def _ids(path: Path) -> list[str]:
    return shards.read_table(path, ["id"]).column(0).to_pylist()


def test_a_finished_set_clears_away_nothing_but_its_own(tmp_path: Path) -> None:
    for name in ("plan.json", "part-00003.json", "part-2.wav", "part-1/interview.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    outcome = ingest.Outcome(Manifest("hand", [], [], []), ingest.Known([], []))
    ingest.publish(tmp_path, outcome)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"manifest.json", "part-2.wav", "part-1/interview.wav"}


def changes(root: Path, *overrides: str) -> list[str]:
    found = ingest.survey(settings(root, *overrides), root.parent / "out")
    return list(found.changes)


def rewrite(path: Path) -> None:
    """Other content of the same size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_again_knows_what_has_changed(root: Path, whole: bool) -> None:
    out = root.parent / "out"
    found = ingest.survey(settings(root), out)
    if whole:
        ingest._write_tables(out, ingest.Known([], [], found.made))
        ingest.publish(out, ingest.Outcome(Manifest("x", [], [], []), ingest.Known([], [])))
    again = ingest.survey(settings(root), out)
    assert (again.changes, again.kept) == ((), whole)
    (root / "notes.txt").write_text("of no take")
    assert changes(root) == []
    rewrite(root / "ann/anger/0.wav")
    (root / "bob/anger/1.npy").write_bytes(b"longer")
    assert changes(root) == ["ann/anger/0.wav", "bob/anger/1.npy"]
    write_take(root, "cleo/anger/new")
    for path in (root / "dan").rglob("2.*"):
        path.unlink()
    assert len(changes(root)) == 2 + 2 + 4
    with pytest.raises(UserError, match="other settings"):
        changes(root, "clip_seconds=5")


def test_the_code_of_ones_own_source_is_part_of_a_set(root: Path) -> None:
    path = root.parent / "mine.py"
    path.write_text(Path(KIND.partition(":")[0]).read_text())
    kind = f"source.kind={path}:Pairs"
    assert changes(root, kind) == []
    os.utime(path, ns=(0, 0))
    assert changes(root, kind) == []
    path.write_text(path.read_text().replace("astype(np.float32)", "astype(np.float16)"))
    assert changes(root, kind) == [str(path)]


def test_a_set_made_elsewhere_is_the_same_but_other_data_are_not(root: Path) -> None:
    changes(root)
    copy = Path(shutil.copytree(root, root.parent / "copy"))
    rewrite(copy / "ann/anger/0.wav")  # copies have other times
    assert changes(copy) == []
    (copy / "ann/anger/0.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="another source"):
        changes(copy)


def test_only_the_batches_that_changed_are_made_again(root: Path) -> None:
    chosen, out = settings(root, "shard_minutes=0.2"), root.parent / "out"

    def batches() -> tuple[ingest.Survey, list[list[Item]], list[str]]:
        found = ingest.survey(chosen, out)
        planned = ingest.plan(source_of(root), found.listing.takes, chosen)
        return found, planned, [ingest._key(found.made, batch) for batch in planned]

    found, planned, keys = batches()
    for number, batch in enumerate(planned):
        part = ingest.write_batch(chosen, out, "x", number, batch)
        note = TypeAdapter(ingest.Part).dump_json(replace(part, key=keys[number]))
        (out / f"part-{number:05d}.json").write_bytes(note)
    rewrite(root / planned[1][0].take.files[0])
    found, planned, keys = batches()
    before = {path.name for path in out.iterdir()}
    ingest._clear(found, keys)
    gone = before - {path.name for path in out.iterdir()}
    assert "part-00001.json" in gone
    assert {name.rpartition("-")[2].partition(".")[0] for name in gone} == {"00001"}
    assert batches()[0].changes == ()


def test_a_whole_set_of_changed_files_is_withdrawn(root: Path) -> None:
    out = root.parent / "out"
    found = ingest.survey(settings(root), out)
    part = ingest.write_batch(settings(root), out, "x", 0, items(root))
    ingest._write_tables(out, ingest.Known(part.takes, [], found.made))
    manifest = Manifest("x", part.shards, [], [])
    ingest.publish(out, ingest.Outcome(manifest, ingest.Known([], [])))
    (out / "mine.txt").write_text("mine")
    rewrite(root / "ann/anger/0.wav")
    found = ingest.survey(settings(root), out)
    assert not found.kept
    ingest._clear(found, [])
    assert {path.name for path in out.iterdir()} == {"plan.json", "takes.json", "quarantine.csv",
                                                     "mine.txt"}  # fmt: skip


def publish_all(root: Path) -> Path:
    """The set of ``root``, whole, in one shard."""
    out = root.parent / "out"
    found = ingest.survey(settings(root), out)
    part = ingest.write_batch(settings(root), out, "x", 0, items(root))
    known = ingest.Known(part.takes, [], found.made)
    ingest._write_tables(out, known)
    ingest.publish(out, ingest.Outcome(Manifest("x", part.shards, [], []), known))
    return out


def test_a_whole_set_that_has_lost_a_shard_is_made_again(root: Path) -> None:
    out = publish_all(root)
    assert ingest.survey(settings(root), out).kept
    (out / "train-00000.parquet").unlink()
    found = ingest.survey(settings(root), out)
    assert found.changes == ("train-00000.parquet: the shard is missing",)
    assert "train-00000.parquet" in preparation.changed(found)[0]
    ingest._clear(found, [])
    assert not (out / "manifest.json").exists()
    assert ingest.survey(settings(root), out).changes == ()


def test_no_shard_of_an_earlier_state_stays_beside_a_set(root: Path) -> None:
    out = root.parent / "out"
    ingest.survey(settings(root), out)
    for name in ("train-00007.parquet", "mine-00007.parquet"):  # of a batch cut off, and not ours
        (out / name).write_bytes(b"x")
    publish_all(root)
    assert {path.name for path in out.glob("*.parquet")} == {
        "train-00000.parquet", "mine-00007.parquet",
    }  # fmt: skip


def test_shards_that_no_plan_accounts_for_are_not_written_over(root: Path) -> None:
    out = root.parent / "out"
    out.mkdir()
    (out / "train-00000.parquet").write_bytes(b"mine")
    with pytest.raises(UserError, match="would be written over"):
        ingest.survey(settings(root), out)
    assert {path.name for path in out.iterdir()} == {"train-00000.parquet"}


def test_an_output_that_holds_another_plan_is_left_alone(root: Path) -> None:
    out = root.parent / "out"
    out.mkdir()
    (out / "plan.json").write_text("[1]")
    with pytest.raises(UserError, match="an unfinished set of another source"):
        ingest.survey(settings(root), out)


def test_quarantine_is_a_table_that_survives_commas_and_line_ends(tmp_path: Path) -> None:
    report = ingest.TakeReport('a,"b"\n', files=("a.wav", "a.npy"), reason="x, y")
    ingest._write_tables(
        tmp_path, ingest.Known([report], [("c.txt", "no wav"), ("d", "kept, but odd")])
    )
    rows = list(csv.reader(io.StringIO((tmp_path / "quarantine.csv").read_text())))
    assert rows == [
        ["what", "name", "files", "reason"],
        ["malformed take", 'a,"b"\n', "a.wav a.npy", "x, y"],
        ["skipped file", "c.txt", "c.txt", "no wav"],
        ["note", "d", "d", "kept, but odd"],
    ]


def split_rule(root: Path, *overrides: str) -> str:
    chosen = settings(root, *overrides)
    source = open_source(chosen.source)
    return preparation.split_rule(source, source.takes().takes, chosen)


def test_what_splits_keep_apart_is_told_of_each_source(tmp_path: Path) -> None:
    beat = split_rule(make_beat(tmp_path / "beat", seconds=0.2), "source.kind=beat")
    assert "6 of 6 takes in the data set's own" in beat
    assert "authors' split is by script" in beat
    etf = split_rule(make_etf(tmp_path / "etf", 0.2), "source.kind=3d-etf")
    assert "one video, or of one actor's statement, mood and strength stay together (5 g" in etf
    assert "RAVDESS has two statements" in etf
    own = split_rule(make_folder(tmp_path / "own", seconds=0.2), "source.kind=folder")
    assert "which takes share a sentence is not known" in own
    clip_by_clip = split_rule(tmp_path / "own", "source.kind=folder", "split.rule=published")
    assert "parts of one take lie on both sides" in clip_by_clip


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nonsense", "known are beat, 3d-etf, vocaset, folder"),
        ("no.such.module:Thing", "cannot be imported"),
        ("/no/such/file.py:Thing", "cannot be imported"),
        (KIND + "s", "cannot be imported"),
        (KIND.replace("Pairs", "Options"), "is not a Source"),
    ],
)
def test_a_kind_of_source_that_is_not_there(root: Path, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(settings(root, f"source.kind={kind}").source)


def test_options_are_checked_by_the_source(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"source.options: unknown setting 'fsp'; did you mean 'fps'"
    ):
        open_source(settings(root, "source.options.fsp=25").source)
    with pytest.raises(UserError, match=r"source\.root is needed"):
        open_source(settings(root, "source.root=''").source)


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "a/../../b", "a\\..\\..\\b"])
def test_names_lead_nowhere_else(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of"):
        source_of(root).path(name)


def test_links_are_followed_and_those_to_nothing_are_listed(root: Path) -> None:
    away = root.parent / "disk"
    (root / "ann").rename(away)
    (root / "ann").symlink_to(away)
    (root / "bob/anger/0.wav").unlink()
    (root / "bob/anger/0.wav").symlink_to(root / "lost.wav")
    (root / "bob/anger/0.npy").unlink()
    found = ingest.survey(settings(root), root.parent / "out")
    assert len(found.listing.takes) == 23
    assert [name for name, _ in found.listing.skipped] == ["notes.txt", "bob/anger/0.wav"]
    assert all(ingest.read_take(source_of(root), i, settings(root))[0] for i in items(root))


def test_a_source_of_nothing_but_dead_links_says_so(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("one.wav", "one.csv"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "cache" / name)
    chosen = settings(tmp_path / "set", "source.kind=folder")
    with pytest.raises(UserError, match=r"no take; .*one\.csv: a link to .*, which is not there"):
        ingest.survey(chosen, tmp_path / "out")


def test_workers_in_other_folders_get_absolute_paths(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = config.SourceSettings(kind="vocaset", root="set", options={"rig": "r.npz", "fps": 30})
    assert anywhere(given).model_dump() == {
        "kind": "vocaset",
        "root": str(tmp_path / "set"),
        "options": {"rig": str(tmp_path / "r.npz"), "fps": 30},
    }
    (tmp_path / "own.py").write_text(Path(KIND.partition(":")[0]).read_text())
    own = config.SourceSettings(kind="own.py:Pairs", root="s3://bucket/x")
    assert anywhere(own).kind == f"{tmp_path}/own.py:Pairs"
    assert anywhere(own).root == "s3://bucket/x"
