"""VOCASET in both forms: scans to coefficients by a rig, the published split, and damaged files."""

import io
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.vocaset_made import (
    RATE,
    SEQUENCES,
    SUBJECTS,
    made_rig,
    make_vocaset_derived,
    make_vocaset_raw,
    python2_pickle,
    template,
    truth,
    voice,
)

from diffusiontalker import config, storage
from diffusiontalker.animation.rig import Rig
from diffusiontalker.corpus import clips
from diffusiontalker.corpus.sources import Recording, Source, npy_rows, open_source, vocaset
from diffusiontalker.errors import UserError

FRAMES = 60
SUBJECT, SEQUENCE = SUBJECTS[0], SEQUENCES[0]
TAKE = f"{SUBJECT}_{SEQUENCE}"


@pytest.fixture(scope="module")
def rig() -> Rig:
    return made_rig()


@pytest.fixture
def rig_path(tmp_path: Path, rig: Rig) -> Path:
    path = tmp_path / "rig.npz"
    rig.save(path)
    return path


@pytest.fixture
def raw(tmp_path: Path, rig: Rig) -> Path:
    return make_vocaset_raw(tmp_path / "raw", rig, FRAMES)


@pytest.fixture
def derived(tmp_path: Path, rig: Rig) -> Path:
    return make_vocaset_derived(tmp_path / "derived", rig, FRAMES, 60.0)


def source(root: Path, rig_path: Path, **options: Any) -> Source:
    options = {"rig": str(rig_path)} | options
    return open_source(config.SourceSettings(kind="vocaset", root=str(root), options=options))


def read(found: Source, name: str = TAKE) -> Recording:
    (take,) = [take for take in found.takes().takes if take.id == name]
    return found.read(take)


def test_the_published_split() -> None:
    assert Counter(vocaset._SPLIT_OF.values()) == {"train": 8, "val": 2, "test_unseen": 2}


@pytest.mark.parametrize("form", ["raw", "derived"])
def test_takes(form: str, request: pytest.FixtureRequest, rig_path: Path) -> None:
    found = source(request.getfixturevalue(form), rig_path)
    listing = found.takes()
    assert found.splits_are_final
    assert listing.skipped == []
    assert {take.id for take in listing.takes} == {f"{s}_{q}" for s in SUBJECTS for q in SEQUENCES}
    splits = {take.identity: take.split for take in listing.takes}
    assert [splits[subject] for subject in SUBJECTS] == ["train", "train", "val", "test_unseen"]
    assert {take.emotion for take in listing.takes} == {None}
    seconds = FRAMES / 60
    assert all(take.bytes == pytest.approx(2 * RATE * seconds, abs=50) for take in listing.takes)


@pytest.mark.parametrize("form", ["raw", "derived"])
def test_scans_become_the_coefficients_they_were_made_of(
    form: str, request: pytest.FixtureRequest, rig_path: Path
) -> None:
    found = source(request.getfixturevalue(form), rig_path)
    for subject in SUBJECTS:
        for sequence in SEQUENCES:
            recording = read(found, f"{subject}_{sequence}")
            expected = truth(subject, sequence, FRAMES)
            np.testing.assert_allclose(recording.coefficients, expected, atol=2e-3)
            heard = voice(subject, sequence, FRAMES / 60) / 32768
            np.testing.assert_allclose(recording.audio, heard, atol=1e-6)
            assert recording.audio.dtype == recording.coefficients.dtype == np.float32
            assert (recording.rate, recording.fps, recording.start) == (RATE, 60.0, 0.0)
            assert recording.missing == ("tongueOut",)
            clips.align(recording, 0.05)


def test_copies_of_30_fps(tmp_path: Path, rig: Rig, rig_path: Path) -> None:
    root = make_vocaset_derived(tmp_path / "d", rig, 45, 30.0)
    recording = read(source(root, rig_path, fps=30))
    assert recording.fps == 30
    np.testing.assert_allclose(
        recording.coefficients, truth(SUBJECT, SEQUENCE, 45, 30.0), atol=2e-3
    )
    clips.align(recording, 0.05)
    with pytest.raises(UserError, match="a rate is wrong"):
        clips.align(read(source(root, rig_path)), 0.5)


