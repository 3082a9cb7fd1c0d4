"""Speech without faces: recordings with their texts, aligned to phones, with procedural faces."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio.recording import read_recording
from diffusiontalker.audio.waveform import prepare_waveform
from diffusiontalker.config import Section
from diffusiontalker.config.section import Seed
from diffusiontalker.corpus.alignment import Aligner, open_aligner, quality
from diffusiontalker.corpus.procedural import recorded
from diffusiontalker.corpus.procedural.voices import EMOTIONS
from diffusiontalker.corpus.sources import speech_layouts as layouts
from diffusiontalker.corpus.sources.base import Recording, Source, Take, TakeListing
from diffusiontalker.corpus.sources.listing import examples, without_duplicates
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError

INTENSITY = {"01": 0.7, "02": 1.0}
"""Of an emotion by RAVDESS's code: normal and strong."""
USUAL_INTENSITY = 0.85


class SpeechOptions(Section):
    """How to read a folder of recordings, and whose faces they get."""

    layout: Literal["auto", "vctk", "librispeech", "ljspeech", "ravdess", "pairs"] = "auto"
    """auto: as the names of the files are. pairs: name.wav beside name.txt or .lab, where the
    folder is the speaker."""
    aligner: str = "pocketsphinx"
    """pocketsphinx: English by its text. hama: phones by sound alone, without a text. Or a class of
    your own as path/to/file.py:Class."""
    speaker: Annotated[str, Field(min_length=1)] | None = None
    """The speaker of all takes; None: as the layout says."""
    max_seconds: Annotated[float, Field(ge=1, le=600)] = 60.0
    """A longer recording is put in quarantine: cut it at its sentences."""
    min_score: float | None = None
    """Score below which an alignment is not trusted; None: the aligner's own limit."""
    seed: Seed = 0
    """Of the speakers' faces, which follow from their names, and of random motion."""


class Speech(Source):
    """Recordings whose faces follow from phones, pitch and loudness, as in the procedural corpus.

    Lips are as good as the alignment, and brows, eyes and emotions are made up.
    """

    Options: ClassVar = SpeechOptions
    plugins: ClassVar[tuple[str, ...]] = ("aligner",)
    shared: ClassVar[str] = "one sentence"

    def takes(self) -> TakeListing:
        """Raises UserError: no recordings with texts, the aligner is not installed, or min_score is
        set for one that has no scores."""
        files = layouts.Files(
            self.files(), lambda name: storage.read_text(self.path(name)), self.root.name
        )
        layout = self.options.layout
        layout = layouts.detect(files) if layout == "auto" else layout
        listing = layouts.LAYOUTS[layout](files)
        aligner = self._aligner()
        if aligner.min_score is None and self.options.min_score is not None:
            raise UserError(
                f"source.options.min_score: the aligner {self.options.aligner} gives no scores; "
                "leave it out"
            )
        if aligner.needs_text:
            listing = layouts.with_text(listing)
        if not listing.takes:
            raise UserError(
                f"{self.root}: no recording with its text (read as {layout}; source.options.layout "
                f"says otherwise): {examples(listing.skipped[:3]) or 'nothing is there'}"
            )
        unique = without_duplicates(listing.takes)
        takes = unique.takes
        if self.options.speaker is not None:
            takes = layouts.spoken_by(takes, self.options.speaker)
        return TakeListing(takes, [*listing.skipped, *unique.skipped])

    def read(self, take: Take) -> Recording:
        """Raises UserError."""
        sound = read_recording(self.path(take.files[0]), self.options.max_seconds)
        samples = prepare_waveform(sound.samples, sound.rate)
        aligner = self._aligner()
        alignment = aligner.align(samples, self._text(take))
        given = self.options.min_score
        least = aligner.min_score if given is None else given
        if (reason := quality.fault(alignment, samples, least)) is not None:
            raise UserError(reason)
        phones = recorded.with_stress(alignment.phones, alignment.words)
        seed, identity = self.options.seed, take.identity or ""
        face = recorded.face_of(
            samples, phones, recorded.speaker_of(identity, seed),
            take.emotion if take.emotion in EMOTIONS else "neutral", _intensity(take),
            f"{seed} {take.id}",
        )  # fmt: skip
        return Recording(
            sound.samples, sound.rate, face, float(FPS), notes=sound.notes, words=alignment.words,
            phones=tuple(Span(phone.start, phone.end, phone.ipa) for phone in phones),
        )  # fmt: skip

    def split_notes(self, takes: Sequence[Take]) -> list[str]:
        """What a split of RAVDESS cannot separate."""
        if any(layouts.RAVDESS.fullmatch(PurePosixPath(take.id).name) for take in takes):
            return ["RAVDESS has two statements, which stand in every split"]
        return []

    def plugin_classes(self) -> list[type[Aligner]]:
        """Raises UserError: no such aligner, or its package is not installed."""
        return [type(self._aligner())]

    def _aligner(self) -> Aligner:
        return open_aligner(self.options.aligner)

    def _text(self, take: Take) -> str | None:
        """What is spoken; None: unknown."""
        if take.text is not None or len(take.files) < 2:
            return take.text
        return storage.read_text(self.path(take.files[1]))


def _intensity(take: Take) -> float:
    match = layouts.RAVDESS.fullmatch(PurePosixPath(take.id).name)
    return INTENSITY[match["intensity"]] if match else USUAL_INTENSITY
