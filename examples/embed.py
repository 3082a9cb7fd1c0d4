"""Embed a student: `python examples/embed.py runs/quickstart/student speech.wav`."""

import sys

from diffusiontalker import audio
from diffusiontalker.animation import writers
from diffusiontalker.arkit import INDEX
from diffusiontalker.runtime.student import Student

student = Student(sys.argv[1])
sound = audio.read(sys.argv[2])  # or samples of your own, and their rate
samples, rate = sound.samples, sound.rate

# A whole recording: (frames, 52) in 0-1, 30 a second.
face = student.animate(samples, rate, emotion="auto", seed=1)
writers.write("face.csv", face.coefficients, face.fps)
print(f"face.csv: {len(face.coefficients)} frames, {face.identity}, {face.emotion}")
for note in (*sound.notes, *face.notes):  # a download cut short, silence ...
    print(f"warning: {note}", file=sys.stderr)

# Speech as it comes: samples in, 10 ms at a time or any other number; the frames they complete out.
stream = student.stream(rate, emotion="auto", seed=1)
for start in range(0, len(samples), rate // 100):
    for frame in stream.push(samples[start : start + rate // 100]):
        print(f"jawOpen {frame[INDEX['jawOpen']]:.2f}")
print(f"{len(stream.close())} frames behind the end, {stream.look_ahead_ms:.0f} ms look-ahead")
