"""Animation files: every format there and back, their exact layout, and bad input."""

import contextlib
import json
import resource
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import soundfile
from openfacefx.importers_csv import read_csv

from diffusiontalker import arkit
from diffusiontalker.animation import files, glb, livelink, timing
from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.animation.writers import read_coefficients, write
from diffusiontalker.errors import UserError


def clip(frames: int = 40) -> np.ndarray:
    return np.random.default_rng(0).random((frames, 52)).astype(np.float32)


# There and back


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
@pytest.mark.parametrize("fps", [25.0, 29.97, 30.0, 50.0, 60.0])
def test_round_trip(tmp_path: Path, suffix: str, fps: float) -> None:
    path = tmp_path / f"clip{suffix}"
    assert write(path, clip(), fps) == [path]
    coefficients, rate = read_coefficients(path)
    np.testing.assert_allclose(coefficients, clip(), atol=6e-7)
    assert rate == pytest.approx(fps, rel=1e-4)
    assert coefficients.dtype == np.float32


def test_npy_is_bare_at_30_fps(tmp_path: Path) -> None:
    write(tmp_path / "clip.npy", clip(), 30)
    np.testing.assert_array_equal(np.load(tmp_path / "clip.npy", allow_pickle=False), clip())
    coefficients, rate = read_coefficients(tmp_path / "clip.npy")
    np.testing.assert_array_equal(coefficients, clip())
    assert rate == 30


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".npy"])
def test_one_frame(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"clip{suffix}", clip(1), 30)
    assert read_coefficients(tmp_path / f"clip{suffix}")[0].shape == (1, 52)


def test_values_are_not_clipped(tmp_path: Path) -> None:
    for suffix in (".csv", ".json", ".npz", ".npy"):
        write(tmp_path / f"clip{suffix}", np.full((3, 52), -1.25), 30)
        assert (read_coefficients(tmp_path / f"clip{suffix}")[0] == -1.25).all()


# Live Link Face


def test_csv_layout(tmp_path: Path) -> None:
    coefficients = np.zeros((32, 52), np.float32)
    coefficients[1, arkit.INDEX["mouthRight"]] = 0.75
    write(tmp_path / "clip.csv", coefficients, 30)
    lines = (tmp_path / "clip.csv").read_text().splitlines()
    header = lines[0].split(",")
    assert len(lines) == 33
    assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[-10:-7] == ["TongueOut", "HeadYaw", "HeadPitch"]
    assert len(header) == 2 + 52 + 9
    assert {name.lower() for name in livelink.CURVES} == {n.lower() for n in arkit.CHANNELS}
    row = dict(zip(header, lines[2].split(","), strict=True))
    assert row["Timecode"] == "00:00:00:02.000"
    assert row["BlendShapeCount"] == "61"
    assert row["MouthRight"] == "0.750000"
    assert sum(float(row[name]) for name in header[2:]) == 0.75
    assert lines[32].startswith("00:00:01:02.000,")


@pytest.mark.parametrize(
    ("frame", "fps", "timecode"),
    [
        (59, 60.0, "00:00:00:59.000"),
        (29, 30.0, "00:00:00:58.000"),
        (30, 30.0, "00:00:01:00.000"),
        (1, 24.0, "00:00:00:02.500"),
        (1, 25.0, "00:00:00:02.400"),  # 40 ms are 2.4 sixtieths
        (1, 50.0, "00:00:00:01.200"),  # 20 ms are 1.2 sixtieths
        (3661, 1.0, "01:01:01:00.000"),
    ],
)
def test_timecodes(frame: int, fps: float, timecode: str) -> None:
    text = livelink.encode(np.zeros((frame + 1, 52), np.float32), fps)
    assert text.splitlines()[-1].startswith(timecode + ",")


def test_csv_reads_the_same_elsewhere(tmp_path: Path) -> None:
    """openfacefx's own importer finds our values at our times."""
    write(tmp_path / "clip.csv", clip(), 30)
    track, warnings = read_csv(str(tmp_path / "clip.csv"), fps=60, epsilon=0)
    assert warnings == []
    keys = {channel.name.lower(): channel.keys for channel in track.channels}
    for name, index in arkit.INDEX.items():
        times, values = zip(*((key.time, key.value) for key in keys[name.lower()]), strict=True)
        found = np.interp(np.arange(40) / 30, times, values)
        np.testing.assert_allclose(found, clip()[:, index], atol=6e-5)  # it keeps 4 decimals


