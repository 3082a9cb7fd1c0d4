"""How a live stream adapts to level and voice. An artifact carries its parameters."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamParameters:
    """Parameters of level and voice tracking. The defaults are written at export: our choice."""

    level_memory: float = 1800.0
    """Mel frames (30 s) after which a window weighs 1/e in the loudness histogram."""
    level_trust: float = 30.0
    """Mel frames of speech (half a second) until half of the level correction is applied."""
    level_max_db: float = 30.0
    """Largest level correction, up or down."""
    early_frames: int = 60
    """Frames with the first value of ``update_frames`` and ``glide``; then the second applies. Each
    second of speech adds most at first."""
    update_frames: tuple[int, int] = (2, 10)
    """Identity and emotion are taken from the voice every so many frames."""
    glide: tuple[float, float] = (1.0, 0.5)
    """Share of the way to a new embedding per update: at first the voice must be found, later no
    face may jump."""
    voice_seconds: tuple[float, float] = (60.0, 8.0)
    """Time constants of the moving averages of voice features, for identity and for emotion, which
    changes more often."""
    rise_frames: int = 4
    """Frames (0.13 s) in which a face at rest fades in when speech begins."""
