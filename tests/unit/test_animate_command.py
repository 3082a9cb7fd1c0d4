"""``python -m diffusiontalker``, in this process."""

import sys
from pathlib import Path

import pytest
from tests.refusals import refusal
from tests.served import wav
from tests.students import random_student

from diffusiontalker.__main__ import main
from diffusiontalker.animation import writers
from diffusiontalker.runtime.conditioning import parse_conditioning


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_a_face_at_the_rate_of_an_engine(
    fps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(2.0))
    student, out = random_student(tmp_path / "student"), tmp_path / "face.json"
    command = ["animate", tmp_path / "a.wav", "--model", student, "--out", out, "--fps", fps]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    main()
    values, told = writers.read_coefficients(out)
    assert (told, len(values)) == (fps, 2 * fps)


def test_weights_name_each_once() -> None:
    assert "'anger' is there twice" in refusal(lambda: parse_conditioning("anger:1,anger:2"))
