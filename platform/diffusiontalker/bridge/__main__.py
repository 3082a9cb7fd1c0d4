"""The command: live animation for Unreal, VRM avatars and others; see docs/clients.md."""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.bridge import animators, audio_input, targets
from diffusiontalker.bridge.animators import Animator
from diffusiontalker.bridge.scheduler import BridgeProgress, send_frames
from diffusiontalker.bridge.targets import PORTS, UdpSender
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import SHIPPED
from diffusiontalker.runtime.conditioning import AUTO, parse_conditioning

MAX_DELAY_MS = 10_000


def main(command: str = "python -m diffusiontalker.bridge") -> None:
    """Run the command: exit status 0, 2 for the user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        command,
        description="Animate speech live and send each frame to an engine over UDP. The student "
        "runs here, or on a server (--server URL).",
    )
    add = parser.add_argument
    add("speech", help="a recording, or - for raw PCM on standard input (16 bits, mono)")
    add(
        "--model",
        help="an artifact; by default the one that ships with the package. With --server the name "
        "of one of its students",
    )
    add("--server", help="such as http://127.0.0.1:8000; the key: DIFFUSIONTALKER_API_KEY")
    add(
        "--to", action="append", metavar="KIND[=HOST[:PORT]]",
        help=f"{', '.join(PORTS)}; may be given several times; livelink here if left out",
    )  # fmt: skip
    add("--subject", default="DiffusionTalker", help="the subject's name in Unreal")
    add("--identity", default=AUTO, help="a speaker of the model, or auto")
    add("--emotion", default=AUTO, help="an emotion of the model, or auto")
    add("--seed", type=int, default=0, help="another seed, another performance")
    add("--smooth-ms", type=float, default=0.0, help="moving average that keeps lip closures")
    add("--mirror", action="store_true", help="swap left and right")
    add("--fps", type=int, choices=(FPS, 2 * FPS), default=FPS, help="60: interpolated")
    add("--delay-ms", type=float, default=150.0, help="from speech to its frame; 150 if left out")
    add("--rate", type=int, default=16_000, help="of standard input, in Hz; 16000 if left out")
    add("--pace", action="store_true", help="read standard input no faster than real time")
    try:
        bridge(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the face is at rest", file=sys.stderr)
        raise SystemExit(130) from None


def bridge(arguments: argparse.Namespace) -> None:
    """Send frames until the speech ends. Raises UserError."""
    if not 0 <= arguments.delay_ms <= MAX_DELAY_MS:
        raise UserError(f"--delay-ms {arguments.delay_ms:g}: give 0 to {MAX_DELAY_MS}")
    receivers = [targets.parse_target(text) for text in arguments.to or ["livelink"]]
    senders = [
        UdpSender(to, targets.encoder(to.kind, arguments.subject, arguments.fps))
        for to in receivers
    ]
    chunks, rate = _audio(arguments)
    animate = _animator(arguments, rate)
    names = ", ".join(map(str, receivers))
    print(
        f"sending to {names}, {arguments.delay_ms:g} ms after the speech; ctrl-C ends it",
        flush=True,
    )
    done = send_frames(
        chunks, rate, animate, senders, arguments.fps, arguments.delay_ms / 1000,
        _progress_printer(senders),
    )  # fmt: skip
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{done.frames} frames, {done.seconds:.1f} s, {done.late} late")


def _audio(arguments: argparse.Namespace) -> tuple[Iterator[np.ndarray], int]:
    if arguments.speech != "-":
        return audio_input.recording(arguments.speech)
    if sys.stdin.isatty():
        raise UserError("standard input is a terminal; pipe PCM into it, as from arecord -t raw")
    # Unbuffered, as a thread that waits in a buffered reader keeps the program from ending.
    chunks = audio_input.raw_pcm(io.FileIO(sys.stdin.fileno(), closefd=False), arguments.rate)
    return (
        audio_input.in_real_time(chunks, arguments.rate) if arguments.pace else chunks
    ), arguments.rate


def _animator(arguments: argparse.Namespace, rate: int) -> Animator:
    options = {"seed": arguments.seed, "smooth_ms": arguments.smooth_ms, "mirror": arguments.mirror}
    if arguments.server:
        named = {"model": arguments.model} if arguments.model else {}
        chosen = {"identity": arguments.identity, "emotion": arguments.emotion}
        return animators.remote(arguments.server, rate, **options, **named, **chosen)
    model = SHIPPED if arguments.model is None else arguments.model
    if model == SHIPPED:
        print("the shipped student; --model FOLDER takes another", file=sys.stderr)
    chosen = {
        "identity": parse_conditioning(arguments.identity),
        "emotion": parse_conditioning(arguments.emotion),
    }
    return animators.local(model, rate, **options, **chosen)


def _progress_printer(senders: list[UdpSender]) -> Callable[[BridgeProgress], None]:
    """Prints progress once a second on a terminal, and each missing receiver once."""
    printed, missing = time.monotonic(), set[UdpSender]()

    def on_frame(progress: BridgeProgress) -> None:
        nonlocal printed
        for sender in senders:
            if sender.undelivered and sender not in missing:
                missing.add(sender)
                print(f"no receiver yet at {sender.target}", file=sys.stderr)
        if sys.stderr.isatty() and time.monotonic() - printed > 1:
            printed = time.monotonic()
            done = f"{progress.seconds:6.1f} s, {progress.frames} frames, {progress.late} late"
            print(f"\r{done}", end="", file=sys.stderr, flush=True)

    return on_frame


if __name__ == "__main__":
    main()
