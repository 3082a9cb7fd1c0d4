"""``summary.json`` of a run: metrics, floors, goals, corpus, artifact, settings and environment.

Field names are the keys of the JSON. NaN and infinity become None, since JSON has neither; keys of
other releases are ignored, and what an earlier release did not write has a default.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, ValidationError

from diffusiontalker import storage
from diffusiontalker.errors import UserError

SUMMARY = "summary.json"
"""Its name in the folder of a run."""
TEACHER = "teacher"
"""The name of the teacher's rows and model; every other one is a student's."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A measured number; None where it is not known or not finite."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The content of a JSON file.

        Raises:
            UserError: no such file, not JSON, or a field is missing or of another type.
        """
        content = storage.read_json(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the content"
            raise UserError(
                f"{path}: not as this release writes it: {field}: {first['msg']}; restore the "
                "file, or run the job that wrote it again"
            ) from error

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all. Raises UserError."""
        storage.write_json(path, self.model_dump(mode="json"))


class Spectrum(_Part):
    """Power spectral density of movement, summed over the channels of a region, in 1/Hz."""

    hz: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]


class Errors(_Part):
    """Metrics of faces against recordings (``objectives.metrics``), means over clips and samples.

    Distances in coefficients, but ``lve``, ``eve`` and ``fdd_vertex`` in m².
    """

    mbe: Figure = None
    lbe: Figure = None
    lbe_published: Figure = None
    mbe_of_mean: Figure = None
    """Of the mean of the samples, as is ``lbe_of_mean``: the more samples, the less of their
    noise."""
    lbe_of_mean: Figure = None
    fdd: Figure = None
    """The mean of |FDD|, as are ``fdd_published`` (over the published mask) and ``fdd_vertex``."""
    fdd_signed: Figure = None
    """The mean of FDD, positive where faces move too little; ``*_signed`` likewise."""
    fdd_published: Figure = None
    fdd_published_signed: Figure = None
    lve: Figure = None
    lve_frames: Figure = None
    """The mean over all frames instead of over clips."""
    eve: Figure = None
    fdd_vertex: Figure = None
    fdd_vertex_signed: Figure = None
    energy_score: Figure = None
    diversity_upper: Figure = None
    diversity_lower: Figure = None
    spread_upper: Figure = None
    """Predicted over true spread in time, as is ``spread_lower``."""
    spread_lower: Figure = None
    speed_upper: Figure = None
    """Mean absolute first difference over the recording's, as is ``speed_lower``."""
    speed_lower: Figure = None
    acceleration_upper: Figure = None
    """Mean absolute second difference over the recording's, as is ``acceleration_lower``."""
    acceleration_lower: Figure = None
    blinks_per_minute: Figure = None
    blinks_single: Figure = None
    """Share of the blinks that last a single frame."""
    blinks_length_ms: Figure = None
    """The median."""
    blinks_shape: Figure = None
    """Mean absolute difference of the mean course of a blink from the recordings'."""
    closure: Figure = None
    """Share of p, b, m in which the lips are closed, of clips whose phones are known."""
    closed_elsewhere: Figure = None
    """Share of other phones in whose middle they are."""
    closure_auc: Figure = None
    rounding_auc: Figure = None
    jaw_in_pauses: Figure = None
    closure_lag_ms: Figure = None
    """Median lag of the closure behind the middle of p, b, m."""
    lip_lag_ms: Figure = None
    """Lag of the mouth behind the recorded one; negative where it leads."""
    spectrum_upper: Figure = None
    """Mean absolute difference of power from the recordings' over octave bands in dB, as is
    ``spectrum_lower``."""
    spectrum_lower: Figure = None


class SplitMetrics(Errors):
    """Metrics of one model on one split; precision, recall and F1 are macro averages in [0, 1]."""

    clips: int | None = None
    """Clips that were measured; None in a summary of a release that did not count them."""
    identity_clips: int | None = None
    """Those whose speaker is known, which the identity's F1 counts."""
    emotion_clips: int | None = None
    identity_precision: Figure = None
    identity_recall: Figure = None
    identity_f1: Figure = None
    emotion_precision: Figure = None
    emotion_recall: Figure = None
    emotion_f1: Figure = None
    spectrum: Spectrum | None = None
    """None where it was not measured, or no clip is long enough."""


class Costs(_Part):
    """Speed and size of a model in PyTorch on one CPU thread."""

    fps: Figure = None
    """Frames per second, from the waveform to the coefficients; audio features once per clip."""
    fps_every_step: Figure = None
    """The same with audio features anew in every step, as the papers seem to have counted: from
    the time of both parts."""
    size_mb: Figure = None
    """1e6 bytes."""
    params_m: Figure = None
    """Millions of parameters."""


class _Evaluated(_Part):
    name: str
    steps: int
    """Sampling steps."""
    distilled: bool
    split: str


# The last base comes first in the JSON.
class Row(Costs, SplitMetrics, _Evaluated):
    """One model at one number of sampling steps on one test split."""


class ClipRow(_Evaluated):
    """Errors of one model on one clip."""

    clip: str
    identity: str | None
    emotion: str | None
    frames: int
    errors: dict[str, Figure]
    """By the names of ``Errors``, those that are a mean over clips."""


