"""The plain wheel in an environment of its own: what it brings, and what it does with that alone.

The package registry must be within reach, as for `make install`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.students import random_student

from diffusiontalker.animation import writers
from diffusiontalker.runtime.student import Student

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ASKED = {"diffusiontalker", "numpy", "onnxruntime", "pyyaml", "soundfile", "soxr"}
BROUGHT = {"cffi", "flatbuffers", "packaging", "protobuf", "pycparser", "typing-extensions"}
"""What those five ask for themselves."""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(folder: Path, *command: object, status: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=ENVIRONMENT | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(folder, *pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    run(folder, sys.executable, "-m", "venv", "--without-pip", "alone")
    interpreter = folder / "alone" / "bin" / "python"
    run(folder, *pip, "--python", interpreter, "install", wheel)
    return interpreter


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A second and a half of a wavering tone at 44.1 kHz."""
    time = np.arange(66150) / 44100
    tone = np.sin(2 * np.pi * 150 * time + np.sin(9 * time)) * np.sin(4 * time) * 0.3
    soundfile.write(tmp_path / "speech.wav", tone, 44100)
    return tmp_path / "speech.wav"


def test_the_wheel_brings_the_runtime_alone(python: Path, tmp_path: Path) -> None:
    code = (
        "import re; from importlib.metadata import distributions\n"
        "for d in distributions(): print(re.sub('[-_.]+', '-', d.name).lower())"
    )
    installed = set(run(tmp_path, python, "-c", code)[0].split())
    assert installed >= ASKED
    assert installed - ASKED - BROUGHT == set()


def test_the_student_loads_nothing_that_the_wheel_does_not_bring(tmp_path: Path) -> None:
    # Here, where everything could be imported.
    code = (
        "import sys\n"
        "import diffusiontalker.__main__, diffusiontalker.runtime.stream\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "from importlib.metadata import packages_distributions\n"
        "for name, owners in packages_distributions().items():\n"
        "    if name in loaded: print(*(owner.lower().replace('_', '-') for owner in owners))"
    )
    source = str(ROOT / "platform")
    said, _ = run(
        tmp_path, sys.executable, "-c", f"import sys; sys.path[:0] = [{source!r}]\n{code}"
    )
    loaded = set(said.split()) - {"setuptools"}  # which loads itself into every process
    assert loaded >= ASKED - {"diffusiontalker"}
    assert loaded - ASKED - BROUGHT == set()


def test_the_example_embeds_a_student(
    python: Path, student: Path, speech: Path, tmp_path: Path
) -> None:
    said, _ = run(tmp_path, python, ROOT / "examples" / "embed.py", student, speech)
    face, fps = writers.read_coefficients(tmp_path / "face.csv")
    expected = Student(student).animate(*soundfile.read(speech), seed=1)
    assert (face.shape, fps) == ((45, 52), 30)
    np.testing.assert_allclose(face, expected.coefficients, atol=1e-5)
    first, *frames, last = said.splitlines()
    assert first == f"face.csv: 45 frames, {expected.identity}, {expected.emotion}"
    assert last.startswith(f"{45 - len(frames)} frames behind the end, ")
    assert all(0 <= float(line.removeprefix("jawOpen ")) <= 1 for line in frames)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".npy"])
def test_the_command_writes_what_needs_numpy_alone(
    python: Path, student: Path, speech: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"face{suffix}"
    options = ("--model", student, "--out", out, "--identity", "bob", "--emotion", "anger")
    said, _ = run(tmp_path, python, "-m", "diffusiontalker", speech, *options, "--seed", 3)
    assert said == f"{out}: 45 frames, 1.5 s, bob, anger\n"
    expected = Student(student).animate(*soundfile.read(speech), "bob", "anger", seed=3)
    np.testing.assert_allclose(writers.read_coefficients(out)[0], expected.coefficients, atol=1e-5)


def test_s3_asks_for_the_platform(python: Path, speech: Path, tmp_path: Path) -> None:
    options = ("--model", "s3://bucket/student", "--out", "face.csv")
    said = run(tmp_path, python, "-m", "diffusiontalker", speech, *options, status=2)
    error = "error: s3://bucket/student: S3 needs more packages: "
    assert said[0] == ""
    assert said[1].startswith(error)
    assert said[1].removeprefix(error).count("\n") == 1
    assert "diffusiontalker[platform]" in said[1]


def test_a_glb_asks_for_the_platform_before_the_work(
    python: Path, student: Path, tmp_path: Path
) -> None:
    options = ("--model", student, "--out", "face.glb")
    said = run(tmp_path, python, "-m", "diffusiontalker", "none.wav", *options, status=2)
    lacks = "needs more packages: pip install 'diffusiontalker[platform]'"
    assert said == ("", f"error: face.glb: GLB {lacks}\n")

    code = "from diffusiontalker.animation.rig import default_rig; default_rig()"
    _, error = run(tmp_path, python, "-c", code, status=1)
    said = error.splitlines()[-1]
    assert said == f"diffusiontalker.errors.UserError: the default rig {lacks}"