def test_csv_with_dropped_frames_is_resampled(tmp_path: Path) -> None:
    ramp = np.zeros((30, 52), np.float32)
    ramp[:, 24] = np.linspace(0, 0.58, 30)
    lines = livelink.encode(ramp, 30).splitlines()
    (tmp_path / "take.csv").write_text("\n".join(lines[:11] + lines[13:]) + "\n")
    coefficients, rate = read_coefficients(tmp_path / "take.csv")
    assert rate == 30
    np.testing.assert_allclose(coefficients, ramp, atol=1e-6)


# BEAT


def test_json_layout(tmp_path: Path) -> None:
    write(tmp_path / "clip.json", clip(3), 30)
    tree = json.loads((tmp_path / "clip.json").read_text())
    assert tree["names"] == list(arkit.CHANNELS)
    assert [frame["time"] for frame in tree["frames"]] == [0.0, 0.033333, 0.066667]
    assert tree["frames"][0]["rotation"] == []
    assert tree["frames"][2]["weights"] == pytest.approx(clip(3)[2].tolist(), abs=1e-6)


def test_beat_take_without_fps_or_tongue(tmp_path: Path) -> None:
    names = list(arkit.CHANNELS[:51])[::-1]
    frames = [{"weights": [0.0] * 50 + [0.5], "time": i / 60, "rotation": []} for i in range(9)]
    (tmp_path / "take.json").write_text(json.dumps({"names": names, "frames": frames}))
    coefficients, rate = read_coefficients(tmp_path / "take.json")
    assert rate == 60
    assert (coefficients[:, 0] == 0.5).all()
    assert (coefficients[:, 1:] == 0).all()


# glTF


def tetrahedron() -> Rig:
    mean = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    deltas = np.zeros((52, 4, 3), np.float32)
    deltas[arkit.INDEX["jawOpen"], 3] = [0, -1, 2]
    return Rig(mean, deltas, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), "tetra", "me")


def floats(document: pygltflib.GLTF2, view: int, width: int) -> np.ndarray:
    where = document.bufferViews[view]
    data = document.binary_blob()[where.byteOffset :][: where.byteLength]
    return np.frombuffer(data, np.float32).reshape(-1, width)


def test_glb_structure(tmp_path: Path) -> None:
    rig = tetrahedron()
    write(tmp_path / "clip.glb", clip(), 30, rig=rig)
    document = pygltflib.GLTF2().load(str(tmp_path / "clip.glb"))
    accessors, mesh = document.accessors, document.meshes[0]
    primitive = mesh.primitives[0]
    assert mesh.extras["targetNames"] == list(arkit.CHANNELS)
    assert document.asset.copyright == "me"
    position = accessors[primitive.attributes.POSITION]
    assert (position.min, position.max) == ([0, 0, 0], [1, 1, 1])
    np.testing.assert_array_equal(floats(document, position.bufferView, 3), rig.mean)
    jaw = accessors[primitive.targets[arkit.INDEX["jawOpen"]]["POSITION"]]
    assert (jaw.sparse.count, jaw.min, jaw.max) == (1, [0, -1, 0], [0, 0, 2])
    assert floats(document, jaw.sparse.values.bufferView, 3).tolist() == [[0, -1, 2]]
    animation = document.animations[0]
    assert animation.channels[0].target.path == "weights"
    sampler = animation.samplers[0]
    assert sampler.interpolation == "LINEAR"
    times = floats(document, accessors[sampler.input].bufferView, 1)[:, 0]
    np.testing.assert_allclose(times, np.arange(40) / 30, rtol=1e-6)
    weights = floats(document, accessors[sampler.output].bufferView, 52)
    np.testing.assert_array_equal(weights, clip())


def test_default_glb_is_small(tmp_path: Path) -> None:
    write(tmp_path / "clip.glb", clip(300), 30)
    assert (tmp_path / "clip.glb").stat().st_size < 2e6
    document = pygltflib.GLTF2().load(str(tmp_path / "clip.glb"))
    assert document.asset.copyright == default_rig().credit