def test_another_mesh_has_another_count(tmp_path: Path) -> None:
    rig = made_rig(23)
    rig.save(tmp_path / "rig.npz")
    root = make_vocaset_derived(tmp_path / "d", rig, 30, 60.0)
    recording = read(source(root, tmp_path / "rig.npz"))
    np.testing.assert_allclose(recording.coefficients, truth(SUBJECT, SEQUENCE, 30), atol=5e-3)


def test_lost_frames_are_filled_at_their_times(tmp_path: Path, rig: Rig, rig_path: Path) -> None:
    root = make_vocaset_raw(tmp_path / "raw", rig, FRAMES, lost=(0, 1, 2, 20, 21, 40))
    recording = read(source(root, rig_path))
    assert recording.start == pytest.approx(3 / 60)
    assert recording.fps == 60
    expected = truth(SUBJECT, SEQUENCE, FRAMES)[3:]
    assert len(recording.coefficients) == FRAMES - 3
    np.testing.assert_allclose(recording.coefficients, expected, atol=0.03)  # two frames in a line
    np.testing.assert_allclose(recording.coefficients[20:37], expected[20:37], atol=2e-3)


def test_only_the_frames_of_the_take_are_read(
    raw: Path, rig_path: Path, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    plain = storage.open_input

    def counting(path: Path) -> Any:
        class Counting(io.BufferedReader):
            def read(self, size: int | None = -1, /) -> bytes:
                got = super().read(size)
                counts[path.name] += len(got)
                return got

        return Counting(plain(path).detach())

    found = source(raw, rig_path)
    (take,) = [take for take in found.takes().takes if take.id == TAKE]
    monkeypatch.setattr(storage, "open_input", counting)
    found.read(take)
    wanted = FRAMES * rig.mean.size * 8
    assert wanted <= counts["data_verts.npy"] < wanted + 1000
    assert (raw / "data_verts.npy").stat().st_size > 7 * wanted


def test_pickles_are_read_once_per_process(
    raw: Path, rig_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(source(raw, rig_path))
    for name in ("raw_audio_fixed.pkl", "subj_seq_to_idx.pkl"):
        (raw / name).write_bytes(b"")
    read(source(raw, rig_path), f"{SUBJECTS[1]}_{SEQUENCE}")  # a new source


def test_the_published_form_is_preferred(tmp_path: Path, rig: Rig, rig_path: Path) -> None:
    make_vocaset_derived(tmp_path / "both", rig, 30)
    root = make_vocaset_raw(tmp_path / "both", rig, FRAMES)
    assert {take.files[0] for take in source(root, rig_path).takes().takes} == {"data_verts.npy"}
    (root / "data_verts.npy").unlink()  # 15 GB that one may not want to keep
    takes = source(root, rig_path).takes().takes
    assert f"vertices_npy/{TAKE}.npy" in {take.files[0] for take in takes}


def test_strangers_have_no_split(tmp_path: Path, rig: Rig, rig_path: Path) -> None:
    root = make_vocaset_raw(tmp_path / "raw", rig, 10, subjects=("me",))
    assert {take.split for take in source(root, rig_path).takes().takes} == {None}


def test_val_and_test_have_the_sentences_of_the_published_split(raw: Path, rig_path: Path) -> None:
    index = pickle.loads((raw / "subj_seq_to_idx.pkl").read_bytes())
    for subject in SUBJECTS:
        for number in (1, 20, 40):
            index[subject][f"sentence{number:02d}"] = index[subject][SEQUENCE]
    del index[SUBJECT][SEQUENCE]  # the release lacks a few
    (raw / "subj_seq_to_idx.pkl").write_bytes(python2_pickle(index))
    found = source(raw, rig_path)
    listing = found.takes()
    of = {subject: {t.group[-2:] for t in listing.takes if t.identity == subject}
          for subject in SUBJECTS}  # fmt: skip
    assert of[SUBJECT] == {"01", "20", "22", "40"}
    assert of[SUBJECTS[2]] == of[SUBJECTS[3]] == {"21", "22", "40"}
    assert [name for name, _ in listing.skipped] == [f"{s}_sentence*" for s in SUBJECTS[2:]]
    assert listing.skipped[0][1].startswith("2 other sentences")
    assert "sentences of 21 to 40" in found.split_notes(listing.takes)[0]
    every = source(raw, rig_path, all_sentences=True).takes()
    assert len(every.takes) == 19
    assert every.skipped == []


def test_what_is_passed_over_in_the_published_form(raw: Path, rig_path: Path) -> None:
    index = pickle.loads((raw / "subj_seq_to_idx.pkl").read_bytes())
    index[SUBJECT]["sentence24"] = {}
    index["FaceTalk_unknown"] = {"sentence01": {0: 0}}
    (raw / "subj_seq_to_idx.pkl").write_bytes(python2_pickle(index))
    listing = source(raw, rig_path).takes()
    assert dict(listing.skipped) == {
        f"{SUBJECT}_sentence24": "no frames in subj_seq_to_idx.pkl",
        "FaceTalk_unknown_sentence01": "templates.pkl has no FaceTalk_unknown",
    }
    assert len(listing.takes) == 8


def test_what_is_passed_over_in_prepared_copies(derived: Path, rig_path: Path) -> None:
    (derived / "wav" / f"{SUBJECT}_sentence21.wav").unlink()
    (derived / "vertices_npy" / f"{SUBJECT}_sentence22.npy").unlink()
    for folder, suffix in (("vertices_npy", ".npy"), ("wav", ".wav")):
        (derived / folder / f"somebody_sentence21{suffix}").write_bytes(b"")
        (derived / folder / f"._{TAKE}{suffix}").write_bytes(b"what macOS leaves")
    listing = source(derived, rig_path).takes()
    assert dict(listing.skipped) == {
        f"vertices_npy/{SUBJECT}_sentence21.npy": f"there is no wav/{SUBJECT}_sentence21.wav",
        f"wav/{SUBJECT}_sentence22.wav": f"there is no vertices_npy/{SUBJECT}_sentence22.npy",
        "vertices_npy/somebody_sentence21.npy": "begins with no subject of templates.pkl",
    }
    assert len(listing.takes) == 6


def test_a_rig_of_another_mesh(derived: Path, tmp_path: Path) -> None:
    made_rig(61).save(tmp_path / "other.npz")
    with pytest.raises(UserError, match=r"\(60, 3\), but the rig .* has 61 vertices"):
        source(derived, tmp_path / "other.npz").takes()


def test_a_rig_that_does_not_fit(derived: Path, tmp_path: Path, rig: Rig) -> None:
    Rig(rig.mean, np.roll(rig.deltas, 1, axis=1)).save(tmp_path / "rolled.npz")
    with pytest.raises(UserError, match=rf"{TAKE}: the rig does not fit: vertices stay [\d.]+ mm"):
        read(source(derived, tmp_path / "rolled.npz", max_residual_mm=0.5))


@pytest.mark.parametrize(
    "other",
    [
        lambda points: points * 1000,  # millimetres
        lambda points: points / 100,
        lambda points: points[..., [0, 2, 1]] * [1, 1, -1],  # another axis is up
        lambda points: np.roll(points, 7, axis=-2),  # another order of vertices
    ],
)
def test_a_rig_with_other_units_axes_or_order(
    derived: Path, tmp_path: Path, rig: Rig, other: Callable[[np.ndarray], np.ndarray]
) -> None:
    Rig(other(rig.mean), other(rig.deltas)).save(tmp_path / "other.npz")
    with pytest.raises(UserError, match=r"mm per vertex from the rig .* same mesh, in metres"):
        source(derived, tmp_path / "other.npz").takes()
    Rig(rig.mean + np.float32(5), rig.deltas).save(tmp_path / "moved.npz")
    source(derived, tmp_path / "moved.npz").takes()  # where it stands does not matter


def test_noise_below_the_bound_is_borne(
    derived: Path, rig_path: Path, tmp_path: Path, rig: Rig
) -> None:
    path = derived / "vertices_npy" / f"{TAKE}.npy"
    rng = np.random.default_rng(0)
    clean = np.load(path)
    np.save(path, clean + rng.normal(0, 0.001, clean.shape))
    recording = read(source(derived, rig_path))
    assert np.abs(recording.coefficients - truth(SUBJECT, SEQUENCE, FRAMES)).max() < 0.3
    # Of 180 coordinates of a frame 51 channels follow the noise: the rest has 1.5 mm per vertex.
    with pytest.raises(UserError, match="the rig does not fit"):
        read(source(derived, rig_path, max_residual_mm=1.3))
    read(source(derived, rig_path, max_residual_mm=1.75))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((5, 180), np.nan), "NaN or infinity"),
        (np.zeros((0, 180)), "holds no frames"),
        (np.zeros((5, 181)), r"\(5, 181\), expected floats"),
        (np.zeros((5, 183)), "61 x 3"),
        (np.zeros((5, 60, 2)), r"\(5, 60, 2\), expected floats"),
        (np.zeros(180), r"\(180,\), expected floats"),
        (np.zeros((5, 180), np.int64), "int64"),
        (np.asfortranarray(np.zeros((5, 180))), "row by row"),
        (np.zeros((1, 180)) , "one frame has no frame rate"),
    ],
)  # fmt: skip
def test_vertices_that_are_none(
    derived: Path, rig_path: Path, values: np.ndarray, said: str
) -> None:
    np.save(derived / "vertices_npy" / f"{TAKE}.npy", values)
    with pytest.raises(UserError, match=said):
        read(source(derived, rig_path, max_residual_mm=1000))


