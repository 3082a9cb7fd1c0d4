"""Recordings of people: how their phones are read, what is measured, and what is shown."""

import io
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from tests.refusals import refusal
from tests.sources_made import text_grid
from tests.students import random_student

from diffusiontalker import config
from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.benchmarks.console import results
from diffusiontalker.benchmarks.human.figures import aims, measure
from diffusiontalker.benchmarks.human.recordings import PHONES, Recording, read_recordings
from diffusiontalker.config import HumanBenchmarkSettings
from diffusiontalker.corpus import arpabet
from diffusiontalker.corpus.phonemes import BILABIAL, OPEN, ROUNDED, SPREAD


def write_tone(path: Path, seconds: float, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 200 / rate)
    if path.suffix == ".raw":
        (tone * 2**15).astype("<i2").tofile(path)
    else:
        soundfile.write(path, tone, rate, subtype="PCM_16")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings with ``phones.json``."""
    write_tone(tmp_path / "a/one.wav", 1.0, 8000)
    write_tone(tmp_path / "a/two.raw", 2.0)
    listed = [
        {"file": "a/one.wav", "text": "pa", "phones": [["P", 0, 0.2], ["AA1", 0.2, 0.5]]},
        {"file": "a/two.raw", "phones": [["SIL", 0, 0.6], ["m", 0.6, 0.8], ["UW", 0.8, 2]]},
    ]
    (tmp_path / PHONES).write_text(json.dumps(listed))
    return tmp_path


def test_the_classes_are_those_of_arpabet() -> None:
    def classed(phones: tuple[str, ...]) -> set[str]:
        return {label for label, ipa in arpabet.IPA.items() if ipa in phones}

    assert classed(BILABIAL) == {"P", "B", "M"}
    assert classed(OPEN) == set("AA AE AO AW AY AH EH".split())
    assert classed(ROUNDED) == {"W", "UW", "OW"}
    assert classed(SPREAD) == set("IY EY EH IH AE S Z".split())


def test_phones_of_a_list(folder: Path) -> None:
    one, two = read_recordings(str(folder))
    assert (one.text, one.rate, one.seconds) == ("pa", 8000, 1.0)
    assert one.phones == [("p", 0, 0.2), ("ɑ", 0.2, 0.5)]
    assert (two.rate, two.seconds) == (16_000, 2.0)
    assert two.phones[0] == ("", 0, 0.6)
    assert np.abs(two.samples).max() == pytest.approx(0.3, abs=1e-3)


def test_phones_of_text_grids(tmp_path: Path) -> None:
    write_tone(tmp_path / "take.wav", 2.0)
    write_tone(tmp_path / "without.wav", 1.0)
    (tmp_path / "take.TextGrid").write_text(text_grid(2.0))
    (found,) = read_recordings(str(tmp_path))
    assert (found.name, found.text) == ("take.wav", "hello wide world")
    assert found.phones == [("ʌ", 0, 1), ("", 1, 1.5), ("w", 1.5, 2)]


def test_phones_of_the_debian_package(tmp_path: Path) -> None:
    own = json.loads((resources.files("diffusiontalker.benchmarks.human") / PHONES).read_bytes())
    assert len(own) == 11
    labels = {label for one in own for label, *_ in one["phones"]}
    assert labels - set(arpabet.IPA) == {"SIL"}
    write_tone(tmp_path / own[-1]["file"], 3.0)
    (found,) = read_recordings(str(tmp_path))
    assert found.text == own[-1]["text"]


def test_refusals(tmp_path: Path) -> None:
    assert "no such folder" in refusal(lambda: read_recordings(str(tmp_path / "none")))
    write_tone(tmp_path / "take.wav", 1.0)
    assert "no phones" in refusal(lambda: read_recordings(str(tmp_path)))
    (tmp_path / PHONES).write_text('[{"file": "take.wav", "phones": [["P", 0]]}]')
    assert PHONES in refusal(lambda: read_recordings(str(tmp_path)))
    (tmp_path / PHONES).write_text('[{"file": "gone.wav", "phones": []}]')
    assert "gone.wav" in refusal(lambda: read_recordings(str(tmp_path)))
    twice = '[{"file": "take.wav", "phones": []}, {"file": "take.wav", "phones": []}]'
    (tmp_path / PHONES).write_text(twice)
    assert "twice" in refusal(lambda: read_recordings(str(tmp_path)))
    for file in ("../take.wav", str(tmp_path / "take.wav")):
        (tmp_path / PHONES).write_text(json.dumps([{"file": file, "phones": []}]))
        assert "leads out" in refusal(lambda: read_recordings(str(tmp_path)))
    for times in ("-0.1, 0.2", "0.3, 0.2", "0.1, NaN", "100, 200"):  # the last: milliseconds
        listed = f'[{{"file": "take.wav", "phones": [["P", {times}]]}}]'
        (tmp_path / PHONES).write_text(listed)
        assert "in seconds" in refusal(lambda: read_recordings(str(tmp_path)))


def test_measures_by_hand() -> None:
    face = np.zeros((60, len(CHANNELS)))
    face[:15, INDEX["jawOpen"]] = 0.2  # in the pause
    face[18:24, INDEX["jawOpen"]] = 0.4  # in m
    face[21, INDEX["jawOpen"]] = 0.1  # its least
    face[24:, INDEX["jawOpen"]] = 0.6
    face[30, INDEX["eyeBlinkLeft"]] = 1
    phones = [("", 0, 0.5), ("m", 0.6, 0.8), ("ɑ", 0.8, 2.0)]
    found = measure([face], [phones])
    assert (found.seconds, found.bilabials, found.closure) == (2.0, 1, 0)
    assert found.aperture_closed == pytest.approx(0.1)
    assert found.aperture_open == pytest.approx(0.6)
    assert found.closure_auc == 1
    assert found.rounding_auc is None
    assert found.jaw_in_pauses == pytest.approx(0.2)
    assert found.mouth_in_pauses == pytest.approx(0.2 / 28)
    assert (found.blinks_per_minute, found.blinks_single) == (30, 1)
    assert found.blinks_length_ms == pytest.approx(1000 / 30)
    assert found.closure_lag_ms is None  # m begins 0.1 s after the pause, as the first phone does
    assert [aim.met for aim in aims(found)] == [False, True, True, None, False]


def test_the_benchmark_writes_figures_and_a_page(folder: Path, tmp_path: Path) -> None:
    model, out = random_student(tmp_path / "student"), tmp_path / "out"
    settings = config.load_as(
        HumanBenchmarkSettings, None, [f"model={model}", f"recordings={folder}", f"out={out}"]
    )
    table, *lines = results("human", settings, "human.{json,html}")
    output = io.StringIO()
    Console(file=output, width=80).print(table)
    printed = output.getvalue()
    assert "one.wav" in printed
    assert "two.raw" in printed
    assert not re.search(r"\d…|…\d", printed)  # it fits into a narrow terminal
    assert len(lines) == 6
    written = json.loads((out / "human.json").read_text())
    assert set(written["recordings"]) == {"a/one.wav", "a/two.raw"}
    assert written["pooled"]["bilabials"] == 2
    page = (out / "human.html").read_text()
    assert page.count('data-figure="curves-') == 2
    assert "<script src" not in page


def test_recordings_know_their_length() -> None:
    assert Recording("a", "", np.zeros(8000, np.float32), 16_000, []).seconds == 0.5
