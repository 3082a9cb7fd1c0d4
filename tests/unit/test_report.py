"""The page and the console table of a run, from synthetic summaries."""

import base64
import io
import re
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs
from rich.console import Console
from tests import summaries
from tests.pages import EVIL, Reader
from tests.summaries import ARTIFACT, CORPUS, STREAMING, row

from diffusiontalker.animation.heads import head_glb
from diffusiontalker.animation.rig import default_rig
from diffusiontalker.arkit import INDEX
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import goals
from diffusiontalker.report.log_axis import log_axis
from diffusiontalker.report.metric_columns import BY_KEY, COLUMNS
from diffusiontalker.report.run import plots
from diffusiontalker.report.run.console import console_table
from diffusiontalker.report.run.face import face_data, wav_base64
from diffusiontalker.report.run.headline import headline, lead, what_ran
from diffusiontalker.report.run.page import render, write_report
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.report.run.spectra import spectrum_plots
from diffusiontalker.report.run.tables import table, tables
from diffusiontalker.report.run.verdict import verdict
from diffusiontalker.report.wording import duration, flat, plain
from diffusiontalker.summary.run import Artifact


def summary_with(student, teacher):
    """Two rows at 2 steps on one split, with the metrics given."""
    return summaries.run(row("teacher", 2, **teacher), row("student-2", 2, **student))


@pytest.fixture(scope="module")
def sample():
    truth = np.zeros((12, 52), np.float32)
    truth[:, INDEX["jawOpen"]] = np.linspace(0, 1, 12)
    audio = np.sin(np.arange(6400) / 8).astype(np.float32)
    return Sample(EVIL, EVIL, "happy", audio, 16000, truth, truth * 0.9, truth * 0.8)


@pytest.fixture(scope="module")
def summary():
    rows = [
        row("teacher", 16, mbe=0.2, lbe=0.06, energy_score=0.1, fps=200, size_mb=40.0),
        row("teacher", 2, mbe=0.3, lbe=0.08, energy_score=0.2, fps=900, size_mb=40.0),
        row("student-2", 2, mbe=0.25, lbe=0.07, energy_score=0.15, fps=4000.0, size_mb=4.0),
        row(EVIL, 2, "test_unseen"),
    ]
    return summaries.run(
        *rows,
        corpus={**CORPUS, "clips": {"train": 9}},
        floor={
            "test_seen": {"sampling": {"mbe": 0.161}, "regression": {"mbe": 0.108}},
            "test_unseen": None,
        },
        goals=[
            {"name": "size", "value": 45.2, "target": "<= 45", "met": False},
            {"name": "speed", "value": 4000.0, "target": ">= 3632", "met": True},
            {"name": EVIL, "value": None, "target": "unknown", "met": None},
            goals.at_least("identity F1", 1.0, 0.95, clips=1, share=True),
        ],
        settings={"output": "runs/a", "corpus": {"path": EVIL}},
        environment={"torch": "2.13.0", "gpu": None, "settings": {"seed": 0, "note": EVIL}},
        seconds={"corpus": 31.0, EVIL: 4.0},
    )


HISTORIES = {
    "teacher": [
        {"step": 1, "loss": 0.5, "exp": 0.4},
        {"step": 2, "loss": 0.4, "exp": 0.3},
        {"step": 2, "val_loss": 0.45, "val_exp": 0.35},
    ],
    EVIL: [],
}


@pytest.fixture(scope="module")
def page(summary, sample):
    return render(summary, HISTORIES, sample)


def test_page_is_self_contained(page):
    assert len(page) < 9_000_000
    assert get_plotlyjs() in page
    tags = Reader(page).tags
    addresses = [a[k] for _, a in tags for k in ("src", "href") if k in a]
    assert addresses
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    # Nor does our own style fetch anything; plotly's code aside, which the browser test watches.
    assert not re.search(r"url\(|@import", page.replace(get_plotlyjs(), ""))
    assert "default-src 'none'" in page


