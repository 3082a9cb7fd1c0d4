"""The student that is part of the package."""

from pathlib import Path

import numpy as np
import pytest

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import CARD, SHIPPED, location
from diffusiontalker.runtime.student import Student


@pytest.fixture(scope="module")
def shipped() -> Student:
    return Student()


def test_it_is_small_and_has_a_card(shipped: Student) -> None:
    assert shipped.folder == location(SHIPPED)
    files = [path for path in shipped.folder.iterdir() if path.is_file()]
    assert {path.name for path in files} == set(shipped.config.files)
    assert sum(path.stat().st_size for path in files) < 4e6
    card = (shipped.folder / CARD).read_text()
    assert "Licence" in card
    assert "test_unseen" in card


def test_it_streams_with_at_most_80_ms_look_ahead(shipped: Student) -> None:
    assert shipped.config.steps == 2
    stream = shipped.stream(SAMPLE_RATE)
    assert stream.look_ahead_ms <= 80
    speech = 0.1 * np.random.default_rng(0).normal(size=2 * SAMPLE_RATE)
    frames = np.concatenate([stream.push(speech), stream.close()])
    assert frames.shape == (60, 52)
    assert 0 <= frames.min() <= frames.max() <= 1


def test_a_folder_of_its_name_is_given_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / SHIPPED).mkdir()
    assert location(SHIPPED) != location(f"./{SHIPPED}")
    with pytest.raises(UserError, match="no such artifact"):
        Student(f"./{SHIPPED}")