def test_normals_by_hand() -> None:
    rig = tetrahedron()
    normals = glb.vertex_normals(rig.mean, rig.faces, np.arange(4))
    np.testing.assert_allclose(normals[0], -np.ones(3) / np.sqrt(3), rtol=1e-6)
    # At (1, 0, 0): faces z=0 (0, 0, -1), y=0 (0, -1, 0) and the slope (1, 1, 1), all times area.
    np.testing.assert_allclose(normals[1], [1, 0, 0], atol=1e-7)


def test_glb_needs_faces(tmp_path: Path) -> None:
    rig = tetrahedron()
    with pytest.raises(UserError, match="has no faces"):
        write(tmp_path / "clip.glb", clip(), 30, rig=Rig(rig.mean, rig.deltas, name="cloud"))


# Sound


def test_sound_goes_beside_and_never_over(tmp_path: Path) -> None:
    samples = np.sin(np.arange(1600) / 10) * 0.5
    written = write(tmp_path / "clip.csv", clip(3), 30, audio=(samples, 16000))
    assert written == [tmp_path / "clip.csv", tmp_path / "clip.wav"]
    heard, rate = soundfile.read(tmp_path / "clip.wav")
    assert rate == 16000
    np.testing.assert_allclose(heard, samples, atol=1e-4)
    assert write(tmp_path / "clip.json", clip(3), 30, audio=(samples * 0, 16000)) == [
        tmp_path / "clip.json"
    ]
    assert np.abs(soundfile.read(tmp_path / "clip.wav")[0]).max() > 0.4


# What cannot be written


@pytest.mark.parametrize(
    ("name", "coefficients", "fps", "message"),
    [
        ("clip.fbx", clip(), 30, r"unknown format '.fbx'; choose one of .csv, .json, .glb"),
        ("clip", clip(), 30, "unknown format"),
        ("no/clip.csv", clip(), 30, "there is no folder"),
        ("clip.csv", clip()[:, :51], 30, r"shape \(40, 51\)"),
        ("clip.csv", clip()[:0], 30, r"shape \(0, 52\)"),
        ("clip.csv", clip() * np.nan, 30, "NaN or infinity at index"),
        ("clip.csv", clip(), 0, "fps is 0"),
        ("clip.csv", clip(), float("nan"), "fps is nan"),
    ],
)
def test_bad_requests(tmp_path: Path, name: str, coefficients, fps: float, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        write(tmp_path / name, coefficients, fps)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "clip.csv").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "clip.csv", clip(), 30)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.csv"]


