"""The command line without any extra, to animate a recording: `python -m diffusiontalker`."""

import argparse
import sys

import numpy as np

from diffusiontalker.animation import timing, writers
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import SHIPPED
from diffusiontalker.runtime.conditioning import AUTO, parse_conditioning
from diffusiontalker.runtime.sessions import PROVIDERS
from diffusiontalker.runtime.student import Student


def main(command: str = "python -m diffusiontalker") -> None:
    """Run the command: exit status 0, 2 for the user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        command,
        description="Animate a recording: 52 ARKit blendshape coefficients per frame. "
        "Recording, model and out are local paths, or s3:// addresses with the extra 's3'.",
    )
    add = parser.add_argument
    add("recording", help="wav, flac, ogg or mp3; others where FFmpeg is; any rate, 0.2 s to 1 h")
    add(
        "--model",
        default=SHIPPED,
        help="an artifact; by default the one that ships with the package",
    )
    add("--out", required=True, help=".csv (Live Link Face), .json, .npz; .glb needs the extra")
    add(
        "--identity",
        default=AUTO,
        help="a speaker of the model, weights (ann:0.7,bob:0.3), or auto",
    )
    add("--emotion", default=AUTO, help="an emotion of the model, weights, or auto")
    add("--seed", type=int, default=0, help="another seed, another animation")
    add("--smooth-ms", type=float, default=0.0, help="time constant of smoothing; lips still close")
    add("--mirror", action="store_true", help="swap left and right")
    add(
        "--fps", type=int, choices=timing.RATES, default=FPS,
        help="frames per second; other than 30 is interpolated",
    )  # fmt: skip
    add("--threads", type=int, default=1, help="CPU threads")
    add("--provider", choices=PROVIDERS, default="cpu", help="ONNX Runtime's execution provider")
    try:
        animate(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def animate(args: argparse.Namespace) -> None:
    """Animate a recording with an artifact, and write the animation. Raises UserError."""
    writers.check_suffix(args.out)
    if args.threads < 1:
        raise UserError(f"--threads {args.threads}: give 1 or more")
    student = Student(args.model, args.threads, args.provider)
    audio = read_recording(args.recording, to=SAMPLE_RATE)
    animation = student.animate(
        audio.samples, audio.rate, parse_conditioning(args.identity),
        parse_conditioning(args.emotion), args.seed, args.recording, args.smooth_ms,
        args.mirror,
    )  # fmt: skip
    values = np.concatenate(
        list(timing.resampled([animation.coefficients], animation.fps, args.fps))
    )
    writers.write(args.out, values, args.fps)
    for note in (*audio.notes, *animation.notes):
        print(f"warning: {args.recording}: {note}", file=sys.stderr)
    seconds = f"{len(values) / args.fps:.1f} s"
    names = [name for name in (animation.identity, animation.emotion) if name is not None]
    shipped = ["the shipped student"] * (args.model == SHIPPED)
    print(", ".join([f"{args.out}: {len(values)} frames", seconds, *names, *shipped]))


if __name__ == "__main__":
    main()