def test_data_stay_text(page):
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in reader.tags) == 6
    # Sentence, speaker, row, goal, stage, environment, setting.
    assert reader.text.count(EVIL) == 7
    assert EVIL not in page


def test_nulls_are_dashes_and_goals_are_judged(page):
    text = re.sub(r"\s+", " ", Reader(page).text)
    assert "1 of 4 goals met, 2 open" in text
    assert "size 45.2 <= 45 – ✗ missed" in text
    assert "speed 4,000 >= 3632 – ✓ met" in text
    assert "– unknown – ○ open: not measured" in text
    assert "identity F1 100% >= 95% 1 ○ open: fewer than 20 clips" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_table_marks_the_best_and_keeps_floors_apart(summary):
    seen = table(summary, "test_seen")
    mbe = [column.key for column in COLUMNS].index("mbe")
    assert [(title, cells[mbe].text) for title, cells in seen.floors] == [
        ("Sampling floor", "0.161"),
        ("Regression floor", "0.108"),
    ]
    assert not any(cell.best for _, cells in seen.floors for cell in cells)
    marked = {r.name + str(r.steps): cells[mbe].best for r, cells in seen.rows}
    assert marked == {"teacher16": True, "teacher2": False, "student-22": False}
    assert table(summary, "test_unseen").floors == ()


def test_best_depends_on_what_is_good():
    assert BY_KEY["mbe"].best([0.2, None, 0.1]) == "0.100"
    assert BY_KEY["fps"].best([100.0, 4000.0]) == "4,000"
    assert BY_KEY["spread_upper"].best([0.7, 1.2, 1.4]) == "1.20"
    assert BY_KEY["lip_lag_ms"].best([-40.0, 12.0, None, 60.0]) == "12"
    assert BY_KEY["lip_lag_ms"].show(-0.04) == "0"
    assert BY_KEY["diversity_upper"].best([0.7, 1.2]) is None
    assert BY_KEY["mbe"].best([None]) is None
    assert BY_KEY["lve"].show(1.375e-5) == "1.38"


@pytest.mark.parametrize(
    ("student", "teacher", "outcome", "words"),
    [
        ({"energy_score": 0.09, "lbe": 0.05}, {"energy_score": 0.1, "lbe": 0.05}, "wins",
         "At 2 steps, distillation beats the undistilled teacher."),
        ({"energy_score": 0.11, "lbe": 0.05}, {"energy_score": 0.1, "lbe": 0.05}, "loses",
         "At 2 steps, distillation does not beat the undistilled teacher."),
        ({"lbe": 0.0501}, {"lbe": 0.05}, "level",
         "At 2 steps, distillation does not beat the undistilled teacher: they are level."),
        ({"energy_score": 0.09, "lbe": 0.06}, {"energy_score": 0.1, "lbe": 0.05}, "mixed",
         "At 2 steps, distillation wins in part: better in Energy score, worse in LBE."),
        ({"lbe": None}, {"lbe": 0.05}, "unknown",
         "No verdict on distillation: the undistilled teacher was not measured at 2 steps."),
    ],
)  # fmt: skip
def test_verdict_follows_the_numbers(student, teacher, outcome, words):
    found = verdict(summary_with(student, teacher))
    assert (found.outcome, found.headline) == (outcome, words)


def test_verdict_says_by_how_much():
    found = verdict(summary_with({"energy_score": 0.09}, {"energy_score": 0.1}))
    assert found.evidence == (
        "New sentences, known speakers, student against undistilled teacher: "
        "Energy score 0.090 against 0.100 (10.0% better).",
    )
    found = verdict(summary_with({"mbe": 0.11}, {"mbe": 0.1}))
    assert "MBE 0.110 against 0.100 (10.0% worse)" in found.evidence[0]


def test_verdict_where_speakers_disagree():
    found = verdict(
        summaries.run(
            row("teacher", 2, lbe=0.05),
            row("student-2", 2, lbe=0.04),
            row("teacher", 2, "test_unseen", lbe=0.05),
            row("student-2", 2, "test_unseen", lbe=0.06),
        )
    )
    assert found.headline == (
        "At 2 steps, distillation wins in part; in LBE it depends on the speakers."
    )