class Floors(_Part):
    """What the recordings, and perfect models, would score on a split (docs/metrics.md)."""

    recording: Errors | None = None
    """Only what is measured of a face alone, not against a recording."""
    spectrum: Spectrum | None = None
    """Of the recordings."""

    sampling: Errors | None = None
    regression: Errors | None = None


class Evaluation(_Part):
    """All models on all test splits."""

    rows: tuple[Row, ...]
    floor: dict[str, Floors | None] = {}
    """By split; None where the process behind the recordings is not known."""
    clips: tuple[ClipRow, ...] = ()
    """Of every model and clip."""


class Corpus(_Part):
    """What a run was trained and measured on."""

    source: str
    """``procedural``, or the kind of source of prepared shards."""
    fingerprint: str | None = None
    minutes: float
    minutes_by_split: dict[str, float] = {}
    clips: dict[str, int] = {}
    """By split."""
    speakers: int
    """In the training set."""
    unseen_speakers: int | None = None
    """Further speakers of the test splits; None where that is not known."""
    emotions: tuple[str, ...]
    pseudo_labelled_minutes: float | None = None
    """Of speech without faces, on which students were trained as well; None: there was none."""


class ExportReport(_Part):
    """What an export found: errors on validation by name, in fp32 and in its own precision. An
    export in fp32 is not compared with anything."""

    precision: str
    clips: int = 0
    """Of validation."""
    fp32: dict[str, float] = {}
    validation: dict[str, float] = {}
    growth: dict[str, float] = {}
    """By what share each error grew against fp32."""
    voices_changed: int = 0
    """Clips in which another identity or emotion is recognised than in fp32."""


class StreamingCost(_Part):
    """LBE of streams against that of the same clips as whole recordings."""

    look_ahead_ms: float
    clips: int
    settled_clips: int | None = None
    """Those longer than the first second, after which ``settled_growth`` begins."""
    seconds_per_clip: float
    lbe_whole: Figure
    lbe_pinned: Figure
    """Identity and emotion pinned to those of the whole recording."""
    lbe: Figure
    """Identity and emotion followed."""
    pinned_growth: Figure
    """By what share of ``lbe_whole`` it is greater, as are ``growth`` and ``settled_growth``."""
    growth: Figure
    settled_growth: Figure = None


class Streaming(StreamingCost):
    """The same, and for each speaker's clips joined to one stream."""

    joined: StreamingCost | None = None


class Artifact(_Part):
    """The artifact that ships."""

    fps: Figure
    """Frames per second on one thread, from the waveform to the coefficients."""
    size_mb: float
    """1e6 bytes of all its files."""
    params_m: float
    threads: int = 1
    export: ExportReport | None = None
    streaming: Streaming | None = None
    """None for a student that takes whole recordings only."""


class LookAheadRow(_Part):
    """Metrics of the last student of a chain that was trained with another look-ahead."""

    look_ahead_ms: float | None
    """None: the whole recording."""
    split: str
    steps: int
    mbe: Figure
    lbe: Figure
    energy_score: Figure
    spread_upper: Figure


class LookAhead(_Part):
    """``look_ahead.json`` of a run."""

    key: str
    """Hash of all that determines the rows, but for the look-ahead."""
    rows: tuple[LookAheadRow, ...]


class TrainedModel(_Part):
    """A model of the run, and the folder of its weights."""

    name: str
    steps: int
    folder: str


class Goal(_Part):
    """What a run or a benchmark is meant to reach, and whether it did (``evaluation.goals``)."""

    name: str
    value: Figure
    """None: not measured."""
    target: str
    """In words."""
    met: bool | None
    """None, which is open: the value or what it is compared with is not known, or it is of too few
    clips."""
    clips: int | None = None
    """On how many it was measured; None: it is not a figure of clips."""
    share: bool = False
    """Whether the value is a share, to be read in per cent."""


class RunSummary(_Part):
    """All of ``summary.json``."""

    corpus: Corpus
    rows: tuple[Row, ...]
    floor: dict[str, Floors | None] = {}
    """As in ``Evaluation``."""
    environment: dict[str, JsonValue] = {}
    """Versions and hardware."""
    settings: dict[str, JsonValue] = {}
    licence: str | None = None
    """The user's choice; None: what the data ask for."""
    artifact: Artifact | None = None
    """None before the export."""
    look_ahead: tuple[LookAheadRow, ...] = ()
    """Empty where it was not measured."""
    shards: str
    """Folder of the corpus with features."""
    models: tuple[TrainedModel, ...]
    """The teacher and the student of every round, in the order of training."""
    seconds: dict[str, float] = {}
    """Wall seconds by stage."""
    goals: tuple[Goal, ...] = ()

    def clips_of(self, row: Row) -> int | None:
        """How many clips a row's metrics are of; None where nobody counted them."""
        return self.corpus.clips.get(row.split) if row.clips is None else row.clips

    @property
    def students(self) -> tuple[TrainedModel, ...]:
        """The models that were distilled."""
        return tuple(model for model in self.models if model.name != TEACHER)
