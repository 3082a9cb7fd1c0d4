"""Augmentation of the training clips: rooms, microphones and lines."""

from typing import Annotated

from pydantic import Field, model_validator

from diffusiontalker.config.section import Count, Section, Seed, Share, Weight


class DegradationWeights(Section):
    """How often each kind of degradation is drawn, relative to the others; in the order in which
    they are applied."""

    babble: Weight = 1.0
    """Other clips of the shard in the background, 8 to 25 dB below the speech."""
    room: Weight = 1.0
    """Reverberation of 0.1 to 0.8 s."""
    noise: Weight = 1.0
    """White, pink or brown noise, 8 to 35 dB below the speech."""
    equaliser: Weight = 1.0
    """The frequency response of a microphone."""
    clipping: Weight = 0.5
    """3 to 15 dB below the peak."""
    low_pass: Weight = 1.0
    """A bandwidth of 3.4 to 8 kHz."""
    telephone: Weight = 0.5
    """300 to 3400 Hz, mu-law or A-law."""
    opus: Weight = 0.5
    """8 to 32 kbit/s."""
    mp3: Weight = 0.5
    """16 to 48 kbit/s."""


class DegradationSettings(Section):
    """Degraded recordings: the audio of a share of the training clips as through a room, a
    microphone and a line, when features are extracted."""

    share: Share = 0.0
    """Of the training clips; 0 switches it off."""
    most: Count = 3
    """Kinds in a row: 1 to so many."""
    features: bool = False
    """Whether the frozen encoder takes degraded audio too. Without, a
    degraded clip has the features of its clean audio, and the student is distilled from a teacher
    whose target does not suffer from the degradation (after arXiv 1708.05466)."""
    kinds: DegradationWeights = DegradationWeights()
    seed: Seed = 0

    @model_validator(mode="after")
    def _some_kind(self) -> "DegradationSettings":
        if self.share > 0 and not any(weight for _, weight in self.kinds):
            raise ValueError("share is above 0, but all weights in kinds are 0")
        return self


class AugmentationSettings(Section):
    """Augmentation of the training clips; val and test clips stay as they are."""

    degradation: DegradationSettings = DegradationSettings()
    lost_bands: Share = 0.0
    """Share of the examples of a training step that lose all mel bands above a random cut-off of
    3.3 to 8 kHz, as telephones and old recordings do; anew in every step. 0 switches it off
    (ours)."""
    vocal_tract: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Greatest share by which all frequencies of a student's examples are raised or lowered, as by
    a shorter or longer vocal tract; anew in every step. 0 switches it off (vocal tract length
    perturbation, Jaitly and Hinton 2013)."""