def test_frames_may_have_three_axes(derived: Path, rig_path: Path) -> None:
    path = derived / "vertices_npy" / f"{TAKE}.npy"
    np.save(path, np.load(path).reshape(FRAMES, -1, 3))
    np.testing.assert_allclose(
        read(source(derived, rig_path)).coefficients, truth(SUBJECT, SEQUENCE, FRAMES), atol=2e-3
    )


def test_damaged_and_pickled_arrays(derived: Path, rig_path: Path) -> None:
    path = derived / "vertices_npy" / f"{TAKE}.npy"
    whole = path.read_bytes()
    for content, said in (
        (whole[:-1], "cut short"),
        (b"", "not an .npy file"),
        (b"<html>not found</html>", "not an .npy file"),
        (whole[:6] + b"\x09\x00" + whole[8:], "not an .npy file"),
        (whole.replace(b"{'descr'", b"{'desc\n'", 1), "not an .npy file"),
        (
            whole.replace(b"(60,", b"(9" + b"0" * 13 + b",", 1).replace(b" " * 12, b"", 1),
            "frames in a",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read(source(derived, rig_path))
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="object"):
        read(source(derived, rig_path))


def test_a_take_too_large_is_not_read(
    derived: Path, rig_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy_rows, "MAX_TAKE_BYTES", 1000)
    with pytest.raises(UserError, match="60 frames in a take"):
        read(source(derived, rig_path))


def test_a_wav_that_cannot_be_heard(derived: Path, rig_path: Path) -> None:
    (derived / "wav" / f"{TAKE}.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="not a readable audio file"):
        read(source(derived, rig_path))
    soundfile.write(derived / "wav" / f"{TAKE}.wav", np.zeros(0), RATE)
    with pytest.raises(UserError, match=r"0\.00 s of audio"):
        clips.align(read(source(derived, rig_path)), 0.5)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (None, "nothing of"),
        ({"sample_rate": RATE}, "expected an array, got NoneType"),
        ({"audio": np.zeros(100, np.int16)}, "fps is None"),
        ({"audio": np.zeros(100, np.int16), "sample_rate": -1}, "fps is -1"),
        ({"audio": np.zeros(0, np.int16), "sample_rate": RATE}, r"audio of shape \(0,\)"),
        ({"audio": np.zeros((50, 2), np.int16), "sample_rate": RATE}, r"audio of shape \(50, 2\)"),
        ({"audio": np.full(100, np.nan), "sample_rate": RATE}, "NaN"),
    ],
)
def test_damaged_audio_tables(
    raw: Path, rig_path: Path, entry: dict[str, Any] | None, said: str
) -> None:
    table = {SUBJECT: {SEQUENCE: entry}}
    (raw / "raw_audio_fixed.pkl").write_bytes(python2_pickle(table))
    with pytest.raises(UserError, match=said):
        read(source(raw, rig_path))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ({0: 10**6, 1: 5}, "480 frames, but subj_seq_to_idx.pkl names 1000000"),
        ({0: 1, 1: -1}, "whole numbers"),
        ({0: 1.5, 1: 2}, "whole numbers"),
        ({"0": 1, "1": 2}, "whole numbers"),
        ({0: 5}, "one frame has no frame rate"),
    ],
)
def test_damaged_indices(raw: Path, rig_path: Path, frames: Any, said: str) -> None:
    (raw / "subj_seq_to_idx.pkl").write_bytes(pickle.dumps({SUBJECT: {SEQUENCE: frames}}, 2))
    with pytest.raises(UserError, match=said):
        read(source(raw, rig_path, max_residual_mm=1000))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps([1, 2]), "expected a table of subjects"),
        (pickle.dumps({1: 2}), "expected a table of subjects"),
        (pickle.dumps({SUBJECT: [1, 2]}), "expected an array, got list"),
        (pickle.dumps({SUBJECT: np.zeros(180)}), r"\(180,\), but the rig"),
        (b"cos\nsystem\n(Vtrue\ntR.", "refused, as it asks for os.system"),
        (b"", "not a pickle"),
    ],
)
@pytest.mark.parametrize("form", ["raw", "derived"])
def test_damaged_templates(
    form: str, request: pytest.FixtureRequest, rig_path: Path, content: bytes, said: str
) -> None:
    root = request.getfixturevalue(form)
    (root / "templates.pkl").write_bytes(content)
    with pytest.raises(UserError, match=rf"templates\.pkl: .*{said}"):
        source(root, rig_path).takes()


