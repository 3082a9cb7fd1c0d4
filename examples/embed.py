"""Embed a student: `python examples/embed.py speech.wav`."""

import argparse
import sys

from diffusiontalker.animation import writers
from diffusiontalker.arkit import INDEX
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import SHIPPED
from diffusiontalker.runtime.student import Student


def main() -> None:
    """Run the example: exit status 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description="Animate a recording, whole and as a stream.")
    parser.add_argument("recording", help="such as speech.wav")
    parser.add_argument("--model", default=SHIPPED, help="an artifact of your own")
    args = parser.parse_args()
    try:
        embed(args.recording, args.model)
    except UserError as error:  # one line
        parser.exit(2, f"error: {error}\n")


def embed(recording: str, model: str = SHIPPED) -> None:
    """Animate a recording in both ways. Raises UserError."""
    student = Student(model)  # Student() is the one that ships with the package
    if model == SHIPPED:
        print("the shipped student; --model FOLDER takes another", file=sys.stderr)
    # Or your own samples: (n,) or (n, channels), float or PCM, and their rate.
    audio = read_recording(recording)
    samples, rate = audio.samples, audio.rate

    # A whole recording: (frames, 52) in 0-1, 30 a second.
    animation = student.animate(samples, rate, emotion="auto", seed=1)
    writers.write("face.csv", animation.coefficients, animation.fps)
    print(
        f"face.csv: {len(animation.coefficients)} frames, {animation.identity}, {animation.emotion}"
    )
    for note in (*audio.notes, *animation.notes):  # a truncated file, silence ...
        print(f"warning: {note}", file=sys.stderr)

    # A live stream: push samples, 10 ms at a time or any other number; returned are the frames
    # that they complete.
    stream = student.stream(rate, emotion="auto", seed=1)
    for start in range(0, len(samples), rate // 100):
        for frame in stream.push(samples[start : start + rate // 100]):
            print(f"jawOpen {frame[INDEX['jawOpen']]:.2f}")
    print(f"{len(stream.close())} frames after the end, {stream.look_ahead_ms:.0f} ms look-ahead")


if __name__ == "__main__":
    main()
