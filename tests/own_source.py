"""A data set of one's own in one file, as ``docs/data.md`` says; tests read it by its path."""

import numpy as np

from diffusiontalker.animation import files
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.config import Section
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing


class Options(Section):
    """Settings below ``source.options``."""

    fps: float = 30.0


class Pairs(Source):
    """``speaker/emotion/name.wav`` beside ``name.npy``."""

    Options = Options

    def takes(self) -> TakeListing:
        sizes = self.files()
        takes = []
        for name in sizes:
            if name.endswith(".npy"):
                speaker, emotion, _ = name.split("/")
                sound = name.replace(".npy", ".wav")
                known = None if emotion == "unlabelled" else emotion
                take = name.removesuffix(".npy").replace("/", "-")
                takes.append(Take(take, speaker, known, bytes=sizes[sound], files=(name, sound)))
        return TakeListing(takes, [(n, "no wav or npy") for n in sizes if n.endswith(".txt")])

    def read(self, take: Take) -> Recording:
        face = files.coefficients(files.read_npy(self.path(take.files[0])), take.files[0])
        sound = read_recording(self.path(take.files[1]))
        return Recording(sound.samples, sound.rate, face.astype(np.float32), self.options.fps)
