"""The page in a real browser: from a file, without a network, with a head that moves."""

import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests import summaries
from tests.unit import sweeps

from diffusiontalker.arkit import INDEX
from diffusiontalker.evaluation import goals
from diffusiontalker.report.metric_columns import COLUMNS
from diffusiontalker.report.run.face import wav_base64
from diffusiontalker.report.run.page import write_report
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.report.sweep.page import write_sweep
from diffusiontalker.tuning import results, space

FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""What was asked for is drawn then."""
PIXELS = """canvas => {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [64, 64];
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0, 64, 64);
    return [...context.getImageData(0, 0, 64, 64).data];
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with every kind of plot, as a file: address."""
    rows = [
        {"name": name, "steps": steps, "split": split,
         "mbe": 0.2, "lbe": 0.06, "energy_score": 0.1, "spread_upper": 0.8, "fps": 9000 / steps}
        for split in ("test_seen", "test_unseen")
        for name, steps in (("teacher", 16), ("teacher", 2), ("student-2", 2))
    ]  # fmt: skip
    for row in rows:  # as wide as figures are
        row |= {c.key: 0.9 if c.scale < 1e5 else 1e-4 for c in COLUMNS if c.key not in row}
    rows[2]["mbe"] = 0.1
    rows[1]["mbe"] = None
    aims = [
        goals.at_least("artifact: frames/s on one core", 1234.0, 25_000),
        goals.at_least("emotion F1, unknown speakers", 0.649, 0.8, 7, share=True),
    ]
    summary = summaries.run(
        *(summaries.row(**row) for row in rows),
        seconds={"teacher": 12.5, "round-2": 4.0},
        goals=aims,
    )
    history = [{"step": n, "loss": 1 / n, "exp": 0.5 / n} for n in range(1, 9)]
    truth = np.zeros((90, 52), np.float32)
    truth[:, INDEX["jawOpen"]] = np.clip(np.arange(90) / 30, 0, 1)  # opens in a second, and stays
    audio = (0.1 * np.sin(np.arange(48000) / 20)).astype(np.float32)
    sample = Sample(
        "</script><script>window.hacked = 1</script>",
        "a",
        "b",
        audio,
        16000,
        truth,
        truth,
        truth * 0,
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, summary, {"teacher": history, "round-2": history}, sample)
    return path.as_uri()


@contextmanager
def fresh(browser):
    """A page without a network; fails at its end if there were errors or requests."""
    # Half as many pixels either way: the CPU draws them.
    screen = {"viewport": {"width": 1000, "height": 800}, "device_scale_factor": 0.5}
    context = browser.new_context(offline=True, **screen)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda message: message.type == "error" and complaints.append(message.text)
    )  # fmt: skip
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("data:", "blob:", "file:")) or complaints.append(request.url)
        ),
    )
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def page(browser):
    with fresh(browser) as page:
        yield page


@pytest.fixture(scope="module")
def opened(browser, address):
    """A page with its heads, for tests that find what they need whatever others have done."""
    with fresh(browser) as page:
        visit(page, address)
        yield page


def until(condition, seconds=30.0):
    """Wait for it; the page's own policy forbids playwright's waiting inside the page."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def pixels(page, number):
    page.evaluate(FRAME)
    return np.array(page.locator("canvas.head").nth(number).evaluate(PIXELS)).reshape(-1, 4)


def position(page):
    page.evaluate(FRAME)
    return float(page.locator("#scrubber").input_value())


def visit(page, address):
    """Open the page, and wait until its heads are drawn."""
    page.goto(address)
    until(lambda: pixels(page, 0)[:, 3].any() and pixels(page, 1)[:, 3].any())


def button(page, name):
    """The button that plays or pauses; waits until it does that."""
    place = page.get_by_role("button", name=name, exact=True)
    place.wait_for()
    return place


def test_head_is_drawn_and_plots_are_there(opened):
    page = opened
    head = pixels(page, 0)
    assert 0.2 < (head[:, 3] > 0).mean() < 0.9  # the head, and ground about it
    assert len(np.unique(head, axis=0)) > 200  # shaded
    places = page.locator("[data-figure]")
    assert places.count() == 14  # 5 for each split, 2 stages, curves, times
    until(lambda: page.locator("[data-figure] .scatterlayer").count() >= 13)
    until(lambda: page.locator("[data-figure] .barlayer .point").count() == 2)
    until(lambda: page.locator("[data-figure].js-plotly-plot").count() == places.count())
    drawn = page.locator("[data-figure=lbe-test_seen] path.js-line")
    assert drawn.count() == 2  # one line for the teacher, one for the student
    assert page.evaluate("window.hacked") is None


def test_play_moves_the_face_and_space_pauses(page, address):
    visit(page, address)
    before = pixels(page, 0)
    page.locator("#speed").select_option("0.25")  # twelve seconds to the end, on any machine
    page.locator("#play").click()
    until(lambda: position(page) > 0.3)
    page.locator("h1").click()
    page.keyboard.press("Space")
    button(page, "Play")
    paused = position(page)
    after = pixels(page, 0)
    assert np.abs(after - before).max() > 40
    time.sleep(0.2)
    assert position(page) == paused
    page.keyboard.press("Space")
    until(lambda: position(page) > paused)
    page.locator("#scrubber").evaluate("slider => slider.focus()")
    page.keyboard.press("Space")
    button(page, "Play")
    paused = position(page)
    page.keyboard.press("ArrowLeft")
    assert position(page) == pytest.approx(paused - 1 / 30, abs=1e-3)


