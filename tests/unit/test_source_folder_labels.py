"""Labels of a user's own folder: the index, names, subfolders, slates and folders of splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.refusals import refusal
from tests.sources_made import FOLDER_TAKES, RATE, make_folder, speech
from tests.unit.own_folder import labels, listed, read, with_sound

from diffusiontalker.config import SourceSettings
from diffusiontalker.corpus.sources import open_source
from diffusiontalker.corpus.sources.folder import Folder

ROOT = Path(__file__).resolve().parents[2]


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
    assert said == [("index.csv", "unknown columns: notes")]
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
