"""Speech without faces: layouts, alignment, and the faces that follow from it."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from tests.refusals import refusal

from diffusiontalker import config
from diffusiontalker.config import DataSettings, SourceSettings
from diffusiontalker.corpus.alignment import Aligner, Alignment, open_aligner, quality
from diffusiontalker.corpus.alignment.base import without_gaps
from diffusiontalker.corpus.alignment.english import pronunciation, words
from diffusiontalker.corpus.alignment.sphinx import PocketSphinx
from diffusiontalker.corpus.arpabet import IPA
from diffusiontalker.corpus.ingest.batches import PlannedTake
from diffusiontalker.corpus.ingest.take_reader import read_take
from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.corpus.plugins import load_class
from diffusiontalker.corpus.procedural import recorded
from diffusiontalker.corpus.procedural.speech import Phone, Prosody, speak
from diffusiontalker.corpus.sources import Source, Take, open_source, source_code
from diffusiontalker.corpus.sources import with_absolute_paths as absolute
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError
from diffusiontalker.objectives.articulation import articulation

LETTERS = f"{Path(__file__).parents[1] / 'own_aligner.py'}:Letters"
SENTENCE = "People in Boston probably buy more apples than bananas."


def source_of(root: Path, **options: Any) -> Source:
    return open_source(
        SourceSettings(kind="speech", root=str(root), options={"aligner": LETTERS, **options})
    )


def write(root: Path, *names: str) -> Path:
    """Empty files of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def write_text(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def write_sound(path: Path, seconds: float = 2.0, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.normal(size=round(seconds * 22_050)), 22_050)


def distrusted(aligner: Aligner, samples: np.ndarray, text: str) -> str | None:
    """Why a text is not aligned, or its alignment not trusted."""
    try:
        return quality.fault(aligner.align(samples, text), samples, aligner.min_score)
    except UserError as error:
        return str(error)


def labels(takes: list[Take]) -> dict[str, tuple[str | None, str | None, str, str | None]]:
    return {take.id: (take.identity, take.emotion, take.group, take.text) for take in takes}


# Layouts


def test_ljspeech(tmp_path: Path) -> None:
    root = write(tmp_path / "LJ", "wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav", "wavs/x.wav")
    write_text(root, "metadata.csv", "LJ001-0001|In 1894|In eighteen ninety four\n"
               "LJ001-0002|Only one|\nLJ001-0003|gone|gone\n")  # fmt: skip
    listing = source_of(root).takes()
    assert labels(listing.takes) == {
        "LJ001-0001": ("LJ", None, "", "In eighteen ninety four"),
        "LJ001-0002": ("LJ", None, "", "Only one"),
    }
    assert [name for name, _ in listing.skipped] == ["LJ001-0003", "wavs/x.wav"]


def test_librispeech(tmp_path: Path) -> None:
    folder = "dev-clean/84/121123"
    root = write(tmp_path, f"{folder}/84-121123-0000.flac", f"{folder}/84-121123-0001.flac")
    write_text(root, f"{folder}/84-121123.trans.txt",
               "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n")  # fmt: skip
    assert labels(source_of(root).takes().takes) == {
        "84-121123-0000": ("84", None, "", "go do you hear"),
        "84-121123-0001": ("84", None, "", "but in less"),
    }


def test_vctk(tmp_path: Path) -> None:
    wavs, texts = "wav48_silence_trimmed/p225/p225", "txt/p225/p225"
    sounds = [f"{wavs}_{name}.flac" for name in ("001_mic1", "001_mic2", "300_mic1", "301_mic1")]
    root = write(tmp_path, *sounds, "speaker-info.txt")
    write_text(root, f"{texts}_001.txt", "Please call Stella.")
    write_text(root, f"{texts}_300.txt", "It is a matter for her.")
    listing = source_of(root).takes()
    assert labels(listing.takes) == {
        "p225_001": ("p225", None, "sentence 001", None),
        "p225_300": ("p225", None, "", None),
    }
    assert listing.takes[0].files == (f"{wavs}_001_mic1.flac", f"{texts}_001.txt")
    reasons = [reason for _, reason in listing.skipped]
    assert len(reasons) == 2
    assert "microphone" in reasons[0]
    assert "without its text" in reasons[1]


def test_ravdess(tmp_path: Path) -> None:
    root = write(tmp_path, "Actor_12/03-01-05-02-01-01-12.wav", "Actor_12/03-01-02-01-02-02-12.wav",
                 "Actor_12/03-02-05-02-01-01-12.wav")  # fmt: skip
    listing = source_of(root).takes()
    assert labels(listing.takes) == {
        "03-01-02-01-02-02-12": ("ravdess-12", "calm", "ravdess-12 02-01-02",
                                 "Dogs are sitting by the door"),
        "03-01-05-02-01-01-12": ("ravdess-12", "anger", "ravdess-12 05-02-01",
                                 "Kids are talking by the door"),
    }  # fmt: skip
    assert len(source_of(root).split_notes(listing.takes)) == 1
    assert "sung" in dict(listing.skipped)["Actor_12/03-02-05-02-01-01-12.wav"]


def test_pairs(tmp_path: Path) -> None:
    root = write(tmp_path / "mine", "ann/1.wav", "ann/2.flac", "3.wav", "ann/4.wav")
    for name in ("ann/1.txt", "ann/2.normalized.txt", "ann/2.txt", "3.lab", "ann/5.txt"):
        write_text(root, name, "a word")
    listing = source_of(root).takes()
    assert {take.id: (take.identity, take.files[1]) for take in listing.takes} == {
        "3": ("mine", "3.lab"),
        "ann/1": ("ann", "ann/1.txt"),
        "ann/2": ("ann", "ann/2.normalized.txt"),
    }
    assert {name.partition(" ")[0] for name, _ in listing.skipped} == {"ann/4.wav", "ann/5.txt"}
    takes = source_of(root, speaker="bo").takes().takes
    assert {take.identity for take in takes} == {"bo"}


def test_refusals(tmp_path: Path) -> None:
    root = write(tmp_path, "ann/1.wav")
    assert "no recording with its text" in refusal(source_of(root).takes)
    assert "read as ljspeech" in refusal(source_of(root, layout="ljspeech").takes)
    assert "layout" in refusal(lambda: source_of(root, layout="timit"))
    assert "hama" in refusal(source_of(root, aligner="gentle").takes)
    other = f"{Path(__file__).parents[1] / 'own_source.py'}:Pairs"
    assert "Aligner" in refusal(source_of(root, aligner=other).takes)
    assert "min_score" in refusal(source_of(root, aligner="hama", min_score=-5.0).takes)


@pytest.mark.parametrize("aligner", ["pocketsphinx", "hama"])
def test_a_missing_aligner_is_named_before_any_work(
    aligner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, aligner, None)
    open_aligner.cache_clear()
    said = refusal(source_of(write(tmp_path, "ann/1.wav"), aligner=aligner).takes)
    assert "[speech]" in said
    assert aligner in said


# Alignment


def test_words_of_a_text() -> None:
    assert words("“Don’t,” he said - in 1894!") == ["don't", "he", "said", "in", "1894"]
    assert words("...") == []


def test_words_that_no_dictionary_has() -> None:
    assert pronunciation("xylotron") == "Z AY L AH T R AA N"
    assert set(pronunciation("42").split()) <= set(IPA)
    assert "no sound" in refusal(lambda: pronunciation("—"))


def test_gaps_become_pauses() -> None:
    spans = [Span(0.1, 0.2, "a"), Span(0.2, 0.2, "b"), Span(0.3, 0.4, ""), Span(0.5, 0.6, "c")]
    assert without_gaps(spans, 0.7) == (
        Span(0.0, 0.1, ""), Span(0.1, 0.2, "a"), Span(0.2, 0.5, ""), Span(0.5, 0.6, "c"),
        Span(0.6, 0.7, ""),
    )  # fmt: skip
    assert without_gaps([Span(0.0, 0.2, "a"), Span(0.1, 0.3, "b"), Span(0.1, 0.2, "c")], 0.3) == (
        Span(0.0, 0.2, "a"), Span(0.2, 0.3, "b"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lengths", "score", "word"),
    [
        ([0.1] * 8, -1.0, None),
        ([0.1] * 8, None, None),
        ([0.1] * 8, -11.0, "score"),
        ([0.1] * 8, math.nan, "score"),
        ([], -1.0, "no speech"),
        ([0.5] * 4, -1.0, "phones a second"),
        ([0.1] * 9 + [1.3], -1.0, "a phone of 1.3 s"),
        ([0.03] * 5 + [0.1] * 5, -1.0, "as short as can be"),
    ],
)
def test_alignments_that_are_not_trusted(
    lengths: list[float], score: float | None, word: str | None
) -> None:
    ends = np.cumsum(lengths).tolist()
    spans = [Span(end - length, end, "a") for length, end in zip(lengths, ends, strict=True)]
    samples = np.ones(9 * 16_000, np.float32)
    samples[round(16_000 * sum(lengths)) :] = 0.1
    found = quality.fault(Alignment((*spans, Span(8.0, 9.0, "")), score=score), samples, -10.0)
    assert found is None if word is None else word in str(found)


@pytest.mark.parametrize(("level", "trusted"), [(0.1, True), (0.5, False)])
def test_a_pause_as_loud_as_speech_holds_words_without_text(level: float, trusted: bool) -> None:
    spans = [Span(n / 10, (n + 1) / 10, "a") for n in range(8)]
    samples = np.ones(32_000, np.float32)
    samples[16_000:] *= level
    found = quality.fault(Alignment((*spans, Span(1.0, 2.0, ""))), samples, None)
    assert (found is None) == trusted
    assert trusted or "1.0 s of its pauses" in str(found)


@pytest.mark.parametrize(
    "spans",
    [[(0.1, 0.2), (0.15, 0.3)], [(-0.1, 0.1)], [(0.5, 1.2)], [(0.1, math.nan)], [(0.3, 0.2)]],
)
def test_phones_beyond_the_recording_or_out_of_order_are_refused(
    spans: list[tuple[float, float]],
) -> None:
    phones = tuple(Span(start, end, "a") for start, end in spans)
    assert "in order" in str(quality.fault(Alignment(phones), np.ones(16_000, np.float32), None))


def test_pocketsphinx_finds_phones_and_refuses_other_text() -> None:
    spoken, rate, phones = speak(SENTENCE, "en-us+m3", Prosody())
    samples = soxr.resample(spoken, rate, 16_000).astype(np.float32)
    aligner = open_aligner("pocketsphinx")
    found = aligner.align(samples, SENTENCE)
    assert [word.label for word in found.words] == words(SENTENCE)
    assert (found.phones[0].start, found.phones[-1].end) == (0, len(samples) / 16_000)
    assert all(a.end == b.start for a, b in zip(found.phones, found.phones[1:], strict=False))
    true = np.array([phone.start for phone in phones if phone.ipa])
    errors = [np.abs(true - phone.start).min() for phone in found.phones if phone.label]
    assert np.median(errors) < 0.025
    assert distrusted(aligner, samples, SENTENCE) is None
    assert "pauses" in str(distrusted(aligner, samples, "People in Boston"))
    assert distrusted(aligner, samples, "the sun also rises over quiet little villages")


def test_an_alignment_does_not_depend_on_those_before() -> None:
    spoken, rate, _ = speak(SENTENCE, "en-us+f2", Prosody())
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32)
    samples = soxr.resample(spoken, rate, 16_000).astype(np.float32)
    samples += np.resize(0.2 * noise, len(samples))
    aligner = PocketSphinx()
    found = aligner.align(samples, SENTENCE)
    distrusted(aligner, noise, "so it is")
    assert aligner.align(samples, SENTENCE) == found


def test_hama_needs_no_text() -> None:
    spoken, rate, phones = speak(SENTENCE, "en-us+m3", Prosody())
    samples = soxr.resample(spoken, rate, 16_000).astype(np.float32)
    found = open_aligner("hama").align(samples, None)
    assert found.phones[-1].end == len(samples) / 16_000
    heard = [phone.label for phone in found.phones if phone.label]
    said = [base_phoneme(phone.ipa) for phone in phones if phone.ipa]
    assert len(heard) == pytest.approx(len(said), rel=0.25)


# Faces


def test_a_take_gets_a_face_its_phones_and_its_words(tmp_path: Path) -> None:
    write_sound(tmp_path / "ann/1.wav")
    write_text(tmp_path, "ann/1.txt", "oapo mama")
    source = source_of(tmp_path)
    (take,) = source.takes().takes
    recording = source.read(take)
    assert recording.rate == 22_050
    assert recording.fps == 30
    assert recording.coefficients.shape == (60, 52)
    assert [word.label for word in recording.words] == ["oapo", "mama"]
    phones = [(base_phoneme(p.label), p.start, p.end) for p in recording.phones]
    assert "".join(phone for phone, *_ in phones) == "oapomama"
    assert articulation([recording.coefficients], [phones]).closure == 1
    again = source_of(tmp_path).read(take)
    assert np.array_equal(again.coefficients, recording.coefficients)
    other = source.read(replace(take, identity="bo"))
    assert not np.array_equal(other.coefficients, recording.coefficients)


def test_a_take_goes_into_clips_or_into_quarantine(tmp_path: Path) -> None:
    write_sound(tmp_path / "ann/1.wav")
    write_sound(tmp_path / "ann/2.wav")
    write_sound(tmp_path / "ann/3.wav", seconds=3.0)
    write_sound(tmp_path / "ann/4.wav")
    for name, text in (("1", "oapo mama"), ("2", "unlike its sound"), ("3", "a"), ("4", "  ")):
        write_text(tmp_path, f"ann/{name}.txt", text)
    source = source_of(tmp_path, max_seconds=2.5)
    settings = config.load_as(
        DataSettings, None, ["source.kind=speech", f"source.root={tmp_path}", "output=out"]
    )
    clips, reasons = {}, {}
    for take in source.takes().takes:
        clips[take.id], report = read_take(source, PlannedTake(take, "train"), settings)
        reasons[take.id] = report.reason
    (clip,) = clips["ann/1"]
    assert (clip.text, clip.identity, clip.emotion) == ("oapo mama", "ann", None)
    assert clip.phones is not None
    assert len(clip.phones) == 10
    assert reasons["ann/1"] is None
    for name, word in (("ann/2", "score"), ("ann/3", "at most 2"), ("ann/4", "no words")):
        assert clips[name] == []
        assert word in str(reasons[name])


def test_the_aligners_code_is_part_of_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path)
    assert [Path(path).name for path in source_code(source)] == ["own_aligner.py"]
    monkeypatch.chdir(Path(LETTERS.partition(":")[0]).parent)
    relative = SourceSettings(
        kind="speech", root=str(tmp_path), options={"aligner": "own_aligner.py:Letters"}
    )
    assert absolute(relative).options["aligner"] == LETTERS


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    classes = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "own.py"
        write_text(tmp_path, f"{folder}/own.py", "class Own:\n    pass\n")
        classes.append(load_class("aligner", f"{path}:Own", {}, object))
    files = [Path(str(sys.modules[one.__module__].__file__)).parent.name for one in classes]
    assert files == ["a", "b"]


def test_speakers_and_stress_follow_from_names_and_words() -> None:
    ann = recorded.speaker_of("ann", 0)
    assert ann == recorded.speaker_of("ann", 0)
    assert ann.gains != recorded.speaker_of("bo", 0).gains
    assert ann.gains != recorded.speaker_of("ann", 1).gains
    phones = [Span(0, 0.1, "b"), Span(0.1, 0.2, "ʌ"), Span(0.2, 0.5, "ɑ"), Span(0.5, 0.6, "ɪ"),
              Span(0.6, 0.8, "t")]  # fmt: skip
    marked = recorded.with_stress(phones, [Span(0, 0.5, "buh"), Span(0.5, 0.8, "it")])
    assert [phone.ipa for phone in marked] == ["b", "ʌ", "ˈɑ", "ɪ", "t"]
    assert marked[0] == Phone("b", 0, 0.1)