def test_no_room_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on file size stands for a full disk: the write fails half way."""
    (tmp_path / "clip.npy").write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*clip\.npy: File too large"):
            write(tmp_path / "clip.npy", clip(), 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "clip.npy").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


# What cannot be read

CSV = livelink.encode(np.zeros((2, 52), np.float32), 30)
BAD_TEXT = {
    "empty.csv": ("", "no column Timecode|table is empty"),
    "header.csv": (CSV.splitlines()[0], "no frames"),
    "other.csv": ("a,b\n1,2\n", "no column Timecode|table is empty"),
    "short.csv": (CSV + "00:00:00:02.000,61,0.5\n", "row 3 has 3 cells, the header 63"),
    "clock.csv": (CSV.replace("00:00:00:02.000", "soon"), "row 2: 'soon' is no HH:MM:SS"),
    "back.csv": (CSV.replace("00:00:00:00.000", "00:00:00:03.000"), "time of frame 1 is not"),
    "word.csv": (CSV.replace("0.000000", "zero", 1), "row 1: could not convert"),
    "nan.csv": (CSV.replace("0.000000", "nan", 1), "NaN or infinity"),
    "name.csv": (CSV.replace("JawOpen", "JawOpenn"), "did you mean 'jawOpen'"),
    "twice.csv": (CSV.replace("JawLeft", "JawRight"), "stands twice"),
    "broken.json": ("{", "not JSON"),
    "list.json": ("[]", "expected"),
    "empty.json": ('{"names": [], "frames": []}', "expected"),
    "count.json": ('{"names": ["jawOpen"], "frames": [{"weights": [1, 2]}]}', "expected 1 weights"),
    "nan.json": ('{"names": ["jawOpen"], "frames": [{"weights": [NaN]}]}', "NaN or infinity"),
    "null.json": ('{"names": ["jawOpen"], "frames": [{"weights": [null]}]}', "NaN|numbers"),
    "word.json": ('{"names": ["jawOpen"], "frames": [{"weights": ["x"]}]}', "expected numbers"),
    "name.json": ('{"names": ["jaw"], "frames": [{"weights": [1]}]}', "unknown channel 'jaw'"),
    "time.json": ('{"names": ["jawOpen"], "frames": [{"weights": [1]}, {"weights": [1]}]}', "time"),
    "fps.json": ('{"names": ["jawOpen"], "fps": 0, "frames": [{"weights": [1]}]}', "fps is 0"),
    "text.npz": ("hello", "not an .npz"),
    "text.npy": ("hello", "not an .npy"),
    "clip.glb": ("", "cannot be read back"),
    "clip.txt": ("", "unknown format"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_files(tmp_path: Path, name: str) -> None:
    text, message = BAD_TEXT[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_coefficients(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".npy"])
def test_missing_files(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read_coefficients(tmp_path / f"none{suffix}")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "clip.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_coefficients(tmp_path / "clip.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": None}, "no array fps"),
        ({"fps": np.array(-1)}, "fps is"),
        ({"coefficients": np.zeros(52)}, r"coefficients is \(52,\)"),
        ({"coefficients": np.zeros((2, 51))}, "51 columns but 52 channel names"),
        ({"coefficients": np.full((2, 52), np.nan)}, "NaN or infinity"),
        ({"names": np.array(["x"] * 52)}, "unknown channel 'x'"),
    ],
)
def test_bad_npz(tmp_path: Path, change: dict, message: str) -> None:
    good = {"coefficients": np.zeros((2, 52)), "names": np.array(arkit.CHANNELS), "fps": 30}
    np.savez(tmp_path / "clip.npz", **{k: v for k, v in (good | change).items() if v is not None})
    with pytest.raises(UserError, match=message):
        read_coefficients(tmp_path / "clip.npz")


def test_live_link_rows_without_a_face_are_filled_in() -> None:
    lines = livelink.encode(np.linspace(0, 1, 6)[:, None].repeat(52, 1), 30).splitlines()
    for number in (1, 3, 4):
        lines[number] = lines[number].split(",")[0] + ",0" + "," * (number % 2) * 61
    values, fps = livelink.decode("\n".join(lines), "x.csv")
    assert fps == 30
    assert values[:, 0] == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 1.0], abs=1e-5)
    lost = [lines[0], *(line.split(",")[0] + ",0" for line in lines[1:])]
    with pytest.raises(UserError, match="tracking was lost"):
        livelink.decode("\n".join(lost), "x.csv")


@pytest.mark.parametrize("frames", [2, 10, 30, 31, 45, 200])
@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 48.0, 50.0, 120.0])
def test_csv_of_any_length_comes_back_at_its_rate(fps: float, frames: int) -> None:
    values, rate = livelink.decode(livelink.encode(clip(frames), fps), "x.csv")
    assert rate == fps
    np.testing.assert_allclose(values, clip(frames), atol=1e-6)


def test_csv_of_60_fps_needs_half_a_second() -> None:
    assert livelink.decode(livelink.encode(clip(31), 60.0), "x.csv")[1] == 60
    assert livelink.decode(livelink.encode(clip(30), 60.0), "x.csv")[1] == 30  # a file of the app
    assert livelink.decode(livelink.encode(clip(30), 60.0), "x.csv", 60.0)[1] == 60


def timecodes(count: int, base: int, start: int = 0, mark: str = ":", drop: int = 0) -> str:
    """A table of jawOpen, which is the number of the frame, with timecodes in the app's way."""
    rows, number = ["Timecode,BlendShapeCount,JawOpen"], start
    for frame in range(count):
        second, field = divmod(number, base)
        code = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        rows.append(f"{code}{mark}{field:02d}.000,61,{frame}")
        number += 1
        if drop and number % (60 * base) == 0 and number // (60 * base) % 10:
            number += drop
    return "\n".join(rows)


