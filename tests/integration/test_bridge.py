"""The command in a process of its own: a student, speech in, packets on a loopback socket."""

import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.students import random_student

from diffusiontalker import arkit
from diffusiontalker.bridge.livelink import CURVES
from diffusiontalker.runtime.student import Student

ROOT = Path(__file__).parents[2]
SECONDS = 2.0
FRAMES = 60


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("bridge") / "student")


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Two seconds of a modulated tone at 16 kHz, in 16 bits."""
    time = np.arange(round(SECONDS * 16_000)) / 16_000
    tone = np.sin(2 * np.pi * 150 * time + np.sin(9 * time)) * np.sin(4 * time) * 0.3
    return np.rint(tone * 32767).astype(np.int16)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(0.5)
        yield receiving


Begin = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def begin(receiver: socket.socket) -> Iterator[Begin]:
    """Starts the bridge, which sends to the receiver; kills what still runs at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: object, kind: str = "livelink", stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        to = f"{kind}=127.0.0.1:{receiver.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, ROOT / "jobs" / "bridge.py", *map(str, arguments), "--to", to],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Who runs the tests in the background may have them ignore Ctrl-C, and all they start.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        with process:
            process.kill()


def collect(
    receiver: socket.socket, process: subprocess.Popen[bytes]
) -> tuple[list[float], list[bytes]]:
    """Times of arrival and packets, until the bridge has ended and no more arrive."""
    times: list[float] = []
    packets: list[bytes] = []
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline, "the bridge does not end"
        try:
            packets.append(receiver.recv(65_536))
            times.append(time.monotonic())
        except TimeoutError:
            if process.poll() is not None:
                return times, packets


def livelink(packet: bytes) -> tuple[int, np.ndarray]:
    """Number and coefficients (52,) of a packet, by the format alone."""
    subject = 5 + struct.unpack_from("!i", packet, 1)[0]
    at = subject + 4 + struct.unpack_from("!i", packet, subject)[0]
    number, _, _, _, count = struct.unpack_from("!ifiiB", packet, at)
    values = np.frombuffer(packet, ">f4", offset=at + 17)
    assert len(values) == count == 61
    return number, arkit.map_by_name(values[:52].astype(np.float32), CURVES, "packet")


def test_a_recording_becomes_frames_at_their_time(
    student: Path, samples: np.ndarray, receiver: socket.socket, begin: Begin, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "speech.wav", samples, 16_000, subtype="PCM_16")
    process = begin(
        tmp_path / "speech.wav", "--model", student, "--identity", "bob", "--emotion",
        "neutral:0.5,anger:0.5", "--seed", 3, "--mirror", "--delay-ms", 500,
    )  # fmt: skip
    times, packets = collect(receiver, process)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    begun, ended = out.decode().splitlines()
    assert begun.startswith("sending to livelink 127.0.0.1:")
    assert ended.startswith(f"{FRAMES} frames, 2.0 s, ")

    numbers, faces = zip(*map(livelink, packets), strict=True)
    assert len(packets) == FRAMES + 1  # at last the face at rest
    weights = {"neutral": 0.5, "anger": 0.5}
    stream = Student(student).stream(identity="bob", emotion=weights, seed=3, mirror=True)
    whole = samples / np.float32(32768)
    expected = np.concatenate([stream.push(whole), stream.close(), np.zeros((1, 52))])
    np.testing.assert_allclose(np.stack(faces), expected, atol=1e-4)

    # In real time, on a machine that may be busy; about so where no frame was late.
    assert (np.diff(numbers) >= 0).all()
    took = times[-2] - times[0]
    assert 1.5 < took < 4
    if ended.endswith(" 0 late"):
        assert abs(took - (FRAMES - 1) / 30) < 0.3
        assert abs(numbers[-2] - numbers[0] - (FRAMES - 1)) < 9


def test_pcm_from_a_pipe_is_delayed_to_real_time(
    student: Path, samples: np.ndarray, receiver: socket.socket, begin: Begin
) -> None:
    process = begin(
        "-", "--model", student, "--fps", 60, "--pace", kind="ifacialmocap", stdin=subprocess.PIPE
    )  # fmt: skip
    assert process.stdin is not None
    with process.stdin as pipe:  # which holds it all, faster than it would be spoken
        pipe.write(samples.tobytes())
    times, packets = collect(receiver, process)
    assert process.returncode == 0
    assert len(packets) == 2 * FRAMES + 1
    assert 1.5 < times[-2] - times[0] < 4  # not all at once, as they were piped
    assert all(packet.startswith(b"browDown_L-") for packet in packets)


def test_a_live_pipe_is_followed_until_ctrl_c(
    student: Path, samples: np.ndarray, receiver: socket.socket, begin: Begin
) -> None:
    process = begin("-", "--model", student, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(samples[:16_000].tobytes())  # buffered while the student is loaded
    process.stdin.flush()
    receiver.settimeout(60)
    receiver.recv(2000)
    receiver.settimeout(0.5)
    process.send_signal(signal.SIGINT)
    _, packets = collect(receiver, process)
    assert process.returncode == 130
    assert process.stderr is not None
    (line,) = process.stderr.read().splitlines()
    assert b"at rest" in line
    assert not livelink(packets[-1])[1].any()