def test_verdict_compares_with_the_full_teacher(summary):
    found = verdict(summary)
    assert found.outcome == "wins"
    assert found.evidence[1] == (
        "New sentences, known speakers, student against the teacher at 16 steps: "
        "Energy score 50.0% worse; LBE 16.7% worse; MBE 25.0% worse; "
        "20 times the frames per second; 10% of the size."
    )


def test_verdict_without_students():
    only_teacher = summaries.run(row("teacher", 2, lbe=0.1))
    assert verdict(only_teacher).outcome == "unknown"
    assert what_ran(only_teacher) == (
        "A diffusion teacher of 2 steps learnt to move a face from 30 min 00 s of speech by 12 "
        "speakers."
    )


def test_what_ran(summary):
    assert what_ran(summary) == (
        "A diffusion teacher of 16 steps learnt to move a face from 30 min 00 s of speech by 12 "
        "speakers, and was distilled into students of 2 steps."
    )
    corpus = {**CORPUS, "minutes_by_split": {"train": 25.5, "val": 4.5}}
    assert "from 25 min 30 s of speech" in what_ran(summaries.run(corpus=corpus))


def test_headline_is_for_anybody(summary):
    assert headline(summary).replace("\N{NO-BREAK SPACE}", " ") == (
        "A model that turns speech into a face, trained in 35 s: 1 of 4 goals met, 2 open."
    )
    assert headline(summaries.run()) == "A model that turns speech into a face."
    artifact = Artifact(fps=39_000.0, size_mb=2.05, params_m=0.9)
    assert lead(summary.model_copy(update={"artifact": artifact})) == (
        "In 2 steps it makes 52 coefficients of a face from speech, 39,000 frames a second on one "
        "CPU core (1,300 x real time), and takes 2.0 MB. Against its teacher in 16 steps, the "
        "distance of its lips from the recording is 17% greater with known speakers."
    )
    even = summaries.run(
        row("teacher", 2, lbe=0.1), row("student-2", 2, lbe=0.1), row("teacher", 4, lbe=0.1)
    )
    assert lead(even).endswith("is the same with known speakers.")
    assert lead(summaries.run()) == ""


def test_time_of_the_whole_run_and_its_settings(page):
    reader = Reader(page)
    assert ["corpus", "31 s", "89%"] in reader.rows
    assert ["the whole run", "35 s", ""] in reader.rows
    assert "output: runs/a corpus: path: " in reader.text


def test_costs_stand_apart_so_that_results_fit_a_screen(summary, page):
    assert len(table(summary, "test_seen").columns) == 11
    headings = [text for cells in Reader(page).rows for text in cells if "Frames/s" in text]
    assert headings == ["Frames/s"]


def test_speech_and_movement_have_a_table_where_they_are_known() -> None:
    without, known = summaries.row("teacher", 16), summaries.row("teacher", 16, speed_upper=4.8)
    assert [found.title for found in tables(summaries.run(without))] == [
        "New sentences, known speakers"
    ]
    floor = {"test_seen": {"recording": {"blinks_per_minute": 13.0}}}
    errors, moves = tables(summaries.run(known, floor=floor))
    assert errors.floors == ()  # the recordings have no error
    (title, cells), *_ = moves.floors
    assert title == "Recordings"
    assert [cell.text for cell in cells if cell.value is not None] == ["13.0"]
    assert "4.80" in [cell.text for cell in moves.rows[0][1]]
    both = summaries.row("teacher", 16, speed_upper=4.8, spread_upper=0.94, closure=0.8)
    _, speech, moves = tables(summaries.run(both))
    assert "80" in [cell.text for cell in speech.rows[0][1]]
    # What a flutter wins is beside what it loses.
    assert {"0.94", "4.80"} <= {cell.text for cell in moves.rows[0][1]}


