"""The parameters of the log-mel front end. An artifact carries those that it was trained with."""

from dataclasses import dataclass

from diffusiontalker.arkit import FPS


@dataclass(frozen=True)
class FrontEnd:
    """Parameters of log-mel and level. The defaults are those of training: our choice."""

    window: int = 640
    """Samples of a mel window: 40 ms."""
    fft: int = 768
    """Points: the window and some zeros, so that every mel band holds a bin; 3 x 2^8 is quick."""
    bands: int = 80
    mel_per_frame: int = 2
    """Mel frames per frame of animation."""
    floor: float = 1e-4
    """Power added before the logarithm: about the hiss of a quiet room at ``level_db``."""
    mean: float = -3.5
    """Log-mel is standardised as ``(x - mean) / scale``: speech is then near zero mean and unit
    variance."""
    scale: float = 3.0
    stem: int = 5
    """Mel frames that a student's first convolution takes for one frame of animation."""
    level_db: float = -23.0
    """RMS of speech after normalisation, in dB relative to full scale."""
    floor_db: int = -65
    """Level in dB below which nothing counts as speech."""
    span_db: int = 25
    """Speech lies within so many dB of the loudest part."""

    @property
    def overlap(self) -> int:
        """Mel frames that two neighbouring frames of animation share in the first convolution: T
        frames take ``mel_per_frame * T + overlap``."""
        return self.stem - self.mel_per_frame

    @property
    def mel_rate(self) -> int:
        """Mel frames per second."""
        return FPS * self.mel_per_frame


TRAINING = FrontEnd()
"""What every model of this release is trained with."""
