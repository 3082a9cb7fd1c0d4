"""`python -m diffusiontalker`: what it says of a recording, and what it writes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.served import speech
from tests.students import random_student

from diffusiontalker import __main__ as command
from diffusiontalker.animation import writers


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("animate") / "student")


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], student: Path, path: Path
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    out = path.with_suffix(".npz")
    monkeypatch.setattr(sys, "argv", ["", str(path), "--model", str(student), "--out", str(out)])
    status = 0
    try:
        command.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_half_a_download_is_animated_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], student: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(2.0), 16_000)
    path.write_bytes(path.read_bytes()[: 44 + 32_000])
    status, out, err = run(monkeypatch, capsys, student, path)
    assert status == 0
    assert "30 frames, 1.0 s" in out
    assert err.startswith(f"warning: {path}: cut short")
    assert err.count("\n") == 1


def test_silence_is_a_face_at_rest_of_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], student: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    status, out, err = run(monkeypatch, capsys, student, path)
    assert (status, out) == (0, f"{path.with_suffix('.npz')}: 30 frames, 1.0 s\n")
    assert err.startswith(f"warning: {path}: silent")
    assert not writers.read_coefficients(path.with_suffix(".npz"))[0].any()


def test_what_is_no_recording_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], student: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "a.wav"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    status, out, err = run(monkeypatch, capsys, student, path)
    assert (status, out) == (2, "")
    assert "git lfs pull" in err
    assert err.count("\n") == 1