def test_spectra_of_recordings_teacher_and_student_are_drawn_where_they_are_known(sample) -> None:
    def spectrum(power: float) -> dict[str, list[float]]:
        return {"hz": [0.5, 1.0, 15.0], "upper": [power, power, 0.0], "lower": [power] * 3}

    rows = [
        row("teacher", 16, spectrum=spectrum(1e-3)), row("teacher", 2, spectrum=spectrum(9.0)),
        row("student-4", 4, spectrum=spectrum(9.0)), row("student-2", 2, spectrum=spectrum(1e-4)),
    ]  # fmt: skip
    floor = {"test_seen": {"spectrum": spectrum(1e-2)}}
    (_, upper), (_, lower) = spectrum_plots(summaries.run(*rows, floor=floor), "test_seen")
    assert {line.name: line.y[0] for line in upper.data} == {
        "recordings": -20, "teacher, 16 steps": -30, "student-2": -40,
    }  # fmt: skip
    assert all(np.isfinite(line.y).all() for line in upper.data)
    assert upper.layout.xaxis.title.text == "Hz"
    assert "dB" in upper.layout.yaxis.title.text
    assert lower.data[0].y[2] == -20
    page = render(summaries.run(*rows, floor=floor), HISTORIES, sample)
    assert page.count('data-figure="spectrum-') == 2
    assert spectrum_plots(summaries.run(row("teacher", 16), floor=floor), "test_seen") == []


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([5_280, 25_200], ["6k", "8k", "10k", "15k", "20k"]),
        ([1, 1000], ["1", "10", "100", "1k"]),
        ([0.5, 5], ["0.5", "1", "2", "5"]),
        ([0.93, 1.07], ["0.95", "1", "1.05"]),
        ([1.4, 2.05], ["1.4", "1.6", "1.8", "2"]),
        ([1.242, 2.258], ["1.4", "1.6", "1.8", "2", "2.2"]),
        ([0.3, 0.3], ["0.15", "0.2", "0.3", "0.4", "0.5", "0.6"]),
        ([-1.0, 0.0], ["0.5", "1", "2"]),
        ([], ["0.5", "1", "2"]),
        ([2e6, 9e6], ["2M", "3M", "4M", "5M", "6M", "8M"]),
    ],
)
def test_every_tick_of_a_logarithmic_axis_bears_its_number(values, ticks):
    axis = log_axis(values)
    assert axis["ticktext"] == ticks
    assert axis["type"] == "log"
    assert axis["tickvals"] == sorted(axis["tickvals"])


@given(st.floats(1e-6, 1e6), st.floats(1.0, 1e6))
def test_no_logarithmic_axis_is_without_ticks_or_full_of_them(low, ratio):
    ticks = log_axis([low, low * ratio])["tickvals"]
    assert 3 <= len(ticks) <= 14


def test_parts_of_a_loss_have_ticks_when_they_are_switched_on():
    axis = log_axis([1.0, 2.0], [0.01, 1.5])
    assert axis["ticktext"][:4] == ["0.01", "0.02", "0.05", "0.1"]
    assert axis["ticktext"][-3:] == ["1", "1.5", "2"]


def test_page_of_an_empty_run(sample):
    html = render(summaries.run(), {}, sample)
    assert "No student was distilled in this run." in html


def test_write_report_into_a_missing_folder(tmp_path, summary, sample):
    with pytest.raises(UserError, match="no folder"):
        write_report(tmp_path / "nowhere" / "report.html", summary, {}, sample)


def test_sample_refuses_what_does_not_fit(sample):
    good = dict(vars(sample))
    with pytest.raises(UserError, match=r"student is \(3, 52\)"):
        Sample(**good | {"student": np.zeros((3, 52))})
    with pytest.raises(UserError, match="one channel"):
        Sample(**good | {"audio": np.zeros((2, 9))})
    with pytest.raises(UserError, match="unknown channel 'jaw'"):
        Sample(**good | {"channels": ("jaw",)})


