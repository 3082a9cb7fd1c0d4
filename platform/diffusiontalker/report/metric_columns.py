"""The columns of metrics: label, number format, which values are better, and an explanation."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from diffusiontalker.report.wording import DASH
from diffusiontalker.summary.run import Costs, Errors


@dataclass(frozen=True)
class Column:
    """One metric or cost of a row.

    Attributes:
        key: its field in ``summary.run.Row``.
        label: heading of the column.
        better: whether the lowest value is best, the highest, the one nearest 1 or 0, or none.
        text: the glossary's explanation.
        decimals: digits after the point.
        scale: the displayed number is the stored one times this.
        unit: of the displayed number.
    """

    key: str
    label: str
    better: Literal["low", "high", "one", "zero"] | None
    text: str
    decimals: int = 3
    scale: float = 1.0
    unit: str = ""

    def of(self, row: Errors | Costs) -> float | None:
        """The value in a row; None where it is not known or the row has no such field."""
        value: float | None = getattr(row, self.key, None)
        return value

    def show(self, value: float | None) -> str:
        """The number as a table prints it; a dash where there is none."""
        return DASH if value is None else f"{value * self.scale:z,.{self.decimals}f}"

    def best(self, values: Iterable[float | None]) -> str | None:
        """The best of the values as ``show`` prints it; None where there is no best."""
        known = [value for value in values if value is not None]
        if not known or self.better is None:
            return None
        if self.better in ("one", "zero"):
            right = 1 if self.better == "one" else 0
            return self.show(min(known, key=lambda value: abs(value - right)))
        return self.show(max(known) if self.better == "high" else min(known))


COLUMNS: tuple[Column, ...] = (
    Column(
        "mbe",
        "MBE",
        "low",
        "Mean blendshape error: the distance between the predicted and the recorded face, over all "
        "52 coefficients of a frame, averaged over frames.",
    ),
    Column(
        "lbe",
        "LBE",
        "low",
        "Lip blendshape error: MBE over jaw, mouth and tongue alone. Speech nearly determines the "
        "lips, so this should be small.",
        4,
    ),
    Column(
        "lbe_published",
        "LBE (published mask)",
        "low",
        "LBE over the twelve channels that earlier work used, which leave out the jaw's opening, "
        "smile and press; for comparison with the papers' tables.",
        4,
    ),
    Column(
        "energy_score",
        "Energy score",
        "low",
        "How well the whole spread of possible faces matches the recording: the mean distance of "
        "several samples to it, less half their distance to each other. A blurred average face "
        "cannot win it, so the verdict above looks here first.",
    ),
    Column(
        "fdd",
        "|FDD|",
        "low",
        "Upper-face dynamics deviation: by how much brows and eyes move more or less over time "
        "than in the recording.",
        4,
    ),
    Column(
        "lve",
        "LVE",
        "low",
        "Lip vertex error: the squared distance of the worst lip vertex of a frame, on the head "
        "shown here, averaged over frames.",
        2,
        1e5,
        "10⁻⁵ m²",
    ),
    Column(
        "eve",
        "EVE",
        "low",
        "Eye and forehead vertex error: the same over the vertices of eyes and forehead.",
        2,
        1e5,
        "10⁻⁵ m²",
    ),
    Column(
        "mbe_of_mean",
        "MBE of the mean",
        "low",
        "MBE of the mean of the samples (evaluation.seeds of them), with less of the sampling's "
        "noise. An average is no face that moves like a person's.",
    ),
    Column("lbe_of_mean", "LBE of the mean", "low", "The same over the lips.", 4),
    Column(
        "fdd_signed",
        "FDD, signed",
        "zero",
        "The mean of FDD with its sign: positive where brows and eyes move too little. Clips that "
        "move too much and too little cancel out.",
        4,
    ),
    Column(
        "fdd_published",
        "|FDD| (published mask)",
        "low",
        "|FDD| over the channels that earlier work used, which leave out the brows.",
        4,
    ),
    Column(
        "fdd_published_signed",
        "FDD, signed (published mask)",
        "zero",
        "FDD over those channels, with its sign.",
        4,
    ),
    Column(
        "lve_frames",
        "LVE by frames",
        "low",
        "LVE averaged over all frames, where long clips count more, instead of over clips.",
        2,
        1e5,
        "10⁻⁵ m²",
    ),
    Column(
        "fdd_vertex",
        "|FDD| of vertices",
        "low",
        "|FDD| of the vertices of the upper face.",
        3,
        1e7,
        "10⁻⁷ m²",
    ),
    Column(
        "fdd_vertex_signed", "FDD of vertices", "zero", "The same with its sign.", 3, 1e7, "10⁻⁷ m²"
    ),
    Column(
        "spread_upper",
        "Spread, upper",
        "one",
        "How much the upper face moves over time, as a ratio to the recording. 1.00 is right, less "
        "is too stiff.",
        2,
    ),
    Column("spread_lower", "Spread, lower", "one", "The same for the lower face.", 2),
    Column(
        "diversity_upper",
        "Diversity, upper",
        None,
        "The distance between two samples for the same sentence, upper face. People vary here, so "
        "a good model does too: near the sampling floor is right.",
    ),
    Column(
        "diversity_lower",
        "Diversity, lower",
        None,
        "The same for the lower face, where people hardly vary: it should be small.",
    ),
    Column(
        "closure",
        "Lips closed",
        "high",
        "In how many of the p, b and m the lips meet. Viewers notice it where they do not, and a "
        "mean error hardly does.",
        0,
        100,
        "%",
    ),
    Column(
        "closed_elsewhere",
        "Closed elsewhere",
        "low",
        "In how many other sounds the lips are closed in the middle: what a mouth that closes too "
        "often or too long does. Near the recordings' is right.",
        1,
        100,
        "%",
    ),
    Column(
        "closure_auc",
        "Closure AUC",
        "high",
        "How reliably the lips are closer in p, b and m than in open vowels: 1 is always, 0.5 is "
        "chance.",
        2,
    ),
    Column(
        "rounding_auc",
        "Rounding AUC",
        "high",
        "How reliably the lips are rounder in w, u and o than in i, e and s: 1 is always, 0.5 is "
        "chance.",
        2,
    ),
    Column(
        "jaw_in_pauses",
        "Jaw in pauses",
        "low",
        "How far the jaw is open in the middle of pauses; 0 at rest.",
    ),
    Column(
        "lip_lag_ms",
        "Lag of the lips",
        "zero",
        "By how much the mouth is late against the recording's, where both fit best; negative is "
        "early. A frame is 33 ms.",
        0,
        1.0,
        "ms",
    ),
    Column(
        "closure_lag_ms",
        "Lag of closures",
        None,
        "By how much the lips meet later than in the middle of p, b and m, in the median; near the "
        "recordings' is right.",
        0,
        1.0,
        "ms",
    ),
    Column(
        "speed_upper",
        "Speed, upper",
        "one",
        "How fast the upper face moves, as a ratio to the recording. 1.00 is right, more is "
        "flicker, less is too stiff. Flicker meets the spread, but not this.",
        2,
    ),
    Column("speed_lower", "Speed, lower", "one", "The same for the lower face.", 2),
    Column(
        "acceleration_upper",
        "Acceleration, upper",
        "one",
        "How abruptly the upper face moves: the change of its speed from frame to frame, as a "
        "ratio to the recording.",
        2,
    ),
    Column("acceleration_lower", "Acceleration, lower", "one", "The same for the lower face.", 2),
    Column(
        "blinks_per_minute",
        "Blinks",
        None,
        "Blinks of the left eye; near the recordings' is right.",
        1,
        1.0,
        "per min",
    ),
    Column(
        "blinks_single",
        "Blinks of a frame",
        "low",
        "How many of the blinks last a single frame, which no eyelid does.",
        0,
        100,
        "%",
    ),
    Column(
        "blinks_length_ms",
        "Length of blinks",
        None,
        "How long the eye is at least half as closed as at the peak, in the median; near the "
        "recordings' is right: shorter is a flicker, longer is sleepy.",
        0,
        1.0,
        "ms",
    ),
    Column(
        "blinks_shape",
        "Shape of blinks",
        "low",
        "How far the mean course of a blink, as a share of its peak, is from the recordings'.",
    ),
    Column(
        "spectrum_upper",
        "Spectrum, upper",
        "low",
        "How far the power of the upper face's movement is from the recordings', averaged over "
        "octaves from 0.5 to 15 Hz: too much at high frequencies is flicker, too little is blur, "
        "and both count. The plots show which.",
        1,
        1.0,
        "dB",
    ),
    Column(
        "spectrum_lower",
        "Spectrum, lower",
        "low",
        "The same for the lower face.",
        1,
        1.0,
        "dB",
    ),
    Column(
        "identity_f1",
        "Identity F1",
        "high",
        "How reliably the speaker is recognised from the voice; 100 is perfect. Speakers who are "
        "not in the library have no right answer.",
        1,
        100,
        "%",
    ),
    Column(
        "emotion_f1",
        "Emotion F1",
        "high",
        "How reliably the emotion is recognised from the voice; 100 is perfect.",
        1,
        100,
        "%",
    ),
    Column(
        "fps",
        "Frames/s",
        "high",
        "Frames of animation per second of computing, from the waveform to the coefficients. "
        "Playback needs 30.",
        0,
    ),
    Column(
        "fps_every_step",
        "Frames/s, features in every step",
        "high",
        "The same where audio features are computed anew in every sampling step, as the papers "
        "seem to have counted.",
        0,
    ),
    Column("size_mb", "Size", "low", "The weights that are needed to run the model.", 1, 1.0, "MB"),
    Column("params_m", "Parameters", "low", "The number of those weights.", 2, 1.0, "million"),
)
PAPERS = (
    "mbe_of_mean", "lbe_of_mean", "fdd_signed", "fdd_published",
    "fdd_published_signed", "lve_frames", "fdd_vertex", "fdd_vertex_signed", "fps_every_step",
)  # fmt: skip
"""Keys of the columns that show an error or a speed in another way, as papers do; they have a table
of their own."""
SPEECH = (
    "closure", "closed_elsewhere", "closure_auc", "rounding_auc", "jaw_in_pauses", "lip_lag_ms",
    "closure_lag_ms",
)  # fmt: skip
"""Keys of the columns of articulation, which have a table of their own."""
MOVEMENT = (
    "spread_upper", "spread_lower", "speed_upper", "speed_lower", "acceleration_upper",
    "acceleration_lower", "spectrum_upper", "spectrum_lower", "blinks_per_minute", "blinks_single",
    "blinks_length_ms", "blinks_shape",
)  # fmt: skip
"""Keys of the columns of movement, which have a table of their own: flicker meets the spread, and
loses in those beside it."""
COSTS = ("fps", "size_mb", "params_m")
"""Keys of the columns that do not depend on the split."""
BY_KEY: dict[str, Column] = {column.key: column for column in COLUMNS}
