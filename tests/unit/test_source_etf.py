"""3D-ETF: names, pairs, columns, and what is passed over or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.etf_made import HDTF, RAVDESS, face, make_etf, write_take

from diffusiontalker import config
from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.corpus import clips, lip_sync
from diffusiontalker.corpus.sources import Source, Take, etf, open_source
from diffusiontalker.errors import UserError

ANGRY = "03-01-05-02-01-01-12"


def source(root: Path, **options: Any) -> Source:
    return open_source(config.SourceSettings(kind="3d-etf", root=str(root), options=options))


def by_id(found: Source) -> dict[str, Take]:
    return {take.id: take for take in found.takes().takes}


def test_takes_tell_what_their_names_say(tmp_path: Path) -> None:
    make_etf(tmp_path)
    write_take(tmp_path, ANGRY, 0.5)
    takes = by_id(source(tmp_path))
    assert set(takes) == {*RAVDESS, *HDTF, ANGRY}
    assert (takes[ANGRY].identity, takes[ANGRY].emotion) == ("ravdess-12", "anger")
    assert takes["03-01-01-01-01-01-01"].emotion == "neutral"
    radio = takes["RD_Radio11_000"]
    assert (radio.identity, radio.emotion, radio.split) == ("RD_Radio11", None, None)
    assert takes["WRA_TomUdall_000_01"].identity == "WRA_TomUdall"
    assert radio.files == ("npy/RD_Radio11_000.npy", "wav/RD_Radio11_000.wav")
    assert radio.bytes == (tmp_path / "wav/RD_Radio11_000.wav").stat().st_size


def test_the_number_of_a_persons_video_is_no_other_person(tmp_path: Path) -> None:
    names = "WDA_NancyPelosi0_000", "WDA_NancyPelosi1_000", "WDA_NancyPelosi1_001"
    for name in names:
        write_take(tmp_path, name, 0.5)
    takes = by_id(source(tmp_path))
    assert {take.identity for take in takes.values()} == {"WDA_NancyPelosi"}
    assert [takes[name].group[-1] for name in names] == ["0", "1", "1"]


def test_segments_and_repetitions_share_a_group(tmp_path: Path) -> None:
    takes = by_id(source(make_etf(tmp_path)))
    groups = {name: take.group for name, take in takes.items()}
    assert groups["RD_Radio11_000"] == groups["RD_Radio11_001"]
    assert groups["03-01-05-01-01-01-12"] == groups["03-01-05-01-01-02-12"]
    # Two actors, and one actor in two moods, have groups of their own.
    assert len({group for name, group in groups.items() if name in RAVDESS}) == 4
    assert len(set(groups.values())) == 4 + 3


@pytest.mark.parametrize(
    ("stem", "speaker"),
    [
        ("WRA_Ann-MarieLee_003", "WRA_Ann-MarieLee"),
        ("WDA_Jean-Luc0_000", "WDA_Jean-Luc"),
        ("WRA_J.D.O'Neil2_011_04", "WRA_J.D.O'Neil"),
        ("RD_Radio11_000", "RD_Radio11"),
        ("RD_Late-Night2_000", "RD_Late-Night2"),
        ("03-02-02-01-02-02-03", "ravdess-03"),
        ("Actor_01-neutral", None),
    ],
)
def test_names_with_hyphens(tmp_path: Path, stem: str, speaker: str | None) -> None:
    write_take(tmp_path, stem, 0.5)
    listing = source(tmp_path).takes()
    assert [take.identity for take in listing.takes] == ([speaker] if speaker else [])
    assert ("matches no pattern" in str(listing.skipped)) == (speaker is None)


def test_the_video_and_the_mere_sound_of_an_utterance_share_a_group(tmp_path: Path) -> None:
    for stem in (ANGRY, "01" + ANGRY[2:], ANGRY.replace("03-01", "03-02")):
        write_take(tmp_path, stem, 0.5)
    found = source(tmp_path)
    takes = by_id(found)
    assert takes[ANGRY].group == takes["01" + ANGRY[2:]].group
    ((name, reason),) = found.takes().skipped
    assert name == f"{ANGRY.replace('03-01', '03-02')}.npy"
    assert "sung" in reason
    assert "stand in every split" in found.split_notes(list(takes.values()))[0]
    assert found.split_notes([Take("RD_Radio11_000")]) == []


@pytest.mark.parametrize(("arrays", "wavs"), [("", ""), ("npy", "wav"), ("a/blendshape", "a/wav")])
def test_arrays_lie_beside_recordings_or_in_another_folder(
    tmp_path: Path, arrays: str, wavs: str
) -> None:
    found = source(make_etf(tmp_path, 1.0, arrays, wavs))
    assert len(found.takes().takes) == len(RAVDESS) + len(HDTF)
    assert found.takes().skipped == []


def test_a_take_as_published(tmp_path: Path) -> None:
    found = source(make_etf(tmp_path))
    recording = found.read(by_id(found)[RAVDESS[0]])
    np.testing.assert_allclose(recording.coefficients, face(RAVDESS[0], 2.5), atol=1e-6)
    assert recording.coefficients.dtype == recording.audio.dtype == np.float32
    assert (recording.fps, recording.rate, recording.start) == (30.0, 16_000, 0.0)
    assert len(recording.audio) == 40_000
    assert recording.missing == ()
    samples, coefficients, _ = clips.align(recording, 0.1)
    assert len(coefficients) == 75
    assert lip_sync.lip_audio_lag(samples, coefficients) is None  # too short to tell


def test_other_columns_match_by_name(tmp_path: Path) -> None:
    names = ("JawOpen", "eyeBlinkLeft")
    write_take(tmp_path, ANGRY)
    np.save(tmp_path / f"{ANGRY}.npy", np.tile([50.0, 25.0], (75, 1)))
    found = source(tmp_path, channels=names, scale=0.01, fps=25)
    recording = found.read(by_id(found)[ANGRY])
    expected = np.zeros(52)
    expected[[INDEX["jawOpen"], INDEX["eyeBlinkLeft"]]] = 0.5, 0.25
    np.testing.assert_allclose(recording.coefficients, np.tile(expected, (75, 1)), rtol=1e-6)
    assert recording.fps == 25
    assert set(recording.missing) == {*CHANNELS} - {"jawOpen", "eyeBlinkLeft"}


def test_percent_is_refused_and_scale_mends_it(tmp_path: Path) -> None:
    write_take(tmp_path, ANGRY)
    np.save(tmp_path / f"{ANGRY}.npy", 100 * face(ANGRY, 2.5))
    found = source(tmp_path)
    with pytest.raises(UserError, match=r"per cent, set source\.options\.scale=0\.01"):
        clips.in_unit_range(found.read(by_id(found)[ANGRY]), "clip")
    mended = source(tmp_path, scale=0.01)
    _, coefficients, _ = clips.align(mended.read(by_id(mended)[ANGRY]), 0.1)
    np.testing.assert_allclose(coefficients, face(ANGRY, 2.5), atol=1e-6)


def test_stems_of_ones_own(tmp_path: Path) -> None:
    for stem in ("ann_joy_1", "ann_2", "ben_rage_1", "x"):
        write_take(tmp_path, stem, 0.5)
    stems = [
        {"pattern": r"(?P<identity>[a-z]+)_(?P<emotion>[a-z]+)_\d", "prefix": "my-"},
        {"pattern": r"(?P<identity>[a-z]+)_\d"},
    ]
    found = source(tmp_path, stems=stems, emotions={"joy": "happiness"})
    takes = by_id(found)
    assert (takes["ann_joy_1"].identity, takes["ann_joy_1"].emotion) == ("my-ann", "happiness")
    assert (takes["ann_2"].identity, takes["ann_2"].emotion) == ("ann", None)
    assert takes["ann_2"].group == ""
    skipped = dict(found.takes().skipped)
    assert "'rage' has no name; add one to source.options.emotions" in skipped["ben_rage_1.npy"]
    assert "add one to source.options.stems" in skipped["x.npy"]


@pytest.mark.parametrize("code", ["00", "09"])
def test_an_emotion_code_without_a_name(tmp_path: Path, code: str) -> None:
    write_take(tmp_path, f"03-01-{code}-01-01-01-01", 0.5)
    write_take(tmp_path, ANGRY, 0.5)
    listing = source(tmp_path).takes()
    assert [take.id for take in listing.takes] == [ANGRY]
    ((name, reason),) = listing.skipped
    assert name == f"03-01-{code}-01-01-01-01.npy"
    assert f"emotion {code!r} has no name" in reason


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    make_etf(tmp_path)
    (tmp_path / "wav" / f"{HDTF[0]}.wav").unlink()
    (tmp_path / "npy" / f"{HDTF[1]}.npy").unlink()
    (tmp_path / "npy" / "._RD_Radio11_001.npy").write_bytes(b"what macOS leaves")
    (tmp_path / "readme.txt").write_text("hello")
    listing = source(tmp_path).takes()
    assert dict(listing.skipped) == {
        f"npy/{HDTF[0]}.npy": f"there is no {HDTF[0]}.wav",
        f"wav/{HDTF[1]}.wav": f"there is no {HDTF[1]}.npy",
    }
    assert len(listing.takes) == len(RAVDESS) + len(HDTF) - 2


def test_two_files_of_one_stem_are_not_guessed_at(tmp_path: Path) -> None:
    write_take(tmp_path, ANGRY, 0.5, "npy", "wav")
    write_take(tmp_path, ANGRY, 0.5, "more/npy", "more/wav")
    write_take(tmp_path, RAVDESS[0], 0.5, "npy", "wav")
    listing = source(tmp_path).takes()
    assert [take.id for take in listing.takes] == [RAVDESS[0]]
    assert len(listing.skipped) == 4
    assert all(f"there are several {ANGRY}" in reason for _, reason in listing.skipped)


def test_a_stem_that_stands_in_two_folders_is_one_take(tmp_path: Path) -> None:
    write_take(tmp_path, ANGRY, 0.5, "a", "a")
    write_take(tmp_path, ANGRY, 0.5, "b", "b")
    listing = source(tmp_path).takes()
    assert [take.files[0] for take in listing.takes] == [f"a/{ANGRY}.npy"]
    assert listing.skipped == [(f"b/{ANGRY}.npy", f"the take {ANGRY!r} was found already")]


def with_nan() -> np.ndarray:
    values = face(ANGRY, 0.5)
    values[3, 7] = np.nan
    return values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (with_nan(), r"NaN or infinity at index \(3, 7\)"),
        (np.zeros((20, 51)), r"shape \(20, 51\), expected \(frames, 52\)"),
        (np.zeros((0, 52)), r"shape \(0, 52\)"),
        (np.zeros(52), r"shape \(52,\)"),
        (np.zeros((20, 52), complex), "holds complex128"),
    ],
)
def test_arrays_that_are_not_coefficients(tmp_path: Path, values: np.ndarray, said: str) -> None:
    write_take(tmp_path, ANGRY)
    np.save(tmp_path / f"{ANGRY}.npy", values)
    found = source(tmp_path)
    with pytest.raises(UserError, match=f"{ANGRY}.npy: .*{said}"):
        found.read(by_id(found)[ANGRY])


def test_pickled_and_damaged_arrays_are_refused(tmp_path: Path) -> None:
    write_take(tmp_path, ANGRY)
    path = tmp_path / f"{ANGRY}.npy"
    found = source(tmp_path)
    take = by_id(found)[ANGRY]
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"not an \.npy of a plain array"):
        found.read(take)
    for content in (b"", b"\x93NUMPY", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not an \.npy of a plain array"):
            found.read(take)


def test_recordings_that_cannot_be_heard(tmp_path: Path) -> None:
    write_take(tmp_path, ANGRY)
    found = source(tmp_path)
    take = by_id(found)[ANGRY]
    soundfile.write(tmp_path / f"{ANGRY}.wav", np.zeros(0), 16_000)
    with pytest.raises(UserError, match=r"0\.00 s of audio"):
        clips.align(found.read(take), 0.5)
    (tmp_path / f"{ANGRY}.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="not a readable audio file"):
        found.read(take)


def test_an_array_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_etf(tmp_path, 0.5)
    write_take(tmp_path, ANGRY, 3.0, "npy", "wav")
    monkeypatch.setattr(etf, "MAX_BYTES", 30_000)
    listing = source(tmp_path).takes()
    assert [name for name, _ in listing.skipped] == [f"npy/{ANGRY}.npy"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stems": [{"pattern": "(?P<identity>"}]}, r"stems\.0\.pattern: not a regular expression"),
        ({"stems": [{"pattern": "(?P<speaker>.*)"}]}, "the groups are identity, emotion, group"),
        ({"stems": []}, "stems"),
        ({"channels": ["jawOpen", "jawopen"]}, "'jawopen' stands twice"),
        ({"channels": ["jawOpn"]}, "did you mean 'jawOpen'"),
        ({"fps": 0}, "fps"),
        ({"rate": 30}, "unknown setting 'rate'"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(
        UserError, match=f"source.options: .*{said}|source.options.channels: .*{said}"
    ):
        source(tmp_path, **options)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        source(tmp_path / "missing").takes()
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="as 3D-ETF has them"):
        source(tmp_path).takes()


def test_the_configuration_that_ships(tmp_path: Path) -> None:
    overrides = [f"source.root={make_etf(tmp_path)}", f"output={tmp_path / 'out'}"]
    settings = config.load_data("configs/data/3d-etf.yaml", overrides)
    assert len(open_source(settings.source).takes().takes) == len(RAVDESS) + len(HDTF)
