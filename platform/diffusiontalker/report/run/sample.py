"""The held-out sentence that the page shows: its sound, and three faces for it."""

from dataclasses import dataclass

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.errors import UserError

DEFAULT_CHANNELS = ("jawOpen", "mouthPucker", "mouthSmileLeft", "browInnerUp", "eyeBlinkLeft")


@dataclass(frozen=True, eq=False)
class Sample:
    """One held-out sentence.

    Attributes:
        text: what is said.
        identity: who says it.
        emotion: how.
        audio: (n,) float32 in [-1, 1].
        sample_rate: of the audio, Hz.
        truth: (T, 52) the recorded coefficients at 30 fps.
        student: (T, 52) the student's.
        teacher: (T, 52) the teacher's.
        channels: names of the channels whose curves the page plots.

    Raises:
        UserError: faces of different lengths, of no frames or not 52 channels, audio that is not
            one channel, or an unknown channel name.
    """

    text: str
    identity: str
    emotion: str
    audio: np.ndarray
    sample_rate: int
    truth: np.ndarray
    student: np.ndarray
    teacher: np.ndarray
    channels: tuple[str, ...] = DEFAULT_CHANNELS

    def __post_init__(self) -> None:
        frames = len(self.truth)
        for name, face in self.faces().items():
            if frames == 0 or face.shape != (frames, len(arkit.CHANNELS)):
                raise UserError(
                    f"sample: {name} is {face.shape}, expected (T, {len(arkit.CHANNELS)}) with the "
                    f"T of truth, {frames}, and at least one frame"
                )
        if self.audio.ndim != 1:
            raise UserError(f"sample: audio is {self.audio.shape}, expected (n,), one channel")
        if unknown := [name for name in self.channels if name not in arkit.INDEX]:
            raise UserError(f"sample: unknown channel {unknown[0]!r}; arkit.CHANNELS lists them")

    def faces(self) -> dict[str, np.ndarray]:
        """The three faces by name, in the order in which the page offers them."""
        return {"truth": self.truth, "student": self.student, "teacher": self.teacher}
