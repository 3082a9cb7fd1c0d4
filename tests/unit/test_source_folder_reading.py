"""Reading takes of a user's own folder: every format, rates, channel orders, and damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import refusal
from tests.sources_made import FOLDER_TAKES, RATE, face, make_folder
from tests.unit.own_folder import listed, read, table, with_sound

from diffusiontalker import arkit, config
from diffusiontalker.animation import livelink
from diffusiontalker.corpus import clips, lip_sync
from diffusiontalker.corpus.sources import open_source
from diffusiontalker.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


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
    "two times": ("time,timestamp,jawOpen\n0,0,0.1\n1,1,0.1\n", "one time column"),
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
