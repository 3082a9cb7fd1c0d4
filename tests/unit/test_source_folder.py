"""A user's own folder: what is found, what is said of the rest, the index, and malformed files."""

import json
import shutil
import subprocess
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import refusal
from tests.sources_made import FOLDER_TAKES, RATE, face, make_folder, speech

from diffusiontalker import arkit, config
from diffusiontalker.animation import livelink
from diffusiontalker.config import SourceSettings
from diffusiontalker.corpus import clips, lip_sync
from diffusiontalker.corpus.sources import Recording, Take, TakeListing, open_source
from diffusiontalker.corpus.sources.folder import Folder
from diffusiontalker.corpus.sources.listing import MAX_BYTES
from diffusiontalker.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def listed(root: Path, **options: Any) -> TakeListing:
    return open_source(SourceSettings(kind="folder", root=str(root), options=options)).takes()


def labels(root: Path, **options: Any) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {t.id: (t.identity, t.emotion, t.split) for t in listed(root, **options).takes}


def read(root: Path, name: str = "one", **options: Any) -> Recording:
    source = open_source(SourceSettings(kind="folder", root=str(root), options=options))
    return source.read(next(take for take in source.takes().takes if take.id == name))


def with_sound(root: Path, name: str, content: str | bytes = "") -> Path:
    """A file of coefficients, written as it stands, beside half a second of audio."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    soundfile.write(path.with_suffix(".wav"), speech(0.5), RATE)
    return path


def table(columns: Mapping[str, np.ndarray]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


# What is found


def test_pairs_in_subfolders_are_takes(tmp_path: Path):
    found = listed(make_folder(tmp_path, seconds=0.5))
    assert [take.id for take in found.takes] == ["ada/one", "ada/two", "bob/one", "bob/two"]
    assert found.skipped == []
    assert found.takes[0] == Take(
        id="ada/one",
        identity="ada",
        bytes=(tmp_path / "ada" / "one.wav").stat().st_size,
        files=("ada/one.csv", "ada/one.wav"),
    )


def test_a_take_in_no_subfolder_is_nobodys(tmp_path: Path):
    make_folder(tmp_path, ["one.csv", "set/ada/two.csv"], seconds=0.2)
    assert labels(tmp_path) == {"one": (None, None, None), "set/ada/two": ("ada", None, None)}


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".WAV"])
def test_other_audio_will_do(tmp_path: Path, suffix: str):
    make_folder(tmp_path, ["one.npy"], seconds=1.0)
    (tmp_path / "one.wav").unlink()
    soundfile.write(tmp_path / f"one{suffix}", speech(1.0), RATE)
    assert len(read(tmp_path).audio) == RATE


@pytest.mark.parametrize("suffix", [".m4a", ".opus", ".M4A", ".webm"])
def test_other_audio_is_read_where_a_decoder_is(tmp_path: Path, suffix: str):
    make_folder(tmp_path, ["one.npy"], "name,emotion\none.m4a,joy\n", seconds=1.0)
    if suffix == ".opus":
        soundfile.write(tmp_path / "a.ogg", speech(1.0), RATE, subtype="OPUS")
        (tmp_path / "a.ogg").rename(tmp_path / "one.opus")
    elif shutil.which("ffmpeg"):
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", tmp_path / "one.wav"]
        subprocess.run([*command, tmp_path / f"one{suffix}"], check=True)
    else:
        (tmp_path / f"one{suffix}").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42")
    (said,) = listed(tmp_path).skipped
    assert said[1] == "one.wav is used instead"
    (tmp_path / "one.wav").unlink()
    assert labels(tmp_path) == {"one": (None, "joy", None)}
    if suffix == ".opus" or shutil.which("ffmpeg"):
        assert clips.align(read(tmp_path), 0.5)[0].shape == (RATE,)
    else:
        assert "ffmpeg -i" in refusal(lambda: read(tmp_path))


def test_text_as_excel_writes_it(tmp_path: Path):
    table = "time\tjawOpen\n0\t0,5\n0,1\t0,6\n\t\n"
    with_sound(tmp_path, "one.csv", table.encode("utf-16"))
    recording = read(tmp_path)
    assert recording.coefficients[:, arkit.INDEX["jawOpen"]] == pytest.approx([0.5, 0.6])


@pytest.mark.parametrize("name", ["o n e", "été-Ünï", "take.v2", "a,b;c", "_-", "名前", "a..b"])
def test_odd_names(tmp_path: Path, name: str):
    make_folder(tmp_path, [f"{name}.csv"], f'name,emotion\n"{name}",joy\n', seconds=0.2)
    found = listed(tmp_path)
    assert [(take.id, take.emotion) for take in found.takes] == [(name, "joy")]
    assert found.skipped == []
    assert len(read(tmp_path, name).coefficients) == 6


def test_a_mac_writes_names_in_another_way_than_tables(tmp_path: Path):
    decomposed = unicodedata.normalize("NFD", "jörg")
    make_folder(tmp_path, [f"{decomposed}.csv"], "name,identity\njörg,jörg\n", seconds=0.2)
    assert labels(tmp_path) == {"jörg": ("jörg", None, None)}
    assert read(tmp_path, "jörg").rate == RATE


def test_what_is_passed_over_is_said(tmp_path: Path):
    make_folder(tmp_path, ["one.csv", "two.npy", "three.json"], seconds=0.2)
    (tmp_path / "one.flac").write_bytes((tmp_path / "one.wav").read_bytes())
    (tmp_path / "one.npy").write_bytes((tmp_path / "two.npy").read_bytes())
    (tmp_path / "two.npy").unlink()
    (tmp_path / "three.wav").unlink()
    for name in ("README.md", "notes.md", "film.mov", ".DS_Store", "._one.wav", "LICENSE"):
        (tmp_path / name).write_text("x")
    found = listed(tmp_path)
    assert [take.files for take in found.takes] == [("one.csv", "one.wav")]
    said = dict(found.skipped)
    assert said.keys() == {"one.flac", "one.npy", "two.wav", "three.json", "*.md", "*.mov", "*"}
    assert said["one.flac"] == "one.wav is used instead"
    assert said["one.npy"] == "one.csv is used instead"
    assert said["two.wav"] == "audio without coefficients of its name (.csv, .npz, .json, .npy)"
    assert said["three.json"] == "coefficients without audio of its name (.wav, .flac, .ogg, .mp3)"
    assert said["*.md"].startswith("2 files: neither audio (.wav,")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "beside name.csv (or .npz, .json, .npy); nothing is there"),
        (["one.wav"], "one.wav: audio without coefficients"),
        (["one.csv"], "one.csv: coefficients without audio"),
        (["one.txt"], "*.txt: 1 files: neither audio"),
        (["index.csv"], "no column 'name'"),
    ],
)
def test_a_folder_with_nothing_usable_says_what_is_expected(
    tmp_path: Path, names: list[str], message: str
):
    for name in names:
        (tmp_path / name).write_text("x")
    assert message in refusal(lambda: listed(tmp_path))


def test_no_folder(tmp_path: Path):
    assert "no such folder" in refusal(lambda: listed(tmp_path / "none"))


def test_a_huge_file_is_not_even_opened(tmp_path: Path):
    make_folder(tmp_path, ["one.csv", "two.csv"], seconds=0.2)
    with (tmp_path / "one.csv").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    found = listed(tmp_path)
    assert [take.id for take in found.takes] == ["two"]
    assert found.skipped == [("one.csv", "larger than 64 MiB")]


# Labels


INDEX = """\ufeffName,identity,emotion,split,notes
ada/one.wav,Ada L.,joy,train,good
 ada\\two , , anger ,val,
