"""Rigs: the linear model, the masks, the head out of openfacefx, and bad rig files."""

from pathlib import Path

import numpy as np
import pytest

from diffusiontalker import arkit
from diffusiontalker.animation.facecap import HEIGHT_M
from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.errors import UserError

MEAN = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def small_rig(moves: dict[str, tuple[int, tuple[float, float, float]]]) -> Rig:
    """Three vertices; each channel named moves one of them."""
    deltas = np.zeros((52, 3, 3), np.float32)
    for name, (vertex, delta) in moves.items():
        deltas[arkit.INDEX[name], vertex] = delta
    return Rig(MEAN, deltas)


def one_hot(name: str, value: float = 1.0) -> np.ndarray:
    coefficients = np.zeros((1, 52), np.float32)
    coefficients[0, arkit.INDEX[name]] = value
    return coefficients


def test_vertices_by_hand() -> None:
    rig = small_rig({"jawOpen": (1, (0, -2, 0)), "mouthLeft": (1, (4, 0, 0))})
    coefficients = one_hot("jawOpen", 0.5) + one_hot("mouthLeft", 0.25)
    expected = MEAN.copy()
    expected[1] = [2, -1, 0]
    np.testing.assert_allclose(rig.vertices(coefficients), expected[None])
    assert rig.vertices(coefficients).dtype == np.float32
    assert rig.vertices(np.zeros((2, 7, 52))).shape == (2, 7, 3, 3)


def test_masks_by_hand() -> None:
    rig = small_rig(
        {
            "mouthSmileLeft": (0, (0.003, 0.004, 0)),  # reach 5 mm
            "jawOpen": (1, (0, -0.03, 0)),  # a chin: moved by the jaw alone, so not a lip
            "noseSneerLeft": (2, (0, 0.002, 0)),
            "browInnerUp": (2, (0, 0.002, 0)),
        }
    )
    assert rig.lip.tolist() == [True, False, False]
    assert rig.upper.tolist() == [False, False, True]
    assert rig.eyes_forehead.tolist() == [False, False, True]


def test_a_rig_without_a_mouth_says_so() -> None:
    with pytest.raises(UserError, match="no lip vertices"):
        _ = small_rig({"browInnerUp": (0, (0, 1, 0))}).lip


def test_default_rig_is_a_human_head() -> None:
    rig = default_rig()
    assert rig is default_rig()
    assert rig.mean.shape == (4368, 3)
    assert rig.deltas.shape == (52, 4368, 3)
    assert rig.mean.dtype == rig.deltas.dtype == np.float32
    assert rig.faces.min() >= 0
    assert rig.faces.max() < len(rig.mean)
    moving = np.abs(rig.deltas).max((0, 2)) > 0
    assert np.ptp(rig.mean[moving, 1]) <= HEIGHT_M
    assert np.ptp(rig.mean[:, 1]) == pytest.approx(HEIGHT_M, rel=1e-4)
    still = [name for name, d in zip(arkit.CHANNELS, rig.deltas, strict=True) if not d.any()]
    assert still == ["tongueOut"]
    assert "Niels Jansson" in rig.credit


def test_default_rig_at_rest_is_its_mean() -> None:
    rig = default_rig()
    np.testing.assert_array_equal(rig.vertices(np.zeros((1, 52)))[0], rig.mean)


def test_default_rig_moves_as_named() -> None:
    """Up is +y, the face looks along +z and its own left is +x."""
    rig = default_rig()

    def moved(name: str, mask: np.ndarray) -> np.ndarray:
        return (rig.vertices(one_hot(name))[0] - rig.mean)[mask].mean(0)

    assert moved("jawOpen", rig.lip)[1] < -0.005
    assert abs(moved("jawOpen", rig.eyes_forehead)[1]) < 0.001
    assert moved("browInnerUp", rig.eyes_forehead)[1] > 0.0005
    assert moved("jawForward", rig.lip)[2] > 0.001
    assert moved("mouthLeft", rig.lip)[0] > 0.001 > -0.001 > moved("mouthRight", rig.lip)[0]
    left = np.abs(rig.deltas[arkit.INDEX["eyeBlinkLeft"]]).max(1) > 0.002
    assert (rig.mean[left, 0] > 0).all()


def test_default_masks() -> None:
    rig = default_rig()
    assert 50 < rig.lip.sum() < 600
    assert 100 < rig.eyes_forehead.sum() < rig.upper.sum() < 1000
    assert not (rig.lip & rig.upper).any()
    assert rig.upper[rig.eyes_forehead].all()
    assert rig.mean[rig.lip, 1].max() < rig.mean[rig.eyes_forehead, 1].min()


def test_save_and_load(tmp_path: Path) -> None:
    rig = default_rig()
    rig.save(tmp_path / "head.npz")
    again = Rig.load(tmp_path / "head.npz")
    for field in ("mean", "deltas", "faces", "colors"):
        np.testing.assert_array_equal(getattr(again, field), getattr(rig, field))
    assert (again.name, again.credit) == (rig.name, rig.credit)


def test_load_maps_by_name(tmp_path: Path) -> None:
    deltas = np.zeros((2, 3, 3))
    deltas[0, 1] = 1
    deltas[1, 2] = 2
    np.savez(tmp_path / "mine.npz", mean=MEAN, deltas=deltas, names=["jawOpen", "browDown_L"])
    rig = Rig.load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(rig.deltas[arkit.INDEX["jawOpen"]], deltas[0])
    np.testing.assert_array_equal(rig.deltas[arkit.INDEX["browDownLeft"]], deltas[1])
    assert rig.deltas.sum() == deltas.sum()
    assert rig.faces.shape == (0, 3)
    assert rig.name == "mine"


GOOD = {"mean": MEAN, "deltas": np.zeros((1, 3, 3)), "names": np.array(["jawOpen"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": None}, "no array names"),
        ({"mean": np.zeros((3, 2))}, r"mean is \(3, 2\)"),
        ({"mean": np.zeros((0, 3))}, r"mean is \(0, 3\)"),
        ({"mean": MEAN * np.nan}, "NaN or infinity at index"),
        ({"mean": np.array(["a"])}, "expected numbers"),
        ({"deltas": np.zeros((1, 4, 3))}, r"deltas is \(1, 4, 3\)"),
        ({"deltas": np.full((1, 3, 3), np.inf)}, "deltas: NaN or infinity"),
        ({"deltas": np.zeros((2, 3, 3))}, "2 columns but 1 channel names"),
        ({"names": np.array(["jawOpne"])}, "did you mean 'jawOpen'"),
        ({"names": np.array([{}], dtype=object)}, "not an .npz of plain arrays"),
        ({"faces": np.array([[0, 1, 3]])}, r"outside 0\.\.2"),
        ({"faces": np.zeros((2, 3))}, "expected integers"),
        ({"colors": np.zeros((2, 3))}, "colors is"),
    ],
)
def test_bad_rig_files(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    with pytest.raises(UserError, match=message) as caught:
        Rig.load(path)
    assert str(path) in str(caught.value)


def test_rig_files_that_are_no_rigs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Rig.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match="not an \\.npz"):
        Rig.load(tmp_path / "text.npz")
