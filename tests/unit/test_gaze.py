"""Gaze as directions: by hand, and back."""

import numpy as np
import pytest
import torch

from diffusiontalker.arkit import CHANNELS, GAZE, INDEX
from diffusiontalker.model.gaze import from_directions, to_directions


def looking(**channels: float) -> np.ndarray:
    face = np.full((1, len(CHANNELS)), 0.3, np.float32)
    face[:, GAZE] = 0
    for name, value in channels.items():
        face[:, INDEX[f"eyeLook{name}"]] = value
    return face


@pytest.mark.parametrize(
    ("channels", "directions"),
    [
        ({"OutLeft": 0.4, "InRight": 0.4}, [0.4, 0, 0, 0]),
        ({"InLeft": 0.4, "OutRight": 0.2}, [-0.3, -0.1, 0, 0]),
        ({"InLeft": 0.2, "InRight": 0.2}, [0, -0.2, 0, 0]),  # a squint
        ({"UpLeft": 0.1, "UpRight": 0.1}, [0, 0, 0.1, 0]),
        ({"DownLeft": 0.5, "DownRight": 0.3, "OutLeft": 0.2}, [0.1, 0.1, -0.4, -0.1]),
    ],
)
def test_directions_by_hand(channels: dict[str, float], directions: list[float]) -> None:
    face = looking(**channels)
    made = to_directions(torch.from_numpy(face))
    np.testing.assert_allclose(made[0, GAZE], [*directions, 0, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(from_directions(made), face, atol=1e-7)


def test_no_eye_looks_both_ways() -> None:
    faces = from_directions(torch.randn(100, len(CHANNELS)))
    for side in ("Left", "Right"):
        for one, other in (("In", "Out"), ("Up", "Down")):
            both = [faces[:, INDEX[f"eyeLook{way}{side}"]] for way in (one, other)]
            assert torch.minimum(*both).abs().max() == 0
