"""Make the recordings that ``examples.json`` lists: python web/examples/make.py [FILE ...]"""

import json
import sys
from pathlib import Path

import soundfile

from diffusiontalker.corpus.procedural import speech
from diffusiontalker.corpus.procedural.kokoro import Kokoro
from diffusiontalker.corpus.procedural.speech import Prosody
from diffusiontalker.corpus.procedural.voices import EMOTIONS

HERE = Path(__file__).parent
PEAK = 0.7
COMPRESSION = 0.78
"""From 0 (160 kbit/s at these sampling rates) to 1 (8 kbit/s)."""


def make(example: dict[str, str], folder: Path) -> Path:
    """Synthesize one example as a mono MP3 of 40 kbit/s in ``folder``.

    Raises:
        UserError: Kokoro's files cannot be fetched.
    """
    emotion = EMOTIONS[example["emotion"]]
    prosody = Prosody(
        rate=Prosody.rate * emotion.rate,
        pitch=Prosody.pitch + emotion.pitch,
        range=Prosody.range + emotion.range,
    )
    speak = Kokoro() if example["synthesizer"] == "kokoro" else speech.speak
    samples, rate, _ = speak(example["text"], example["voice"], prosody)
    path = folder / example["file"]
    soundfile.write(
        path, samples * (PEAK / abs(samples).max()), rate,
        format="MP3", bitrate_mode="CONSTANT", compression_level=COMPRESSION,
    )  # fmt: skip
    return path


if __name__ == "__main__":
    for example in json.loads((HERE / "examples.json").read_bytes()):
        if example["file"] in sys.argv[1:] or not sys.argv[1:]:
            print(make(example, HERE))