def test_indices_that_are_no_table(raw: Path, rig_path: Path) -> None:
    (raw / "subj_seq_to_idx.pkl").write_bytes(pickle.dumps({SUBJECT: [0, 1, 2]}))
    with pytest.raises(UserError, match="holds no table of sequences"):
        source(raw, rig_path).takes()


def test_a_folder_of_something_else(tmp_path: Path, derived: Path, rig_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        source(tmp_path / "missing", rig_path).takes()
    with pytest.raises(UserError, match=r"not VOCASET; expected templates\.pkl with"):
        source(derived / "wav", rig_path).takes()
    (derived / "templates.pkl").unlink()
    with pytest.raises(UserError, match="not VOCASET"):
        source(derived, rig_path).takes()


def test_the_rig_is_asked_for(tmp_path: Path, derived: Path) -> None:
    with pytest.raises(UserError, match=r"source\.options: rig is needed"):
        open_source(config.SourceSettings(kind="vocaset", root=str(derived)))
    with pytest.raises(UserError, match=r"none\.npz"):
        source(derived, tmp_path / "none.npz").takes()


def test_the_configuration_that_ships(tmp_path: Path, raw: Path, rig_path: Path) -> None:
    overrides = [f"source.root={raw}", f"output={tmp_path}", f"source.options.rig={rig_path}"]
    settings = config.load_data("configs/data/vocaset.yaml", overrides)
    assert len(open_source(settings.source).takes().takes) == 8


def test_templates_differ_from_the_rig(rig: Rig) -> None:
    # Else no test above would tell a speaker's own face from the rig's.
    assert all(np.abs(template(s, rig) - rig.mean).max() > 0.005 for s in SUBJECTS)