./bob/one,Bob,,test_unseen,"a, b"
bob/two.npy,Bob,,,
"""


def test_the_index_has_the_last_word(tmp_path: Path):
    make_folder(tmp_path, index=INDEX, seconds=0.2)
    assert labels(tmp_path) == {
        "ada/one": ("Ada L.", "joy", "train"),
        "ada/two": (None, "anger", "val"),
        "bob/one": ("Bob", None, "test_unseen"),
        "bob/two": ("Bob", None, None),
    }
    said = listed(tmp_path).skipped
    assert said == [("index.csv", "columns without a meaning here: notes")]
    assert Folder.splits_are_final


def test_columns_that_the_index_lacks_are_told_by_names(tmp_path: Path):
    index = "name,emotion,,\nada/one,joy,,\nbob/one,,,\n\n,,,\n"
    make_folder(tmp_path, ["ada/one.csv", "bob/one.csv"], index, seconds=0.2)
    assert labels(tmp_path) == {"ada/one": ("ada", "joy", None), "bob/one": ("bob", None, None)}


def test_rows_without_files_and_files_without_rows_are_said(tmp_path: Path):
    index = "name,identity\nada/one,x\nada/on,x\n../secret,x\n/etc/passwd,x\n"
    make_folder(tmp_path, index=index, seconds=0.2)
    found = listed(tmp_path)
    assert len(found.takes) == len(FOLDER_TAKES)
    assert dict(found.skipped) == {
        "ada/on": "in row 2 of index.csv, but there is no such take",
        "../secret": "in row 3 of index.csv, but there is no such take",
        "/etc/passwd": "in row 4 of index.csv, but there is no such take",
        "ada/two and 2 more": "kept, but without a row in index.csv",
    }


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "the table is empty"),
        ("identity\nx\n", "no column 'name', only identity"),
        ("name/identity\none/x\n", "no column 'name', only name/identity"),
        ("name,name\none,one\n", "the column 'name' stands twice"),
        ("name,identity\none,Smith, Ada\n", "row 1 has 3 cells, the header 2"),
        ("name,identity\none\n", "row 1 has 1 cells, the header 2"),
        ("name,identity\none,x\none.wav,y\n", "row 2: 'one.wav' stands twice"),
        ("name,identity\nnone.csv,x\nnone.csv,y\n", "row 2: 'none.csv' stands twice"),
        ("name,identity\n,x\n", "row 1: has labels but no name"),
        ("name,split\none,test\n", "row 1: split 'test' is none of train, val, test_seen"),
        ("name,split\none,Train\n", "row 1: split 'Train' is none of"),
        ('name,identity\n"' + "x" * 200_000 + '"', "not CSV"),
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, index: str, message: str):
    make_folder(tmp_path, ["one.csv"], index, seconds=0.2)
    said = refusal(lambda: listed(tmp_path))
    assert message in said
    assert "index.csv" in said


def test_an_index_that_is_no_text_is_refused(tmp_path: Path):
    make_folder(tmp_path, ["one.csv"], seconds=0.2)
    (tmp_path / "index.csv").write_bytes(b"name\n\xff\xfe\n")
    assert "not UTF-8" in refusal(lambda: listed(tmp_path))


def test_an_index_that_is_asked_for_must_be_there(tmp_path: Path):
    make_folder(tmp_path, ["one.csv"], seconds=0.2)
    assert "there is no labels.csv" in refusal(lambda: listed(tmp_path, index="labels.csv"))
    (tmp_path / "labels.csv").write_text("name,emotion\none,joy\n")
    assert labels(tmp_path, index="labels.csv") == {"one": (None, "joy", None)}


def test_a_pattern_reads_labels_from_names(tmp_path: Path):
    make_folder(tmp_path, ["x/ada_joy_1.csv", "x/bob__2.csv", "x/other.csv"], seconds=0.2)
    pattern = r"(?P<identity>[a-z]+)_(?P<emotion>[a-z]*)_\d+$"
    assert labels(tmp_path, stem=pattern) == {
        "x/ada_joy_1": ("ada", "joy", None),
        "x/bob__2": ("bob", None, None),
        "x/other": ("x", None, None),
    }
    assert labels(tmp_path, stem=r"_(?P<emotion>joy)_")["x/ada_joy_1"] == ("x", "joy", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "("}, "not a regular expression"),
        ({"stem": "(.*)"}, "needs named groups"),
        ({"stem": "(?P<speaker>.*)"}, "the groups are"),
        ({"channels": ["jawOpne"]}, "did you mean 'jawOpen'"),
        ({"channels": ["jawOpen", "JawOpen"]}, "stands twice"),
        ({"channels": []}, "source.options"),
        ({"channels": "alphabetical"}, "one of arkit, mediapipe, livelink"),
        ({"channels": ["jawOpen", "frame"]}, "unknown channel 'frame'"),
        ({"fps": -1}, "fps"),
        ({"scale": 0}, "scale"),
        ({"rate": 30}, "unknown setting 'rate'"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], message: str):
    said = refusal(lambda: listed(tmp_path, **options))
    assert message in said
    assert "source.options" in said


@pytest.mark.parametrize("name", ["anna/anna_joy_1", "x/anna_joy_1", "anna_joy_1"])
def test_a_speaker_does_not_span_folders(tmp_path: Path, name: str):
    make_folder(tmp_path, [f"{name}.csv"], seconds=0.2)
    assert labels(tmp_path, stem=shipped_stem()) == {name: ("anna", "joy", None)}
    assert labels(tmp_path, stem=r"(?P<identity>[^_]+)_(?P<emotion>[^_]+)") == {
        name: ("anna", "joy", None)
    }


def shipped_stem() -> str:
    text = (ROOT / "configs" / "data" / "folder.yaml").read_text()
    (line,) = [line for line in text.splitlines() if "# stem:" in line]
    return line.split("'")[1]


def test_groups_come_from_the_index_or_the_names(tmp_path: Path):
    make_folder(tmp_path, ["ann_s1.csv", "bob_s1.csv", "bob_s2.csv"], seconds=0.2)
    pattern = r"(?P<identity>[a-z]+)_(?P<group>s\d)"
    groups = {take.id: take.group for take in listed(tmp_path, stem=pattern).takes}
    assert groups == {"ann_s1": "s1", "bob_s1": "s1", "bob_s2": "s2"}
    (tmp_path / "index.csv").write_text("name,group\nann_s1,hello\nbob_s1,\nbob_s2,hello\n")
    groups = {take.id: take.group for take in listed(tmp_path, stem=pattern).takes}
    assert groups == {"ann_s1": "hello", "bob_s1": "", "bob_s2": "hello"}


APP = ("take.json", "frame_log.csv", "video_metadata.json", "thumbnail.jpg")


def make_app(root: Path, *folders: str, sound: bool = True) -> Path:
    """What the app exports: ``20260105_MySlate_1`` and the like."""
    for folder in folders:
        stem = folder.rpartition("/")[2].partition("_")[2] + "_iPhone"
        make_folder(root, [f"{folder}/{stem}.csv"], seconds=0.2)
        for name in (*APP, f"{stem}.mov"):
            (root / folder / name).write_text("x")
        if not sound:
            (root / folder / f"{stem}.wav").unlink()
    return root


def test_takes_of_the_phones_app_are_of_one_speaker(tmp_path: Path):
    make_app(tmp_path, "20260105_MySlate_1", "20260105_MySlate_2", "20260106_The_End_11")
    assert {take.id.partition("/")[0]: take.identity for take in listed(tmp_path).takes} == {
        "20260105_MySlate_1": "MySlate",
        "20260105_MySlate_2": "MySlate",
        "20260106_The_End_11": "The_End",
    }
    said = dict(listed(tmp_path).skipped)
    assert said.keys() == {
        "20260105_MySlate_1/frame_log.csv and the like",
        "20260105_MySlate_1 and 2 more",
        "*.mov",
    }
    assert "source.options.speaker" in said["20260105_MySlate_1 and 2 more"]
    named = listed(tmp_path, speaker="anna")
    assert {take.identity for take in named.takes} == {"anna"}
    assert "20260105_MySlate_1 and 2 more" not in dict(named.skipped)


def test_a_folder_of_a_person_counts_for_more_than_a_slate(tmp_path: Path):
    make_app(tmp_path, "anna/20260105_MySlate_1", "train/20260105_MySlate_2")
    assert [take.identity for take in listed(tmp_path).takes] == ["anna", "MySlate"]
    # A number behind a name is no take's, where nothing is of the app.
    make_folder(tmp_path / "own", ["subject_1/a.csv"], seconds=0.2)
    assert labels(tmp_path / "own") == {"subject_1/a": ("subject_1", None, None)}


def test_sound_in_a_video_can_be_taken_out(tmp_path: Path):
    make_app(tmp_path, "20260105_My Slate_1", sound=False)
    message = refusal(lambda: listed(tmp_path))
    video = "20260105_My Slate_1/My Slate_1_iPhone"
    assert f"ffmpeg -i '{video}.mov' -vn -ac 1 '{video}.wav'" in message


def test_train_val_and_test_are_no_speakers(tmp_path: Path):
    names = ["train/1", "train/ann/2", "val/ann/3", "test/ann/4", "test/bob/5", "eve/test/6"]
    make_folder(tmp_path, [f"{name}.csv" for name in names], seconds=0.2)
    assert labels(tmp_path) == {
        "train/1": (None, None, "train"),
        "train/ann/2": ("ann", None, "train"),
        "val/ann/3": ("ann", None, "val"),
        "test/ann/4": ("ann", None, "test_seen"),
        "test/bob/5": ("bob", None, "test_unseen"),
        "eve/test/6": ("eve", None, None),
    }
    assert "source.options.split_folders" in dict(listed(tmp_path).skipped)["test/, train/, val/"]
    assert {split for _, _, split in labels(tmp_path, split_folders=False).values()} == {None}
    (tmp_path / "index.csv").write_text("name,split\ntrain/1,val\ntest/bob/5,\n")
    assert labels(tmp_path)["train/1"] == (None, None, "val")
    assert labels(tmp_path)["test/bob/5"] == ("bob", None, "test_unseen")


def test_one_folder_called_test_is_no_split(tmp_path: Path):
    make_folder(tmp_path, ["test/1.csv", "ann/1.csv"], seconds=0.2)
    assert labels(tmp_path) == {"ann/1": ("ann", None, None), "test/1": (None, None, None)}


def test_beat2_is_named(tmp_path: Path):
    for folder in ("smplxflame_30", "wave16k"):
        (tmp_path / folder).mkdir()
    arrays = {"expressions": np.zeros((30, 100)), "poses": np.zeros((30, 165))}
    np.savez(tmp_path / "smplxflame_30" / "2_scott_0_1_1.npz", **arrays)
    soundfile.write(tmp_path / "wave16k" / "2_scott_0_1_1.wav", speech(1.0), RATE)
    for kind in ("folder", "beat", "3d-etf"):
        source = open_source(SourceSettings(kind=kind, root=str(tmp_path)))
        assert "this is BEAT2" in refusal(source.takes)
    np.savez(with_sound(tmp_path / "flat", "one.npz"), **arrays)
    assert "BEAT2" in refusal(lambda: read(tmp_path / "flat"))


# What is read


@pytest.mark.parametrize("name", FOLDER_TAKES)
def test_every_format_holds_the_same(tmp_path: Path, name: str):
    make_folder(tmp_path, [name], seconds=1.0)
    recording = read(tmp_path, name.rpartition(".")[0])
    np.testing.assert_allclose(recording.coefficients, face(1.0, 0, 30.0), atol=6e-7)
    assert recording.coefficients.dtype == np.float32
    assert (recording.fps, recording.rate, recording.start) == (30.0, RATE, 0.0)
    assert recording.missing == ()
    assert len(recording.audio) == RATE


@pytest.mark.parametrize("name", FOLDER_TAKES)
def test_the_mouth_follows_the_voice(tmp_path: Path, name: str):
    make_folder(tmp_path, [name], seconds=6.0, lag=-0.1)
    samples, coefficients, _ = clips.align(read(tmp_path, name.rpartition(".")[0]), 0.5)
    measured = lip_sync.lip_audio_lag(samples, coefficients)
    assert measured is not None
    assert measured[0] == pytest.approx(-0.1, abs=0.5 / arkit.FPS)


def test_a_plain_table_by_names(tmp_path: Path):
    times = 0.25 + np.arange(30) / 60
    columns = {"JAWOPEN": np.linspace(0, 1, 30), "Time": times, "mouthclose": np.full(30, 0.2)}
    with_sound(tmp_path, "one.csv", "\ufeff" + table(columns))
    recording = read(tmp_path, fps=24.0)
    assert (recording.fps, recording.start) == (60.0, 0.25)
    expected = np.zeros((30, 52), np.float32)
    expected[:, arkit.INDEX["jawOpen"]] = columns["JAWOPEN"]
    expected[:, arkit.INDEX["mouthClose"]] = 0.2
    np.testing.assert_allclose(recording.coefficients, expected, atol=1e-6)
    assert len(recording.missing) == 50
    assert "jawOpen" not in recording.missing
    assert "mouthClose" not in recording.missing


def test_rates_where_the_file_has_none(tmp_path: Path):
    with_sound(tmp_path, "one.csv", "jawOpen\n0.5\n0.6\n")
    assert read(tmp_path).fps == 30.0
    assert read(tmp_path, fps=25).fps == 25.0
    make_folder(tmp_path, ["two.npy", "three.npz", "four.csv"], seconds=0.2)
    assert read(tmp_path, "two", fps=25).fps == 25.0
    assert read(tmp_path, "three", fps=25).fps == 30.0
    assert read(tmp_path, "four").fps == 30.0
    assert read(tmp_path, "four", fps=25).fps == 25.0  # a timecode only counts
    frames = [{"weights": [0.5]}] * 5
    with_sound(tmp_path, "five.json", json.dumps({"names": ["jawOpen"], "frames": frames}))
    assert [read(tmp_path, "five", fps=fps).fps for fps in (None, 25, 60)] == [30, 25, 60]


def test_columns_of_arrays_are_named(tmp_path: Path):
    path = with_sound(tmp_path, "one.npy")
    np.save(path, np.array([[1, 50], [2, 100]], np.int64))
    recording = read(tmp_path, channels=["mouthPucker", "jawOpen"], scale=0.01)
    assert recording.coefficients[:, arkit.INDEX["jawOpen"]].tolist() == [0.5, 1.0]
    assert recording.coefficients[:, arkit.INDEX["mouthPucker"]] == pytest.approx([0.01, 0.02])
    assert recording.coefficients.dtype == np.float32
    assert len(recording.missing) == 50
    said = refusal(lambda: read(tmp_path))
    assert "shape (2, 2), expected (frames, 52); source.options.channels" in said


def test_an_archive_may_lack_names_and_rate(tmp_path: Path):
    path = with_sound(tmp_path, "one.npz")
    np.savez(path, coefficients=face(0.5, 0, 24.0))
    recording = read(tmp_path, fps=24)
    assert (recording.fps, recording.coefficients.shape) == (24.0, (12, 52))


@pytest.mark.parametrize("lines", ["1;0,5\n2;\n3;0,7\n", "1;0,5\n2\n3;0,7\n"])
def test_tables_of_channels_as_people_have_them(tmp_path: Path, lines: str):
    with_sound(tmp_path, "one.csv", "Unnamed: 0;jawOpen\n" + lines)
    recording = read(tmp_path)
    assert recording.coefficients[:, arkit.INDEX["jawOpen"]] == pytest.approx([0.5, 0.6, 0.7])
    assert recording.tracked.tolist() == [True, False, True]
    assert "row numbers" in recording.notes[0]
    with_sound(tmp_path, "two.csv", "time\tjawOpen\n0\t0.5\n0,1\t\n0,2\t0.7\n")
    recording = read(tmp_path, "two")
    assert recording.coefficients[:, arkit.INDEX["jawOpen"]] == pytest.approx([0.5, 0.6, 0.7])
    assert (recording.fps, recording.tracked.tolist()) == (10.0, [True, False, True])


def test_columns_that_are_no_channels_are_left_out(tmp_path: Path):
    table = "frame,_neutral,time,eyeBlink_L,HeadYaw\nx,9,0,0.1,7\ny,9,0.1,0.2,7\n"
    with_sound(tmp_path, "one.csv", table)
    assert "row 1: could not convert" in refusal(lambda: read(tmp_path))
    recording = read(tmp_path, ignore=["frame"])
    assert recording.coefficients[:, arkit.INDEX["eyeBlinkLeft"]] == pytest.approx([0.1, 0.2])
    assert np.count_nonzero(recording.coefficients) == 2
    tree = {"names": ["_neutral", "jawOpen", "frame"], "frames": [{"weights": [9, 0.5, 3]}]}
    with_sound(tmp_path, "two.json", json.dumps(tree))
    assert read(tmp_path, "two", ignore=["frame"]).coefficients.sum() == 0.5


@pytest.mark.parametrize(
    ("order", "width"), [("arkit", 52), ("mediapipe", 52), ("livelink", 52), ("livelink", 61)]
)
def test_known_orders_of_arrays(tmp_path: Path, order: str, width: int):
    names = next(names for names in arkit.ORDERS[order] if len(names) == width)
    values = np.random.default_rng(0).random((5, width))
    np.save(with_sound(tmp_path, "one.npy"), values)
    recording = read(tmp_path, channels=order)
    for column, name in enumerate(names):
        if name not in arkit.NO_CHANNELS:
            np.testing.assert_allclose(
                recording.coefficients[:, arkit.INDEX[name]], values[:, column], rtol=1e-6
            )
    assert recording.missing == (("tongueOut",) if order == "mediapipe" else ())
    assert not recording.by_position
    if width == 52:
        assert read(tmp_path).by_position
    else:
        assert "expected (frames, 52)" in refusal(lambda: read(tmp_path))
        own = [*arkit.LIVE_LINK, *(f"extra{n}" for n in range(9))]
        assert "unknown channel 'extra0'" in refusal(lambda: read(tmp_path, channels=own))
        left_out = read(tmp_path, channels=own, ignore=own[52:])
        assert np.array_equal(left_out.coefficients, recording.coefficients)


def test_a_live_link_file_without_all_curves(tmp_path: Path):
    lines = livelink.encode(face(0.5, 0, 30.0), 30.0).splitlines()
    cut = "\n".join(line.rsplit(",", 10)[0] for line in lines)  # TongueOut and the angles
    with_sound(tmp_path, "one.csv", cut)
    assert read(tmp_path).missing == ("tongueOut",)


CSV = {
    "empty": ("", "the table is empty"),
    "header": ("jawOpen,mouthClose\n", "and frames"),
    "only time": ("time\n0\n1\n", "a header of channels"),
    "short row": ("jawOpen,mouthClose\n1,2\n1\n", "row 2 has 1 cells, the header 2"),
    "long row": ("jawOpen\n1\n1,2\n", "row 2 has 2 cells, the header 1"),
    "word": ("jawOpen\n0.1\nwide\n", "row 2: could not convert"),
    "hole": ("jawOpen,mouthClose\n0.1,\n", "row 1: could not convert"),
    "nan": ("jawOpen\n0.1\nnan\n", "NaN or infinity at index (1, 0)"),
    "unknown": ("jawOpne\n0.1\n", "unknown channel 'jawOpne'; did you mean 'jawOpen'"),
    "unnamed": (",jawOpen\n0.1,0.1\n", "the first column has no name"),
    "unnamed later": ("jawOpen,\n0,0.1\n", "row 1 has 2 cells, the header 1"),
    "no time": ("time,jawOpen\n,0.1\n", "a time is no number"),
    "no face": ("time,jawOpen\n0,\n0.1,\n0.2,\n", "tracking was lost"),
    "twice": ("jawOpen,JawOpen\n0.1,0.1\n", "'JawOpen' stands twice"),
    "two times": ("time,timestamp,jawOpen\n0,0,0.1\n1,1,0.1\n", "one time at most"),
    "back": ("time,jawOpen\n0.1,0.1\n0,0.1\n", "time of frame 1 is not after"),
    "nan time": ("time,jawOpen\n0,0.1\nnan,0.1\n", "time of frame"),
    "milliseconds": ("time,jawOpen\n0,0.1\n33.3,0.1\n66.7,1\n", "give them in s"),
    "timecode": ("Timecode,JawOpen\nsoon,0.1\n", "'soon' is no HH:MM:SS"),
    "cut": (livelink.encode(np.zeros((3, 52)), 30.0)[:-40], "row 3 has"),
    "binary": ("\0\1\2", "unknown channel|not CSV|and frames"),
}


@pytest.mark.parametrize("name", CSV)
def test_malformed_tables(tmp_path: Path, name: str):
    text, message = CSV[name]
    path = with_sound(tmp_path, "one.csv", text)
    said = refusal(lambda: read(tmp_path))
    assert any(part in said for part in message.split("|"))
    assert str(path) in said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 51)), "shape (3, 51), expected (frames, 52)"),
        (np.zeros((0, 52)), "shape (0, 52)"),
        (np.zeros(52), "shape (52,)"),
        (np.full((3, 52), np.nan), "NaN or infinity"),
        (np.full((3, 52), "x"), "holds <U1, expected numbers"),
        (np.full((3, 52), None), "not an .npy of a plain array"),
    ],
)
def test_malformed_arrays(tmp_path: Path, values: np.ndarray, message: str):
    path = with_sound(tmp_path, "one.npy")
    np.save(path, values, allow_pickle=True)
    assert message in refusal(lambda: read(tmp_path))


def test_malformed_archives(tmp_path: Path):
    path = with_sound(tmp_path, "one.npz", "PK")
    assert "not an .npz" in refusal(lambda: read(tmp_path))
    np.savez(path, weights=np.zeros((3, 52)))
    assert "no array coefficients; it holds weights" in refusal(lambda: read(tmp_path))
    np.savez(path, coefficients=np.zeros((3, 52)), fps=-1)
    assert "fps is" in refusal(lambda: read(tmp_path))
    np.savez(path, coefficients=np.zeros((3, 1)), names=np.array(["jaw"]))
    assert "unknown channel 'jaw'" in refusal(lambda: read(tmp_path))
    path.write_bytes(path.read_bytes()[:-30])
    assert "not an .npz" in refusal(lambda: read(tmp_path))


@pytest.mark.parametrize("text", ["", "{", '{"title": "a take"}', "[1, 2]"])
def test_malformed_json(tmp_path: Path, text: str):
    with_sound(tmp_path, "one.json", text)
    assert "one.json: " in refusal(lambda: read(tmp_path))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\xff\xfbhello" * 20])
def test_audio_that_is_none(tmp_path: Path, content: bytes):
    make_folder(tmp_path, ["one.csv"], seconds=0.2)
    (tmp_path / "one.wav").write_bytes(content)
    assert "one.wav: " in refusal(lambda: read(tmp_path))


@pytest.mark.parametrize("name", ["one.wav", "one.csv", "index.csv"])
def test_a_link_may_lead_to_another_disk(tmp_path: Path, name: str):
    make_folder(tmp_path / "root", ["one.csv"], "name\none\n", seconds=0.2)
    (tmp_path / "root" / name).rename(tmp_path / name)
    (tmp_path / "root" / name).symlink_to(tmp_path / name)
    assert read(tmp_path / "root").rate == RATE
    assert listed(tmp_path / "root").skipped == []


@given(text=st.text(alphabet='jawOpen,time"\n\r\0 .0123-einf', max_size=60))
def test_any_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str):
    root = tmp_path_factory.mktemp("any")
    with_sound(root, "one.csv", text)
    try:
        recording = read(root)
    except UserError:
        return
    assert recording.coefficients.shape[1] == 52
    assert np.isfinite(recording.coefficients).all()
    assert recording.fps > 0
    assert len(recording.missing) == 51


def test_the_shipped_configuration_loads(tmp_path: Path):
    make_folder(tmp_path, seconds=0.2)
    overrides = [f"source.root={tmp_path}", "output=shards", "source.options.scale=0.5"]
    settings = config.load_data(ROOT / "configs" / "data" / "folder.yaml", overrides)
    assert settings.output == "shards"
    source = open_source(settings.source)
    assert source.options.scale == 0.5
    assert len(source.takes().takes) == 4
