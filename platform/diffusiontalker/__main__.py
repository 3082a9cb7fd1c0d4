"""A recording in, an animation out, without any extra: `python -m diffusiontalker`."""

import argparse
import sys

import numpy as np

from diffusiontalker.animation import timing, writers
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.sessions import PROVIDERS
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice import AUTO, choice


def main(command: str = "python -m diffusiontalker") -> None:
    """Run the command: exit status 0, 2 for the user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        command,
        description="Animate a recording: 52 ARKit blendshape coefficients per frame. "
        "Recording, model and out are local paths, or s3:// addresses with the extra 's3'.",
    )
    say = parser.add_argument
    say("recording", help="wav, flac, ogg or mp3; others where FFmpeg is; any rate, 0.2 s to 1 h")
    say("--model", required=True, help="an artifact, such as runs/quickstart/student")
    say("--out", required=True, help=".csv (Live Link Face), .json, .npz; .glb needs the extra")
    say(
        "--identity",
        default=AUTO,
        help="a speaker of the model, weights (ann:0.7,bob:0.3), or auto",
    )
    say("--emotion", default=AUTO, help="an emotion of the model, weights, or auto")
    say("--seed", type=int, default=0, help="another seed, another performance")
    say("--smooth-ms", type=float, default=0.0, help="average over time; lips still close")
    say("--mirror", action="store_true", help="swap left and right")
    say(
        "--fps", type=int, choices=timing.RATES, default=FPS,
        help="frames per second; but at 30, they lie between those that the model makes",
    )  # fmt: skip
    say("--threads", type=int, default=1, help="CPU threads")
    say("--provider", choices=PROVIDERS, default="cpu", help="what runs the model")
    try:
        animate(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def animate(asked: argparse.Namespace) -> None:
    """Animate a recording with an artifact, and write the face. Raises UserError."""
    writers.check_suffix(asked.out)
    if asked.threads < 1:
        raise UserError(f"--threads {asked.threads}: give 1 or more")
    student = Student(asked.model, asked.threads, asked.provider)
    sound = read_recording(asked.recording, to=SAMPLE_RATE)
    face = student.animate(
        sound.samples, sound.rate, choice(asked.identity), choice(asked.emotion), asked.seed,
        asked.recording, asked.smooth_ms, asked.mirror,
    )  # fmt: skip
    values = np.concatenate(list(timing.resampled([face.coefficients], face.fps, asked.fps)))
    writers.write(asked.out, values, asked.fps)
    for note in (*sound.notes, *face.notes):
        print(f"warning: {asked.recording}: {note}", file=sys.stderr)
    seconds = f"{len(values) / asked.fps:.1f} s"
    names = [name for name in (face.identity, face.emotion) if name is not None]
    print(", ".join([f"{asked.out}: {len(values)} frames", seconds, *names]))


if __name__ == "__main__":
    main()
