"""Speech in, a live face out, for Unreal, VRM avatars and others: see docs/clients.md."""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.bridge import live, speech, targets
from diffusiontalker.bridge.live import Progress
from diffusiontalker.bridge.targets import PORTS, Outlet
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.conditioning import AUTO, parse_conditioning

MAX_DELAY_MS = 10_000


def main(command: str = "python -m diffusiontalker.bridge") -> None:
    """Run the command: exit status 0, 2 for the user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        command,
        description="Send a live face to an engine, frame by frame, over UDP. The student runs "
        "here (--model FOLDER), or on a server (--server URL).",
    )
    say = parser.add_argument
    say("speech", help="a recording, or - for raw PCM on standard input (16 bits, mono)")
    say("--model", help="an artifact; with --server, the name of one of its students")
    say("--server", help="such as http://127.0.0.1:8000; the key: DIFFUSIONTALKER_API_KEY")
    say(
        "--to", action="append", metavar="KIND[=HOST[:PORT]]",
        help=f"{', '.join(PORTS)}; may be given several times; livelink here if left out",
    )  # fmt: skip
    say("--subject", default="DiffusionTalker", help="the subject's name in Unreal")
    say("--identity", default=AUTO, help="a speaker of the model, or auto")
    say("--emotion", default=AUTO, help="an emotion of the model, or auto")
    say("--seed", type=int, default=0, help="another seed, another performance")
    say("--smooth-ms", type=float, default=0.0, help="average over time; lips still close")
    say("--mirror", action="store_true", help="swap left and right")
    say("--fps", type=int, choices=(FPS, 2 * FPS), default=FPS, help="60: a frame between any two")
    say("--delay-ms", type=float, default=150.0, help="from speech to its frame; 150 if left out")
    say("--rate", type=int, default=16_000, help="of standard input, in Hz; 16000 if left out")
    say("--pace", action="store_true", help="read standard input no faster than real time")
    try:
        bridge(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the face is at rest", file=sys.stderr)
        raise SystemExit(130) from None


def bridge(asked: argparse.Namespace) -> None:
    """Send a live face until the speech ends. Raises UserError."""
    if not 0 <= asked.delay_ms <= MAX_DELAY_MS:
        raise UserError(f"--delay-ms {asked.delay_ms:g}: give 0 to {MAX_DELAY_MS}")
    wanted = [targets.target(text) for text in asked.to or ["livelink"]]
    outlets = [Outlet(one, targets.encoder(one.kind, asked.subject, asked.fps)) for one in wanted]
    chunks, rate = _speech(asked)
    talker = _talker(asked, rate)
    names = ", ".join(str(one) for one in wanted)
    print(f"sending to {names}, {asked.delay_ms:g} ms after the speech; ctrl-C ends it", flush=True)
    done = live.run(
        chunks, rate, talker, outlets, asked.fps, asked.delay_ms / 1000, _teller(outlets)
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{done.frames} frames, {done.seconds:.1f} s, {done.late} late")


def _speech(asked: argparse.Namespace) -> tuple[Iterator[np.ndarray], int]:
    if asked.speech != "-":
        return speech.recording(asked.speech)
    if sys.stdin.isatty():
        raise UserError("standard input is a terminal; pipe PCM into it, as from arecord -t raw")
    # Unbuffered: a thread that waits in a buffered one keeps the program from ending.
    chunks = speech.raw(io.FileIO(sys.stdin.fileno(), closefd=False), asked.rate)
    return (speech.paced(chunks, asked.rate) if asked.pace else chunks), asked.rate


def _talker(asked: argparse.Namespace, rate: int) -> live.Talker:
    options = {"seed": asked.seed, "smooth_ms": asked.smooth_ms, "mirror": asked.mirror}
    if asked.server:
        named = {"model": asked.model} if asked.model else {}
        chosen = {"identity": asked.identity, "emotion": asked.emotion}
        return live.remote(asked.server, rate, **options, **named, **chosen)
    if not asked.model:
        raise UserError("no student: give --model FOLDER, or --server http://127.0.0.1:8000")
    chosen = {
        "identity": parse_conditioning(asked.identity),
        "emotion": parse_conditioning(asked.emotion),
    }
    return live.local(asked.model, rate, **options, **chosen)


def _teller(outlets: list[Outlet]) -> Callable[[Progress], None]:
    """Tells of progress once a second where somebody looks, and once where nobody listens."""
    seen, missed = time.monotonic(), set[Outlet]()

    def tell(progress: Progress) -> None:
        nonlocal seen
        for outlet in outlets:
            if outlet.unheard and outlet not in missed:
                missed.add(outlet)
                print(f"no receiver yet at {outlet.target}", file=sys.stderr)
        if sys.stderr.isatty() and time.monotonic() - seen > 1:
            seen = time.monotonic()
            done = f"{progress.seconds:6.1f} s, {progress.frames} frames, {progress.late} late"
            print(f"\r{done}", end="", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    main()
