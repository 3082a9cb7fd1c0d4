"""BEAT: takes found by name, labels at their bounds, the official split, and malformed takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.refusals import refusal
from tests.sources_made import BEAT_TAKES, RATE, face, make_beat, openness

from diffusiontalker import arkit, config
from diffusiontalker.config import SourceSettings
from diffusiontalker.corpus import clips, lip_sync
from diffusiontalker.corpus.sources import Recording, Take, TakeListing, open_source
from diffusiontalker.corpus.sources.beat import emotion, official_split
from diffusiontalker.corpus.sources.listing import MAX_BYTES

ROOT = Path(__file__).resolve().parents[2]


def listed(root: Path, **options: Any) -> TakeListing:
    return open_source(SourceSettings(kind="beat", root=str(root), options=options)).takes()


def by_id(root: Path, **options: Any) -> dict[str, Take]:
    return {take.id: take for take in listed(root, **options).takes}


def read(root: Path, name: str = "1_wayne_0_1_1", **options: Any) -> Recording:
    source = open_source(SourceSettings(kind="beat", root=str(root), options=options))
    return source.read(next(take for take in source.takes().takes if take.id == name))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=1.0)


# What is found


def test_takes_as_published(tmp_path: Path):
    found = listed(make_beat(tmp_path, seconds=0.5))
    assert [take.id for take in found.takes] == sorted(BEAT_TAKES)
    assert found.skipped == []
    assert found.takes[1] == Take(
        id="1_wayne_0_65_65",
        identity="1_wayne",
        emotion="happiness",
        group="0_65_65",
        split="test_seen",
        bytes=(tmp_path / "1" / "1_wayne_0_65_65.wav").stat().st_size,
        files=tuple(f"1/1_wayne_0_65_65.{kind}" for kind in ("json", "wav", "TextGrid")),
    )


def test_speakers_of_one_script_are_one_group(tmp_path: Path):
    takes = by_id(make_beat(tmp_path, ["1_wayne_0_9_9", "2_scott_0_9_9", "2_scott_1_9_9"], 0.5))
    groups = {name: take.group for name, take in takes.items()}
    assert groups["1_wayne_0_9_9"] == groups["2_scott_0_9_9"] != groups["2_scott_1_9_9"]


@pytest.mark.parametrize("folder", [".", "beat_english_v0.2.1/1", "a b/ü/2"])
def test_any_nesting_will_do(tmp_path: Path, folder: str):
    make_beat(tmp_path / "made", ["1_wayne_0_9_9"], seconds=0.5)
    (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
    for path in (tmp_path / "made" / "1").iterdir():
        path.rename(tmp_path / "root" / folder / path.name)
    found = listed(tmp_path / "root")
    assert [take.identity for take in found.takes] == ["1_wayne"]
    assert found.skipped == []
    assert read(tmp_path / "root", "1_wayne_0_9_9").rate == RATE


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (0, None),
        (1, "neutral"),
        (64, "neutral"),
        (65, "happiness"),
        (72, "happiness"),
        (73, "anger"),
        (80, "anger"),
        (81, "sadness"),
        (86, "sadness"),
        (87, "contempt"),
        (94, "contempt"),
        (95, "surprise"),
        (102, "surprise"),
        (103, "fear"),
        (110, "fear"),
        (111, "disgust"),
        (118, "disgust"),
        (119, None),
    ],
)
def test_bounds_of_emotions_are_inclusive(start: int, expected: str | None):
    assert [emotion(kind, start, start) for kind in (0, 2, 4, 6)] == [expected] * 4
    assert [emotion(kind, start, start) for kind in (1, 3, 5, 7)] == [None] * 4


@pytest.mark.parametrize(
    ("scripts", "expected", "split", "told"),
    [
        ("1_8", "neutral", "test_seen", None),
        ("64_66", None, "test_seen", "several emotions"),
        ("72_73", None, "test_seen", "several emotions"),
        ("0_0", None, "train", "scripts are 1 to 118"),
        ("0_8", None, "test_seen", "scripts are 1 to 118"),
        ("117_120", None, "val", "scripts are 1 to 118"),
    ],
)
def test_takes_of_several_scripts_and_of_none(
    tmp_path: Path, scripts: str, expected: str | None, split: str, told: str | None
):
    found = listed(make_beat(tmp_path, [f"1_wayne_0_{scripts}", f"2_scott_1_{scripts}"], 0.5))
    monologue, conversation = found.takes
    assert (monologue.emotion, monologue.split, conversation.emotion) == (expected, split, None)
    assert [told is not None and told in reason for _, reason in found.skipped] == [True] * bool(
        told
    )


def test_text_and_phones_come_from_the_text_grid(one: Path):
    recording = read(one)
    assert [word.label for word in recording.words] == ["hello", "wide", "world"]
    assert recording.words[1][:2] == (0.5, 0.75)
    assert [phone.label for phone in recording.phones] == ["ʌ", "", "w"]
    assert recording.notes == ()


def test_a_take_does_not_need_its_text_grid(one: Path):
    path = one / "1" / "1_wayne_0_1_1.TextGrid"
    path.write_text(path.read_text()[:-30])
    recording = read(one)
    assert recording.words == recording.phones == ()
    assert "1_wayne_0_1_1.TextGrid: not a TextGrid" in recording.notes[0]
    path.unlink()
    assert read(one).notes == ()


@pytest.mark.parametrize(
    ("kind", "start", "end", "expected"),
    [
        (0, 1, 1, "test_seen"),
        (0, 8, 8, "test_seen"),
        (0, 9, 9, "train"),
        (0, 55, 55, "train"),
        (0, 56, 56, "val"),
        (0, 64, 64, "val"),
        (0, 65, 65, "test_seen"),
        (0, 66, 71, "train"),
        (0, 71, 72, "val"),
        (0, 65, 72, "test_seen"),
        (0, 1, 8, "test_seen"),
        (0, 8, 16, "test_seen"),
        (0, 12, 12, "train"),
        (0, 110, 110, "val"),
        (0, 111, 118, "test_seen"),
        (2, 103, 103, "test_seen"),
        (1, 1, 1, "test_seen"),
        (1, 12, 12, "val"),
        (1, 2, 11, "train"),
        (1, 65, 65, "train"),
        (3, 1, 1, "test_seen"),
    ],
)
def test_official_split(kind: int, start: int, end: int, expected: str):
    assert official_split(kind, start, end) == expected


def test_types_not_asked_for_are_one_line_each(tmp_path: Path):
    names = ["1_wayne_0_9_9", *(f"12_zhao_2_{i}_{i}" for i in range(9, 14)), "12_zhao_3_2_2"]
    make_beat(tmp_path, names, seconds=0.1)
    found = listed(tmp_path)
    assert [take.id for take in found.takes] == ["1_wayne_0_9_9"]
    assert [name for name, _ in found.skipped] == ["*_2_*_*", "*_3_*_*"]
    assert found.skipped[0][1].startswith("5 of type 2 (Chinese monologue)")
    assert len(by_id(tmp_path, types=[2, 3])) == 6
    assert by_id(tmp_path, types=[2])["12_zhao_2_9_9"].emotion == "neutral"
    assert "types is 7" in refusal(lambda: listed(tmp_path, types=[7]))


@pytest.mark.parametrize(
    "name",
    [
        "1_wayne_0_1",
        "wayne_0_1_1",
        "1_wayne_8_1_1",
        "1_wayne_0_2_1",
        "1_wayne_0_1_99999",
        "1_wayne_0_x_1",
        "1_wayne_0_1_1 (1)",
        "1_.._0_1",
        "тест",
        "1_wayne_0_1_1\n",
    ],
)
def test_names_that_do_not_parse_are_named(one: Path, name: str):
    (one / "1" / f"{name}.json").write_text("{}")
    found = listed(one)
    assert len(found.takes) == 1
    assert [file for file, _ in found.skipped] == [f"1/{name}.json"]
    assert "not named {speaker}_" in found.skipped[0][1]


def test_names_with_spaces_and_umlauts_parse(tmp_path: Path):
    make_beat(tmp_path, ["3_jörg von o_0_9_9"], seconds=0.3)
    assert by_id(tmp_path)["3_jörg von o_0_9_9"].identity == "3_jörg von o"
    assert len(read(tmp_path, "3_jörg von o_0_9_9").audio) == 0.3 * RATE


@pytest.mark.parametrize(("lost", "left"), [("json", "wav"), ("wav", "json")])
def test_a_file_without_its_partner_is_named(tmp_path: Path, lost: str, left: str):
    make_beat(tmp_path, ["1_wayne_0_1_1", "1_wayne_0_2_2"], seconds=0.3)
    (tmp_path / "1" / f"1_wayne_0_2_2.{lost}").unlink()
    found = listed(tmp_path)
    assert [take.id for take in found.takes] == ["1_wayne_0_1_1"]
    assert found.skipped == [(f"1/1_wayne_0_2_2.{left}", f"there is no 1_wayne_0_2_2.{lost}")]


def test_a_take_that_lies_there_twice_counts_once(one: Path):
    make_beat(one / "copy", ["1_wayne_0_1_1"], seconds=0.3)
    found = listed(one)
    assert [take.files for take in found.takes] == [
        tuple(f"1/1_wayne_0_1_1.{kind}" for kind in ("json", "wav", "TextGrid"))
    ]
    assert {name for name, _ in found.skipped} == {
        "copy/1/1_wayne_0_1_1.json",
        "copy/1/1_wayne_0_1_1.wav",
    }


def test_other_files_are_passed_over_in_silence(one: Path):
    for name in ("README.md", "1/._1_wayne_0_1_1.wav", "1/1_wayne_0_1_1.bvh", ".DS_Store"):
        (one / name).write_text("x")
    assert listed(one).skipped == []


def test_a_huge_json_is_not_even_opened(one: Path):
    with (one / "1" / "1_wayne_0_1_1.json").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    assert "1_wayne_0_1_1.json: larger than 64 MiB" in refusal(lambda: listed(one))


def test_a_folder_that_is_no_beat_is_refused(tmp_path: Path):
    assert "no such folder" in refusal(lambda: listed(tmp_path / "none"))
    (tmp_path / "speech.wav").write_bytes(b"")
    message = refusal(lambda: listed(tmp_path))
    assert "such as 1/1_wayne_0_1_1.json and .wav; speech.wav: not named" in message


@pytest.mark.parametrize("options", [{"types": []}, {"types": [8]}, {"fps": 0}, {"type": [1]}])
def test_options_are_checked(one: Path, options: dict[str, Any]):
    assert "source.options" in refusal(lambda: listed(one, **options))


# What is read


def test_a_take_is_read_by_names(one: Path):
    recording = read(one)
    assert recording.audio.shape == (RATE,)
    assert (recording.rate, recording.fps, recording.start) == (RATE, 60.0, 0.0)
    assert recording.missing == ("tongueOut",)
    assert recording.coefficients.dtype == np.float32
    np.testing.assert_array_equal(recording.coefficients, face(1.0, 0, 60.0))


def test_the_mouth_follows_the_voice(tmp_path: Path):
    """What other tests rely on: the lag they put in is there to be measured."""
    make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=8.0, lag=0.1)
    samples, coefficients, _ = clips.align(read(tmp_path), 0.5)
    measured = lip_sync.lip_audio_lag(samples, coefficients)
    assert measured is not None
    assert measured[0] == pytest.approx(0.1, abs=0.5 / arkit.FPS)
    assert measured[1] > 0.7


def test_the_first_time_stamp_is_the_start(tmp_path: Path):
    make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=2.0, start=0.5)
    recording = read(tmp_path)
    assert recording.start == 0.5
    assert len(recording.coefficients) == 90
    assert recording.coefficients[30, arkit.INDEX["jawOpen"]] == pytest.approx(
        0.7 * openness(np.array([1.0]), 2.0)[0], abs=1e-6
    )


def restamped(root: Path, fps: float) -> None:
    path = root / "1" / "1_wayne_0_1_1.json"
    tree = json.loads(path.read_text())
    for number, frame in enumerate(tree["frames"]):
        frame["time"] = number / fps
    path.write_text(json.dumps(tree))


def test_stamps_that_contradict_the_stated_rate_are_refused(tmp_path: Path):
    make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=4.0)
    restamped(tmp_path, 59.7)  # 240 frames: 20 ms late at the end
    message = refusal(lambda: read(tmp_path))
    assert "59.7 fps, source.options.fps is 60: 0.02 s apart" in message
    assert "source.options.fps=null trusts the stamps" in message
    assert read(tmp_path, fps=None).fps == pytest.approx(59.7)
    assert read(tmp_path, fps=59.7).fps == pytest.approx(59.7)
    restamped(tmp_path, 59.8)  # 13 ms: less than half a frame of 30 fps
    assert read(tmp_path).fps == pytest.approx(59.8)


def test_a_clock_that_is_a_hair_slow_is_refused_where_it_adds_up(tmp_path: Path):
    make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=75.0)
    restamped(tmp_path, 59.98)
    assert "59.98 fps, source.options.fps is 60: 0.03 s" in refusal(lambda: read(tmp_path))
    recording = read(tmp_path, fps=None)
    assert recording.fps == 60.0
    assert len(recording.coefficients) == 4502  # 75.025 s


def test_good_clocks_that_differ_by_40_ppm_are_read_at_their_own_times(tmp_path: Path):
    """24 ms in ten minutes, which is more than half a frame."""
    make_beat(tmp_path, ["1_wayne_0_1_1"], seconds=600.0, channels=("jawOpen",))
    restamped(tmp_path, 60.0 * (1 - 40e-6))
    recording = read(tmp_path)
    assert (recording.fps, len(recording.coefficients)) == (60.0, 36_001)
    sent = face(600.0)[:, arkit.INDEX["jawOpen"]]
    late = recording.coefficients[35_001:35_900, arkit.INDEX["jawOpen"]]
    at = np.arange(35_001, 35_900) * (1 - 40e-6)
    np.testing.assert_allclose(late, np.interp(at, np.arange(36_000), sent), atol=1e-5)


def test_a_hole_is_known(one: Path):
    path = one / "1" / "1_wayne_0_1_1.json"
    tree = json.loads(path.read_text())
    del tree["frames"][10:45]
    tree["frames"][3]["weights"] = []
    for changes in ({}, {"fps": 60}):  # times come before a rate that they contradict
        path.write_text(json.dumps(tree | changes))
        recording = read(one)
        assert np.flatnonzero(~recording.tracked).tolist() == [3, *range(10, 45)]
        assert len(recording.coefficients) == 60


def test_dropped_frames_do_not_contradict_the_rate(one: Path):
    path = one / "1" / "1_wayne_0_1_1.json"
    tree = json.loads(path.read_text())
    del tree["frames"][10:14]
    path.write_text(json.dumps(tree))
    recording = read(one)
    assert (recording.fps, len(recording.coefficients)) == (60.0, 60)


NAMES = json.dumps(list(arkit.CHANNELS[:51]))
WEIGHTS = json.dumps([0.1] * 51)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"names": ' + NAMES + ', "frames": [{"weights": [0.1, 0.', "not JSON"),
        ('{"names": ' + NAMES + ', "frames": []}', "expected"),
        ("[1" + "0" * 5000 + "]", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"names": ["jawOpen"], "frames": [{"weights": [[1]], "time": 0}]}', "got lists"),
        (f'{{"names": {NAMES}, "frames": [{{"weights": {WEIGHTS}}}]}}', "one frame"),
        (
            f'{{"names": {NAMES}, "frames": [{{"weights": {WEIGHTS}, "time": 0}}, '
            f'{{"weights": {WEIGHTS[:-6]}], "time": 0.0167}}]}}',
            "frame 1: expected 51 weights",
        ),
        (
            f'{{"names": {NAMES}, "frames": [{{"weights": {WEIGHTS.replace("0.1", "NaN", 1)}, '
            '"time": 0}]}',
            "NaN or infinity",
        ),
        (
            f'{{"names": {NAMES.replace("jawOpen", "jawOpne")}, "frames": '
            f'[{{"weights": {WEIGHTS}, "time": 0}}]}}',
            "unknown channel 'jawOpne'; did you mean 'jawOpen'",
        ),
        (
            f'{{"names": {NAMES}, "frames": [{{"weights": {WEIGHTS}, "time": 0.5}}, '
            f'{{"weights": {WEIGHTS}, "time": 0.4}}]}}',
            "the time of frame 1 is not after",
        ),
        (
            f'{{"names": {NAMES}, "fps": 60, "frames": [{{"weights": {WEIGHTS}, "time": NaN}}]}}',
            "times: NaN",
        ),
    ],
)
def test_malformed_coefficients(one: Path, text: str, message: str):
    (one / "1" / "1_wayne_0_1_1.json").write_text(text)
    said = refusal(lambda: read(one))
    assert message in said
    assert "1_wayne_0_1_1.json" in said


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello " * 100, b"\0" * 100])
def test_audio_that_is_none(one: Path, content: bytes):
    (one / "1" / "1_wayne_0_1_1.wav").write_bytes(content)
    assert "1_wayne_0_1_1.wav: " in refusal(lambda: read(one))


def test_a_wav_cut_off_gives_what_is_there(one: Path):
    path = one / "1" / "1_wayne_0_1_1.wav"
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    assert len(read(one).audio) == RATE // 2


def test_a_link_may_lead_to_another_disk(tmp_path: Path):
    make_beat(tmp_path / "root", ["1_wayne_0_1_1"], seconds=0.3)
    wav = tmp_path / "root" / "1" / "1_wayne_0_1_1.wav"
    wav.rename(tmp_path / "elsewhere.wav")
    wav.symlink_to(tmp_path / "elsewhere.wav")
    assert read(tmp_path / "root").rate == RATE


def test_a_name_that_leads_out_is_refused(one: Path):
    source = open_source(SourceSettings(kind="beat", root=str(one)))
    bad = Take("x", files=("../x.json", "../x.wav"))
    assert "leads out of" in refusal(lambda: source.read(bad))


def test_stereo_at_another_rate_is_read_as_it_is(one: Path):
    path = one / "1" / "1_wayne_0_1_1.wav"
    soundfile.write(path, np.zeros((24_000, 2)), 24_000)
    recording = read(one)
    assert (recording.rate, recording.audio.shape) == (24_000, (24_000,))


def test_the_shipped_configuration_loads(one: Path):
    overrides = [f"source.root={one}", "output=shards", "source.options.fps=null"]
    settings = config.load_data(ROOT / "configs" / "data" / "beat.yaml", overrides)
    source = open_source(settings.source)
    assert source.options.fps is None
    assert source.options.types == (0, 1)
    assert len(source.takes().takes) == 1
    assert not source.splits_are_final