@pytest.mark.parametrize("base", [24, 25, 30, 48, 50, 60])
@pytest.mark.parametrize("start", [0, 7, 91])
def test_the_count_of_a_timecode_is_seen_where_a_second_ends(base: int, start: int) -> None:
    for count in (2 * base, 5 * base):
        track = livelink.read(timecodes(count, base, start), "x.csv")
        assert (track.fps, len(track.values)) == (base, count)
        assert track.values[:, 24].tolist() == list(range(count))


def test_frames_that_are_missing_do_not_change_the_count() -> None:
    lines = timecodes(300, 30).split("\n")
    for gone in (slice(28, 31), slice(61, 66), slice(200, 205)):
        del lines[gone]
    assert livelink.decode("\n".join(lines), "x.csv")[1] == 30
    few = timecodes(40, 30).split("\n")
    del few[26:31]  # the only end of a second lacks five: 25 would fit
    del few[10:12]
    assert livelink.decode("\n".join(few), "x.csv")[1] == 30


@pytest.mark.parametrize(("base", "drop"), [(30, 2), (60, 4)])
def test_drop_frame_keeps_the_time_of_day(base: int, drop: int) -> None:
    """Eleven minutes skip numbers ten times, not eleven."""
    count = 11 * 60 * base
    track = livelink.read(timecodes(count, base, 0, ";", drop), "x.csv")
    assert track.fps == pytest.approx(base / 1.001)
    assert not track.nominal_rate
    assert track.tracked.all()
    assert track.values[:, 24].tolist() == list(range(count))


def test_a_take_over_midnight() -> None:
    start = (24 * 3600 - 2) * 60
    track = livelink.read(timecodes(300, 60, start), "x.csv")
    assert (track.fps, len(track.values), track.tracked.all()) == (60, 300, True)
    assert track.notes == (timing.MIDNIGHT,)
    text = timecodes(3000, 30, 24 * 3600 * 30 - 1000, ";")  # and a minute that skips no number
    plain = livelink.read(text, "x.csv")
    assert (plain.fps, plain.nominal_rate, len(plain.values)) == (30, True, 3000)


def test_the_rate_that_is_given_is_that_of_the_frames() -> None:
    for text in (timecodes(100, 25), timecodes(100, 30), livelink.encode(clip(100), 30.0)):
        track = livelink.read(text, "x.csv", fps=25.0)
        assert (track.fps, len(track.values), track.nominal_rate) == (25, 100, False)
    assert livelink.read(timecodes(100, 25), "x.csv").nominal_rate


def test_a_stamp_that_stands_twice_is_said() -> None:
    lines = timecodes(100, 60).split("\n")
    lines[51] = lines[51].replace("00:00:00:50", "00:00:00:49")
    track = livelink.read("\n".join(lines), "x.csv")
    assert len(track.values) == 100
    assert track.values[:, 24] == pytest.approx(range(100))
    assert "left out" in track.notes[0]


TABLES = {
    "tabs": lambda text: text.replace(",", "\t"),
    "semicolons": lambda text: text.replace(",", ";"),
    "decimal commas": lambda text: text.replace(",", ";").replace(".", ","),
    "row numbers": lambda text: "\n".join(
        f"{number - 1 if number else ''},{line}" for number, line in enumerate(text.split("\n"))
    ),
    "a name for row numbers": lambda text: "\n".join(
        f"{number - 1 if number else 'Unnamed: 0'},{line}"
        for number, line in enumerate(text.split("\n"))
    ),
    "bars": lambda text: text.replace(",", "|"),
    "old line ends": lambda text: text.replace("\n", "\r"),
    "Excel's first line": lambda text: "sep=;\r\n" + text.replace(",", ";").replace(".", ","),
    "a comma behind each line": lambda text: text.replace("\n", ",\n") + ",",
    "a comma behind each row": lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1) + ",",
    "empty rows": lambda text: text + ("\n" + "," * 62) * 3,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_people_have_them(name: str) -> None:
    text = livelink.encode(clip(40), 30.0).rstrip()
    track = livelink.read(TABLES[name](text), "x.csv")
    assert track.fps == 30
    np.testing.assert_allclose(track.values, clip(40), atol=1e-6)
    assert ("row numbers" in " ".join(track.notes)) == ("row numbers" in name)


