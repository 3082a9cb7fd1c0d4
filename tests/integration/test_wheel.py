"""The wheel in environments of its own: what it brings, and what it does with that alone.

The package registry must be within reach, as for `make install`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.students import random_student

from diffusiontalker.animation import writers
from diffusiontalker.runtime.student import Student

ROOT = Path(__file__).parents[2]
ASKED = {"diffusiontalker", "numpy", "onnxruntime", "pyyaml", "soundfile", "soxr"}
BROUGHT = {"cffi", "flatbuffers", "packaging", "protobuf", "pycparser", "typing-extensions"}
"""What those five ask for themselves."""
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(folder: Path, *command: object, status: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=ENVIRONMENT | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


def found(version: str) -> str | None:
    """An interpreter of a version such as 3.13, on the path or among pyenv's; None without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        # pyenv puts shims on the path for versions that it then refuses to run.
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def installed(folder: Path, interpreter: str, what: str) -> Path:
    """The interpreter of a new environment in ``folder`` that holds ``what``."""
    run(folder, interpreter, "-m", "venv", "--without-pip", "alone")
    python = folder / "alone" / "bin" / "python"
    run(folder, *PIP, "--python", python, "install", "--no-compile", what)
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(folder, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it asks for."""
    return installed(tmp_path_factory.mktemp("alone"), sys.executable, str(wheel))


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
    said, _ = run(tmp_path, python, ROOT / "examples" / "embed.py", speech, "--model", student)
    face, fps = writers.read_coefficients(tmp_path / "face.csv")
    expected = Student(student).animate(*soundfile.read(speech), seed=1)
    assert (face.shape, fps) == ((45, 52), 30)
    np.testing.assert_allclose(face, expected.coefficients, atol=1e-5)
    first, *frames, last = said.splitlines()
    assert first == f"face.csv: 45 frames, {expected.identity}, {expected.emotion}"
    assert last.startswith(f"{45 - len(frames)} frames after the end")
    assert all(0 <= float(line.removeprefix("jawOpen ")) <= 1 for line in frames)


def test_the_wheel_brings_a_student(
    python: Path, wheel: Path, speech: Path, tmp_path: Path
) -> None:
    said, _ = run(tmp_path, python, "-m", "diffusiontalker", speech, "--out", "face.csv")
    assert said.startswith("face.csv: 45 frames, 1.5 s, ")
    assert said.endswith(", the shipped student\n")
    expected = Student().animate(*soundfile.read(speech))
    face = writers.read_coefficients(tmp_path / "face.csv")[0]
    np.testing.assert_allclose(face, expected.coefficients, atol=1e-5)
    assert wheel.stat().st_size < 6e6


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


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_pythons_embed_a_student_and_write_a_glb(
    wheel: Path, student: Path, speech: Path, tmp_path: Path, version: str
) -> None:
    interpreter = found(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} on this machine")
    python = installed(tmp_path, interpreter, f"{wheel}[glb]")
    run(tmp_path, python, ROOT / "examples" / "embed.py", speech, "--model", student)
    expected = Student(student).animate(*soundfile.read(speech), seed=1)
    face = writers.read_coefficients(tmp_path / "face.csv")[0]
    np.testing.assert_allclose(face, expected.coefficients, atol=1e-5)

    options = ("--model", student, "--out", "face.glb", "--seed", 1)
    run(tmp_path, python, "-m", "diffusiontalker", speech, *options)
    here = writers.write(tmp_path / "here.glb", expected.coefficients, expected.fps)[0]
    assert (tmp_path / "face.glb").stat().st_size == here.stat().st_size


def test_s3_asks_for_its_extra(python: Path, speech: Path, tmp_path: Path) -> None:
    options = ("--model", "s3://bucket/student", "--out", "face.csv")
    said = run(tmp_path, python, "-m", "diffusiontalker", speech, *options, status=2)
    error = "error: s3://bucket/student: S3 needs more packages: "
    assert said[0] == ""
    assert said[1].startswith(error)
    assert said[1].removeprefix(error).count("\n") == 1
    assert "pip install '.[s3]'" in said[1]


def test_a_glb_asks_for_its_extra_before_the_work(
    python: Path, student: Path, tmp_path: Path
) -> None:
    options = ("--model", student, "--out", "face.glb")
    said = run(tmp_path, python, "-m", "diffusiontalker", "none.wav", *options, status=2)
    lacks = "needs more packages: run pip install '.[glb]' in the project's folder"
    assert said == ("", f"error: face.glb: GLB {lacks}\n")

    code = "from diffusiontalker.animation.rig import default_rig; default_rig()"
    _, error = run(tmp_path, python, "-c", code, status=1)
    said = error.splitlines()[-1]
    assert said == f"diffusiontalker.errors.UserError: the default rig {lacks}"
