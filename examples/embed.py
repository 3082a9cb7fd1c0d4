"""Embed a student: `python examples/embed.py runs/quickstart/student speech.wav`."""

import argparse
import sys

from diffusiontalker.animation import writers
from diffusiontalker.arkit import INDEX
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.student import Student


def main() -> None:
    """Run the example: exit status 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(description="Animate a recording, whole and as a stream.")
    parser.add_argument("model", help="an artifact, such as runs/quickstart/student")
    parser.add_argument("recording", help="such as speech.wav")
    asked = parser.parse_args()
    try:
        embed(asked.model, asked.recording)
    except UserError as error:  # one line
        parser.exit(2, f"error: {error}\n")


def embed(model: str, recording: str) -> None:
    """Animate a recording in both ways. Raises UserError."""
    student = Student(model)
    sound = read_recording(
        recording
    )  # or your own: (n,) or (n, channels), float or PCM, and its rate
    samples, rate = sound.samples, sound.rate

    # A whole recording: (frames, 52) in 0-1, 30 a second.
    face = student.animate(samples, rate, emotion="auto", seed=1)
    writers.write("face.csv", face.coefficients, face.fps)
    print(f"face.csv: {len(face.coefficients)} frames, {face.identity}, {face.emotion}")
    for note in (*sound.notes, *face.notes):  # a download cut short, silence ...
        print(f"warning: {note}", file=sys.stderr)

    # Speech as it comes: samples in, 10 ms at a time or any other number; out, the frames that
    # they complete.
    stream = student.stream(rate, emotion="auto", seed=1)
    for start in range(0, len(samples), rate // 100):
        for frame in stream.push(samples[start : start + rate // 100]):
            print(f"jawOpen {frame[INDEX['jawOpen']]:.2f}")
    print(f"{len(stream.close())} frames behind the end, {stream.look_ahead_ms:.0f} ms look-ahead")


if __name__ == "__main__":
    main()