def test_figures_hold_the_numbers(summary, sample):
    figure = plots.over_steps(summary, "test_seen", "mbe")
    lines = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert lines["teacher, not distilled"] == ([2, 16], [0.3, 0.2])
    assert lines["students, distilled"] == ([2], [0.25])
    assert lines["sampling floor"] == ([2, 16], [0.161, 0.161])
    assert lines["regression floor"] == ([2, 16], [0.108, 0.108])
    speed = plots.speed_against_error(summary, "test_seen").data[0]
    assert (list(speed.x), list(speed.y), list(speed.text)) == (
        [900, 200],
        [0.08, 0.06],
        ["2", "16"],
    )
    curves = plots.coefficient_curves(sample)
    assert curves.data[1].name == "teacher"
    assert curves.data[1].y[-1] == pytest.approx(0.8)
    assert curves.data[1].x[-1] == pytest.approx(11 / 30, abs=1e-3)
    losses = plots.loss_curves("teacher", HISTORIES["teacher"])
    assert {t.name: list(t.y) for t in losses.data} == {
        "training": [0.5, 0.4], "validation": [0.45], "exp": [0.4, 0.3],
    }  # fmt: skip


def unpack(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_face_data_hold_the_head_and_the_faces(sample):
    data = face_data(sample)
    assert base64.b64decode(data["head"]) == head_glb()
    face = unpack(data["faces"]["teacher"], "<i2").reshape(-1, 52) / data["scale"]
    np.testing.assert_allclose(face, sample.teacher, atol=1e-4)


def test_left_is_where_the_rig_has_its_left_eye():
    rig = default_rig()
    moved = np.abs(rig.deltas[INDEX["eyeBlinkLeft"]]).max(-1) > 1e-3
    assert rig.mean[moved, 0].mean() > 0  # eyeballs on +x are called Left


def test_wav_is_sixteen_bit_and_clips():
    data = base64.b64decode(wav_base64(np.array([0, 0.5, 2, -2, np.nan]), 16000))
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 5)
        samples = np.frombuffer(file.readframes(5), "<i2")
    assert samples.tolist() == [0, 16384, 32767, -32768, 0]


def test_plain_words():
    assert [plain(x) for x in (None, True, 3, 12345.6, 0.05678, ["a", None], [])] == [
        "–", "yes", "3", "12,346", "0.05678", "a, –", "–",
    ]  # fmt: skip
    assert flat({"a": {"b": 1, "c": {"d": None}}}) == {"a.b": "1", "a.c.d": "–"}
    assert [duration(x) for x in (None, 4.21, 31, 185, 7800)] == [
        "–", "4.2 s", "31 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip


def test_console_table_fits_eighty_columns(summary):
    rows = [*summary.rows, row("[b]odd", 4, mbe=0.5)]
    console = Console(width=80, file=io.StringIO(), record=True, legacy_windows=False)
    console.print(console_table(summaries.run(*(r for r in rows if r.name != EVIL))))
    lines = console.export_text().splitlines()
    found = [line.split() for line in lines if "student-2" in line]
    assert found == [["student-2", "2", "yes", "seen", "0.250", "0.0700", "0.150", "–", "4,000"]]
    assert any("[b]odd" in line for line in lines)  # no markup


def test_streaming_and_look_ahead_are_told_where_they_were_measured(sample, page):
    assert 'id="streaming"' not in page
    look_ahead = [
        {"split": "test_seen", "look_ahead_ms": ms, "steps": 2, "mbe": 0.3, "lbe": lbe,
         "energy_score": None, "spread_upper": 0.9}
        for ms, lbe in ((40.0, 0.2345), (None, 0.2123))
    ]  # fmt: skip
    artifact = {**ARTIFACT, "streaming": STREAMING}
    summary = summaries.run(artifact=artifact, look_ahead=look_ahead)
    text = Reader(render(summary, HISTORIES, sample)).text
    for said in ("waits for 70 ms", "0.2511", "0.2512", "0.2634", "40 ms", "0.2345",
                 "the whole recording", "0.2123"):  # fmt: skip
        assert said in text