def test_two_frames_on_both_sides_of_a_second() -> None:
    track = livelink.read(timecodes(2, 30, 29), "x.csv")
    assert (track.fps, track.values[:, 24].tolist()) == (30, [0, 1])


def test_a_first_column_without_a_name_that_counts_nothing() -> None:
    with pytest.raises(UserError, match="first column has no name"):
        livelink.decode(",Timecode,JawOpen\n0.1,00:00:00:00,1\n0.2,00:00:00:01,1\n", "x.csv")


def test_no_face_for_long_is_not_made_up() -> None:
    lines = timecodes(300, 60).split("\n")
    for number in range(101, 131):  # half a second
        lines[number] = lines[number].split(",")[0] + ",0"
    track = livelink.read("\n".join(lines), "x.csv")
    assert np.flatnonzero(~track.tracked).tolist() == list(range(100, 130))
    assert livelink.decode("\n".join(lines), "x.csv")[0][:, 24] == pytest.approx(range(300))
    lines[131] = lines[131].split(",")[0] + ",,"
    with pytest.raises(UserError, match=r"no face for 0\.52 s from 1\.67 s on"):
        livelink.decode("\n".join(lines), "x.csv")
    lines[140] = lines[140].split(",")[0] + ",0,0.5"  # a count of nothing, whatever follows
    assert not livelink.read("\n".join(lines), "x.csv").tracked[139]


def test_sides_as_face_cap_marks_them_and_columns_that_are_none() -> None:
    text = "Timecode,eyeBlink_L,EyeBlink_R,jaw_left,_neutral,HeadYaw,frame\n"
    text += "\n".join(f"00:00:00:{n:02d},0.1,0.2,0.3,9,9,x" for n in range(3))
    track = livelink.read(text, "x.csv", ignore=("Frame",))
    assert track.values[0, [8, 9, 23]] == pytest.approx([0.1, 0.2, 0.3])
    assert len(track.missing) == 49
    with pytest.raises(UserError, match="could not convert"):
        livelink.read(text, "x.csv")


def test_a_rate_for_what_holds_none(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", clip(3))
    assert [read_coefficients(tmp_path / "a.npy", fps)[1] for fps in (None, 60)] == [30, 60]
    frames = [{"weights": row} for row in clip(3).tolist()]
    (tmp_path / "a.json").write_text(json.dumps({"names": arkit.CHANNELS, "frames": frames}))
    assert read_coefficients(tmp_path / "a.json", 50)[1] == 50
    with pytest.raises(UserError, match="fps is -1"):
        read_coefficients(tmp_path / "a.npy", -1)


@pytest.mark.parametrize(("at", "byte"), [(6, 1), (8, 99)], ids=["encrypted", "method"])
def test_an_npz_packed_as_nobody_reads_it(tmp_path: Path, at: int, byte: int) -> None:
    np.savez(tmp_path / "a.npz", coefficients=np.zeros((2, 52)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[at] = byte
    content[content.index(b"PK\1\2") + at + 2] = byte
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"not an \.npz of plain arrays"):
        files.read_npz(tmp_path / "a.npz")


def test_an_npy_with_any_byte_of_its_header_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 52)))
    whole = (tmp_path / "a.npy").read_bytes()
    for at in range(6, 80):
        for byte in (0, 10, 34, 40, 123):
            content = bytearray(whole)
            content[at] = byte
            (tmp_path / "a.npy").write_bytes(content)
            with contextlib.suppress(UserError):
                files.read_npy(tmp_path / "a.npy")


def test_a_rate_beyond_all_numbers() -> None:
    with pytest.raises(UserError, match="expected a number above 0"):
        files.rate(10**400, "clip.json")


def test_an_npz_that_unpacks_to_too_much(tmp_path: Path, monkeypatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", coefficients=np.zeros((1000, 52)))
    monkeypatch.setattr(files, "MAX_UNPACKED", 1000)
    with pytest.raises(UserError, match="unpacks to"):
        files.read_npz(tmp_path / "a.npz")
