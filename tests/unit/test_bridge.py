"""The bridge: live audio, targets, frames at their time, and mistakes of the command.

The clock is simulated where timing itself is tested.
"""

import errno
import io
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tests.ports import free_port
from tests.refusals import refusal

from diffusiontalker.bridge import __main__ as command
from diffusiontalker.bridge import audio_input, scheduler, targets
from diffusiontalker.bridge.audio_input import TimedChunks
from diffusiontalker.bridge.scheduler import BridgeProgress, send_frames
from diffusiontalker.bridge.targets import Target, UdpSender, parse_target
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.conditioning import parse_conditioning

RATE = 1000
CHUNK = np.zeros(20, np.int16)
"""20 ms."""


class Clock:
    """A monotonic clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(audio_input, "time", made)
    return made


# live audio


def test_a_recording_comes_at_the_pace_of_a_microphone(clock: Clock, tmp_path: Path) -> None:
    samples = np.linspace(-0.5, 0.5, 16_800)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    chunks, rate = audio_input.recording(tmp_path / "a.wav")
    assert rate == 16_000
    heard = [(clock.now, chunk) for chunk in chunks]
    np.testing.assert_allclose(np.concatenate([c for _, c in heard]), samples, atol=1e-6)
    ends = [100 + 0.02 * (k + 1) for k in range(52)] + [101.05]
    np.testing.assert_allclose([at for at, _ in heard], ends)


def test_real_time_delays_what_is_too_fast_and_keeps_a_pause(clock: Clock) -> None:
    def bursts() -> Iterator[np.ndarray]:
        yield from [CHUNK] * 3
        clock.now += 10  # until the next sentence
        yield from [CHUNK] * 3

    at = [clock.now - 100 for _ in audio_input.in_real_time(bursts(), RATE)]
    # The first chunk after the pause comes at once, those behind it in real time.
    np.testing.assert_allclose(at, [0.02, 0.04, 0.06, 10.06, 10.08, 10.1], atol=1e-9)


def test_raw_pcm_is_cut_into_chunks_however_it_arrives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pcm = np.arange(1000, dtype="<i2")

    class Pipe(io.RawIOBase):
        content = io.BytesIO(pcm.tobytes() + b"\1")  # half a sample too many

        def read(self, size: int = -1) -> bytes:
            return self.content.read(min(size, 7))

    chunks = list(audio_input.raw_pcm(Pipe(), 16_000))
    assert [len(chunk) for chunk in chunks] == [320, 320, 320, 40]
    np.testing.assert_array_equal(np.concatenate(chunks), pcm)
    assert capsys.readouterr().err.count("half a sample") == 1
    assert list(audio_input.raw_pcm(io.BytesIO(b""), 16_000)) == []
    assert list(audio_input.raw_pcm(io.BytesIO(b"\1"), 16_000)) == []
    assert capsys.readouterr().err.count("half a sample") == 1


def test_a_file_on_standard_input_is_no_pcm() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 16_000, format="MP3")
    chunks = audio_input.raw_pcm(io.BytesIO(file.getvalue()), 44_100)
    with pytest.raises(UserError, match=r"MP3.*-ar 44100"):
        list(chunks)


def test_notes_of_a_recording_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 16_000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:16_000])
    audio_input.recording(tmp_path / "a.wav")
    assert "warning: " in capsys.readouterr().err


def start_times(clock: Clock, *arrivals: float) -> list[float]:
    """Estimated start of the speech after each chunk of 20 ms; they arrive at seconds from 100."""

    def chunks() -> Iterator[np.ndarray]:
        for arrival in arrivals:
            clock.now = 100 + arrival
            yield CHUNK

    timed = TimedChunks(chunks(), RATE)
    return [timed.start_time - 100 for _ in timed]


def test_speech_starts_a_chunk_before_its_first_arrival(clock: Clock) -> None:
    np.testing.assert_allclose(start_times(clock, 0.02, 0.04, 0.06), 0, atol=1e-9)


def test_what_a_pipe_buffered_was_spoken_before(clock: Clock) -> None:
    # A whole second waited while the student was loaded.
    known = start_times(clock, *[1.0] * 50, 1.02, 1.04)
    assert known[0] == pytest.approx(0.98)
    np.testing.assert_allclose(known[49:], 0, atol=1e-9)


def test_bursts_and_jitter_do_not_move_the_start(clock: Clock) -> None:
    bursts = [0.12 * (1 + k // 6) for k in range(60)]  # a sound card that gives 120 ms at a time
    known = start_times(clock, *bursts)
    np.testing.assert_allclose(known[5:], 0, atol=2e-4)


def test_after_a_pause_speech_starts_again(clock: Clock) -> None:
    known = start_times(clock, 0.02, 0.04, 5.06, 5.08)
    np.testing.assert_allclose(known, [0, 0, 5, 5], atol=1e-4)


def test_a_slow_sound_card_is_followed(clock: Clock) -> None:
    arrivals = [0.02 * (k + 1) * 1.0005 for k in range(30_000)]  # ten minutes
    known = start_times(clock, *arrivals)
    assert known[-1] == pytest.approx(600 * 0.0005, abs=1e-3)


# targets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("livelink", Target("livelink", "127.0.0.1", 11111)),
        ("vmc", Target("vmc", "127.0.0.1", 39539)),
        ("ifacialmocap", Target("ifacialmocap", "127.0.0.1", 49983)),
        ("vmc=:39540", Target("vmc", "127.0.0.1", 39540)),
        ("livelink=192.168.1.7", Target("livelink", "192.168.1.7", 11111)),
        ("livelink=studio:5000", Target("livelink", "studio", 5000)),
        ("livelink=[::1]:5000", Target("livelink", "::1", 5000)),
    ],
)
def test_a_target_is_this_machine_unless_it_is_named(text: str, expected: Target) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("liveling", "livelink, vmc, ifacialmocap"),
        ("", "unknown kind ''"),
        ("vmc=host:0", "65535"),
        ("vmc=host:65536", "65535"),
        ("vmc=host:port", "write vmc=HOST:PORT"),
        ("vmc=a/b", "write vmc=HOST:PORT"),
        ("vmc=me@host", "write vmc=HOST:PORT"),
        ("vmc=[::1", "write vmc=HOST:PORT"),
    ],
)
def test_a_wrong_target_is_one_line(text: str, said: str) -> None:
    message = refusal(lambda: parse_target(text))
    assert said in message
    assert message.startswith(f"--to {text}")


def test_a_host_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UserError, match=r"^--to vmc=studio:39539"):
        UdpSender(parse_target("vmc=studio"), lambda face, moment: [])


def echo(face: np.ndarray, moment: object) -> list[bytes]:
    """Packets that hold the first value alone."""
    return [str(float(face[0])).encode()]


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(5)
        yield receiving


def sender(receiving: socket.socket) -> UdpSender:
    return UdpSender(Target("livelink", "127.0.0.1", receiving.getsockname()[1]), echo)


def test_a_missing_receiver_is_counted_and_no_error() -> None:
    away = UdpSender(Target("livelink", "127.0.0.1", free_port()), echo)
    for _ in range(3):
        away.send(np.zeros(52), scheduler.datetime.now())
        time.sleep(0.01)
    assert away.undelivered > 0
    away.close()


def test_a_network_that_refuses_is_one_line(receiver: socket.socket) -> None:
    refusing = sender(receiver)
    refusing._encode = lambda face, moment: [bytes(70_000)]  # more than UDP carries
    with pytest.raises(UserError, match=r"livelink 127.0.0.1:\d+.*too long"):
        refusing.send(np.zeros(52), scheduler.datetime.now())


def test_an_unreachable_receiver_is_counted_and_no_error(receiver: socket.socket) -> None:
    class Sleeping:
        def send(self, packet: bytes) -> None:
            raise OSError(errno.EHOSTUNREACH, "No route to host")

    asleep = sender(receiver)
    asleep._socket = Sleeping()
    asleep.send(np.zeros(52), scheduler.datetime.now())
    assert asleep.undelivered == 1


# frames at their time


def animate(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """A face of 52 equal values for each 33 samples: its number."""
    samples = made = 0
    for chunk in chunks:
        samples += len(chunk)
        ready = samples * 30 // RATE
        yield np.repeat(np.arange(made, ready, dtype=np.float32)[:, None], 52, axis=1)
        made = ready


def received(receiving: socket.socket, count: int) -> tuple[list[float], np.ndarray]:
    values, times = [], []
    for _ in range(count):
        values.append(float(receiving.recv(100)))
        times.append(time.monotonic())
    return values, np.array(times)


def test_frames_are_sent_in_order_each_at_its_time(receiver: socket.socket) -> None:
    chunks = audio_input.in_real_time([CHUNK] * 25, RATE)
    counts: list[int] = []
    begun = time.monotonic()
    done = send_frames(
        chunks,
        RATE,
        animate,
        [sender(receiver)],
        delay=0.2,
        on_frame=lambda p: counts.append(p.frames),
    )
    took = time.monotonic() - begun
    assert (done.frames, done.seconds) == (15, 0.5)
    assert counts == list(range(1, 16))
    values, _ = received(receiver, 16)
    assert values == [*range(15), 0.0]  # and at rest
    # The last frame's time is 14 / 30 s, it is sent 0.2 s later, and the rest one frame after it.
    assert 15 / 30 + 0.2 - 0.01 < took < 3


def test_at_60_fps_every_second_frame_is_interpolated(receiver: socket.socket) -> None:
    done = send_frames(
        audio_input.in_real_time([CHUNK] * 5, RATE), RATE, animate, [sender(receiver)], fps=60
    )
    assert (done.frames, done.seconds) == (6, 0.1)
    assert received(receiver, 7)[0] == [0, 0.5, 1, 1.5, 2, 2, 0]


def test_frames_that_come_too_late_are_sent_at_once_and_counted(receiver: socket.socket) -> None:
    def slow(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        faces = list(animate(chunks))
        time.sleep(0.3)
        yield from faces

    done = send_frames(
        audio_input.in_real_time([CHUNK] * 10, RATE), RATE, slow, [sender(receiver)], delay=0.1
    )
    assert (done.frames, done.late) == (6, 6)
    assert received(receiver, 7)[0] == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("error", [UserError("the server is away"), OSError("no microphone")])
def test_an_error_is_raised_and_leaves_the_face_at_rest(
    receiver: socket.socket, error: Exception
) -> None:
    def failing(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        yield np.ones((2, 52), np.float32)
        raise error

    with pytest.raises(type(error), match=str(error)):
        send_frames([CHUNK], RATE, failing, [sender(receiver)], delay=0)
    assert received(receiver, 3)[0] == [1, 1, 0]


def test_a_pause_does_not_leave_the_mouth_open(
    receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pausing(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for _ in range(2):
            yield np.ones((1, 52), np.float32)
            time.sleep(0.35)

    monkeypatch.setattr(scheduler, "REST_AFTER", 0.1)
    send_frames([CHUNK], RATE, pausing, [sender(receiver)], delay=0)
    assert received(receiver, 5)[0] == [1, 0, 1, 0, 0]


def test_one_receiver_that_fails_leaves_the_others_at_rest(receiver: socket.socket) -> None:
    broken = sender(receiver)
    broken._encode = lambda face, moment: [bytes(70_000)]
    with pytest.raises(UserError, match="Message too long"):
        send_frames(
            [CHUNK] * 5, RATE, animate, [sender(receiver), broken, sender(receiver)], delay=0
        )
    assert received(receiver, 3)[0] == [0, 0, 0]  # a frame, and two faces at rest


def test_an_interrupt_ends_the_thread_and_leaves_the_face_at_rest(
    receiver: socket.socket,
) -> None:
    def interrupt(progress: BridgeProgress) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    chunks = audio_input.in_real_time([CHUNK] * 1000, RATE)
    with pytest.raises(KeyboardInterrupt):
        send_frames(chunks, RATE, animate, [sender(receiver)], delay=0.1, on_frame=interrupt)
    assert threading.active_count() == before
    assert received(receiver, 2)[0] == [0, 0]


def test_conditionings_are_names_or_weights() -> None:
    assert parse_conditioning("auto") == "auto"
    assert parse_conditioning("anger:0.7, neutral:0.3") == {"anger": 0.7, "neutral": 0.3}
    with pytest.raises(UserError, match="weights"):
        parse_conditioning("anger:much")


# the command


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bridge", *arguments])
    try:
        command.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.wav"], "nowhere.wav"),
        (["a.wav", "--model", "nowhere"], "nowhere"),
        (["a.wav", "--to", "unity"], "--to unity"),
        (["a.wav", "--to", "vmc=host:port"], "vmc=HOST:PORT"),
        (["a.wav", "--subject", ""], "subject ''"),
        (["a.wav", "--delay-ms", "-1"], "--delay-ms -1"),
        (["a.wav", "--delay-ms", "nan"], "--delay-ms nan"),
        (["a.wav", "--server", "127.0.0.1:8000"], "http://host:port"),
        (["a.wav", "--model", "nowhere", "--emotion", "a:b"], "weights"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(4000), 16_000)
    assert run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_terminal_is_no_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert run(monkeypatch, "-", "--model", "nowhere") == 2
    assert "terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("pythonosc.osc_bundle_builder", ["--to", "vmc"]), ("httpx2", ["--server", "http://a"])],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    missing: str, arguments: list[str],
) -> None:  # fmt: skip
    ours = [name for name in sys.modules if name.startswith("diffusiontalker.client")]
    for name in [*ours, "diffusiontalker.bridge.vmc"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("diffusiontalker.bridge.vmc", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(4000), 16_000)
    assert run(monkeypatch, "a.wav", *arguments) == 2
    assert "pip install '.[client]'" in capsys.readouterr().err


def test_usual_ports_are_those_of_the_tools() -> None:
    assert targets.PORTS == {"livelink": 11111, "vmc": 39539, "ifacialmocap": 49983}
