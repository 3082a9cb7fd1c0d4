"""A user's own folder: which files are takes, and what is said of the rest."""

import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
import soundfile
from tests.refusals import refusal
from tests.sources_made import RATE, make_folder, speech
from tests.unit.own_folder import labels, listed, read, with_sound

from diffusiontalker import arkit
from diffusiontalker.corpus import clips
from diffusiontalker.corpus.sources import Take
from diffusiontalker.corpus.sources.listing import MAX_BYTES


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