def test_plays_to_the_end_without_sound(page, address):
    page.add_init_script("HTMLMediaElement.prototype.play = () => Promise.reject(new Error('no'))")
    page.goto(address)
    page.locator("#play").click()
    until(lambda: position(page) == pytest.approx(89 / 30, abs=1e-3))
    button(page, "Play")


def test_plays_on_where_the_sound_ends_early(page, address):
    visit(page, address)
    short = wav_base64(np.zeros(8000), 16000)
    page.locator("#audio").evaluate(
        "(audio, wav) => { audio.src = `data:audio/wav;base64,${wav}`; }", short
    )
    page.locator("#play").click()
    until(lambda: position(page) > 0.7)
    page.keyboard.press("Space")
    button(page, "Play")
    page.keyboard.press("Shift+ArrowLeft")  # to where there is sound
    page.keyboard.press("Space")
    until(lambda: position(page) == pytest.approx(89 / 30, abs=1e-3))


def test_two_heads_show_what_is_chosen(opened):
    page = opened
    page.locator("#scrubber").fill("2")
    np.testing.assert_array_equal(pixels(page, 0), pixels(page, 1))  # the student equals the truth
    page.locator(".which").nth(1).select_option("teacher")  # which never opens its mouth
    assert np.abs(pixels(page, 0) - pixels(page, 1)).max() > 40


def test_drag_turns_the_heads(opened):
    page = opened
    before = pixels(page, 1)
    page.locator("canvas.head").nth(0).scroll_into_view_if_needed()
    box = page.locator("canvas.head").nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 80, box["y"] + 60)
    page.mouse.up()
    assert np.abs(pixels(page, 1) - before).max() > 40


def test_heading_sorts_and_dashes_come_last(opened):
    page = opened
    column = "table.results >> nth=0"
    mbe = page.locator(column).locator("tbody.models td:nth-child(3)")
    button = page.locator(column).get_by_role("button", name="MBE", exact=True)
    button.click()
    assert mbe.all_inner_texts() == ["0.100", "0.200", "–"]
    button.click()
    assert mbe.all_inner_texts() == ["0.200", "0.100", "–"]


def test_without_webgl_there_is_a_message(page, address):
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); }"
    )
    page.goto(address)
    assert "no WebGL" in page.locator(".view").first.inner_text()
    page.locator("#play").click()
    until(lambda: position(page) > 0.1)  # the sound plays all the same


CUT = """[...document.querySelectorAll(".scroll")]
    .filter((place) => place.scrollWidth > place.clientWidth).map((place) => place.ariaLabel)"""


# One page for each scheme and width: to load it takes 4 s of CPU.
@pytest.mark.parametrize(
    ("scheme", "fill", "width", "whole"),
    [
        ("light", "rgb(27, 35, 48)", 1200, None),
        ("dark", "rgb(233, 237, 245)", 375, {"Goals"}),
    ],
)
def test_plots_follow_the_colour_scheme_and_nothing_is_cut_off(
    browser, address, scheme, fill, width, whole
):
    """On a screen no table; on a phone, goals at least."""
    screen = {"viewport": {"width": width, "height": 844}, "device_scale_factor": 0.5}
    context = browser.new_context(offline=True, color_scheme=scheme, **screen)
    page = context.new_page()
    page.goto(address)
    until(lambda: page.locator(".js-plotly-plot").count() == page.locator("[data-figure]").count())
    until(lambda: page.locator(".legendtext").count() > 0)
    text = page.locator(".legendtext").first
    assert text.evaluate("text => getComputedStyle(text).fill") == fill
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = set(page.evaluate(CUT))
    assert cut == set() if whole is None else not cut & whole
    context.close()


def test_a_sweeps_page_draws_its_plots_and_copies_the_winner(page, tmp_path):
    trials = [
        sweeps.trial(
            n,
            0.5,
            0.4 + 0.01 * n,
            params={"losses.teacher.exp": 1.0 + n, "losses.teacher.lip": 1.0},
        )
        for n in (0, 3, 1, 2)
    ]
    known = sweeps.store(*trials, wall_seconds=100.0, slots=2)
    sweep = sweeps.sweep(output=str(tmp_path))
    summary = results.summarise(sweep, space.base_of(sweep), known, importance=True)
    write_sweep(tmp_path / "sweep.html", summary, "losses: {exp: 2.0}\n")
    page.goto((tmp_path / "sweep.html").as_uri())
    until(lambda: page.locator(".js-plotly-plot").count() >= 3)
    numbers = page.locator("#trials tbody tr th")
    assert numbers.count() == 4
    link = page.locator("#winner a[download]")
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_text() == "losses: {exp: 2.0}\n"
