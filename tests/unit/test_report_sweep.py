"""The page of a hyperparameter sweep, from hand-made trials."""

import base64
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs
from tests.pages import EVIL, Reader, figures_of

from diffusiontalker.errors import UserError
from diffusiontalker.report.sweep import plots
from diffusiontalker.report.sweep.axes import number_axis, parameter_axis, upper_limit
from diffusiontalker.report.sweep.page import ROWS, confirmed_rows, render, write_sweep
from diffusiontalker.report.sweep.traces import QUINTILES
from diffusiontalker.report.sweep.verdict import verdict
from diffusiontalker.summary.sweep import SweepSummary, idle_share

SPACE = {
    "losses.exp": {"kind": "log_uniform", "low": 0.1, "high": 10.0},
    "model.dropout": {"kind": "uniform", "low": 0.0, "high": 0.4},
    "model.layers": {"kind": "int", "low": 2, "high": 8},
    "diffusion.schedule": {"kind": "choice", "choices": ["linear", "cosine"]},
}
DEFAULT = {
    "losses.exp": 1.0,
    "model.dropout": 0.1,
    "model.layers": 4,
    "diffusion.schedule": "cosine",
}
YAML = "losses:\n  exp: 2.5\n"


def trial(number, *scores, state="done", lbe=0.06, error=None, **params):
    """A trial that had these energy scores, an epoch of ten seconds each."""
    curve = [
        {"epochs": n, "lbe": lbe, "energy_score": score, "upper_energy": 0.05, "seconds": 10.0}
        for n, score in enumerate(scores, start=1)
    ]
    changed = {name.replace("__", "."): value for name, value in params.items()}
    return {
        "id": f"t{number}", "number": number, "state": state, "params": {**DEFAULT, **changed},
        "curve": curve, "seconds": 10.0 * len(scores) + 2, "error": error,
    }  # fmt: skip


def sweep(*trials, best=None, **more):
    """A summary as ``sweep.json`` has it."""
    return SweepSummary.model_validate({
        "name": "configs/sweep.yaml", "base": "configs/quickstart.yaml", "stage": "teacher",
        "search": "tpe", "pruning": "asha", "objectives": ["energy_score"], "space": SPACE,
        "default": DEFAULT, "trials": list(trials), "importance": {}, "best": best,
        "pareto": [best] if best else [], "wall_seconds": 40.0, "slots": 2, "confirmed": [],
        "finalists": [], **more,
    })  # fmt: skip


def altered(given, **fields):
    """The summary with other values of some fields."""
    return SweepSummary.model_validate(given.model_dump() | fields)


def again(*pairs):
    """Seeds 1, 2, ... with the energy scores of default and best, which is trial 2."""
    return [
        {
            "trial": "t2",
            "seed": n,
            "default": {"energy_score": default},
            "best": {"energy_score": best},
        }
        for n, (default, best) in enumerate(pairs, start=1)
    ]


BASE = trial(0, 0.14, 0.12, 0.10)
WINNER = trial(2, 0.13, 0.11, 0.09, lbe=0.062, losses__exp=2.5, diffusion__schedule="linear")
FULL = sweep(
    BASE,
    trial(1, 0.2, state="pruned", losses__exp=0.2),
    WINNER,
    trial(3, state="failed", error=f"out of memory {EVIL}"),
    trial(4, 0.13, 0.12, state="running", model__layers=6),
    best="t2",
    importance={"energy_score": {"losses.exp": 0.75, "diffusion.schedule": 0.25}},
    confirmed=again((0.104, 0.096), (0.096, 0.094)),
)


def traces(figure):
    """Each trace's (x, y), points with a place alone, by its name and its look."""
    found = {}
    for trace in figure.data:
        look = trace.name or (trace.line.dash or trace.marker.symbol or trace.line.color)
        found[look] = [
            (x, y) for x, y in zip(trace.x, trace.y, strict=True) if None not in (x, y)
        ]  # fmt: skip
    return found


def test_page_is_self_contained():
    page = render(FULL, YAML)
    assert get_plotlyjs() in page
    assert "default-src 'none'" in page
    own = page.replace(get_plotlyjs(), "")
    assert not re.search(r"url\(|@import", own)
    addresses = [a[k] for _, a in Reader(page).tags for k in ("src", "href") if k in a]
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    ids = {attributes["id"] for _, attributes in Reader(page).tags if "id" in attributes}
    assert {a[1:] for a in addresses if a.startswith("#")} <= ids


def test_every_plot_has_its_place_and_every_place_its_plot():
    page = render(altered(FULL, objectives=["energy_score", "lbe"], pareto=["t0", "t2"]), None)
    places = [a["data-figure"] for _, a in Reader(page).tags if "data-figure" in a]
    assert sorted(places) == sorted(figures_of(page))
    assert set(places) == {
        "parallel", "front", "curves-energy_score", "curves-lbe", "importance-energy_score",
        "history-energy_score", "history-lbe",
    }  # fmt: skip


def test_page_says_what_happened():
    page = Reader(render(FULL, YAML))
    assert (
        "So far, trial 2 beats the default by 10.0% in the energy score, and by 5.0% when both are "
        "trained with other seeds." in page.text
    )
    assert "5 trials (2 finished, 1 pruned, 1 failed, 1 running) in 40 s, 2 at a time." in page.text
    # 90 of 2 x 40 seconds and more: no share is below nothing.
    assert "0% of that time was not training." in page.text
    assert (
        "Both trained again with 2 other seeds: energy score 0.0950 against 0.1000 (5.0% better) "
        "in the mean, lower with 2 of 2." in page.text
    )
    assert "LBE 0.0620 against 0.0600 (3.3% worse)" in page.text
    assert [
        cell for row in page.rows if row[0] == "1" and len(row) == 10 for cell in row if cell != "–"
    ] == ["1", "0.1040", "0.0960", "−7.7%"]


def test_trials_are_listed_with_their_values():
    rows = Reader(render(FULL, YAML)).rows
    listed = [row for row in rows if len(row) == 11]
    assert listed[1] == [
        "0 (default)", "finished", "0.0600", "0.1000", "0.0500", "1", "0.1", "4", "cosine", "3",
        "32 s",
    ]  # fmt: skip
    assert listed[3][:6] == ["2 (best)", "finished", "0.0620", "0.0900", "0.0500", "2.5"]
    assert listed[4][:5] == ["3", "failed", "–", "–", "–"]
    assert ["losses.exp", "0.1 to 10, logarithmic", "1", "2.5"] in rows
    assert ["diffusion.schedule", "linear | cosine", "cosine", "linear"] in rows
    assert ["model.layers", "2 to 8, whole numbers", "4", "4"] in rows


def test_best_figures_are_bold_and_those_of_unfinished_trials_never():
    early = trial(1, 0.01, state="pruned", lbe=0.001)
    page = render(sweep(BASE, early, WINNER, best="t2"), None)
    assert re.findall(r"<b>(.*?)</b>", page.split('id="trials"')[1]) == [
        "0.0600", "0.0500", "0.0900", "0.0500",
    ]  # fmt: skip


def test_winning_configuration_can_be_saved():
    tags = Reader(render(FULL, YAML)).tags
    [link] = [attributes for tag, attributes in tags if tag == "a" and "download" in attributes]
    assert base64.b64decode(link["href"].partition("base64,")[2]).decode() == YAML
    assert YAML in render(FULL, YAML)
    assert "winner" not in {a.get("id") for _, a in Reader(render(FULL, None)).tags}


@pytest.mark.parametrize(
    ("given", "outcome", "headline"),
    [
        (sweep(BASE, WINNER, best="t2"), "wins",
         "Trial 2 beats the default by 10.0% in the energy score."),
        (sweep(BASE, WINNER, best="t2", confirmed=again((0.1, 0.101), (0.1, 0.098))), "mixed",
         "Trial 2 beats the default by 10.0% in the energy score, but not when both are trained "
         "with other seeds."),
        # Better in the mean, but by one lucky seed of three.
        (sweep(BASE, WINNER, best="t2", confirmed=again((0.1, 0.101), (0.1, 0.101), (0.1, 0.05))),
         "mixed",
         "Trial 2 beats the default by 10.0% in the energy score, but not when both are trained "
         "with other seeds."),
        (sweep(BASE, trial(1, 0.0995), best="t1"), "level",
         "Nothing beat the default: trial 1, the best, is level in the energy score."),
        (sweep(BASE, trial(1, 0.11), best="t0"), "loses",
         "Nothing beat the default in the energy score."),
        (sweep(BASE, trial(1, 0.11, lbe=0.01), best="t1", objectives=["energy_score", "lbe"]),
         "loses", "Trial 1, the best, does not beat the default in the energy score."),
        (sweep(BASE, best="t0"), "unknown",
         "Only the default has a result: there is nothing to compare it with."),
        (sweep(trial(0, 0.2, state="pruned"), WINNER, best="t2"), "unknown",
         "Trial 2 is the best, but the default was pruned after 1 epoch."),
        (sweep(trial(0, state="failed"), WINNER, best="t2"), "unknown",
         "Trial 2 is the best, but the default failed."),
        (sweep(trial(0, math.nan), WINNER, best="t2"), "unknown",
         "Trial 2 is the best, but the default has no result."),
        (sweep(WINNER, best="t2"), "unknown",
         "Trial 2 is the best, but the default was not tried."),
        (sweep(trial(0, state="failed"), trial(1, 0.3, state="failed")), "loses",
         "All trials failed."),
        (sweep(trial(0, state="running")), "unknown",
         "So far, no trial has finished with a result."),
        (sweep(), "unknown", "No trial has finished with a result."),
    ],
)  # fmt: skip
def test_verdict_follows_the_numbers(given, outcome, headline):
    found = verdict(given)
    assert (found.outcome, found.headline) == (outcome, headline)


def test_a_best_trial_of_one_seed_is_called_that():
    assert verdict(sweep(BASE, WINNER, best="t2")).evidence[-1] == (
        "Not trained again with other seeds: some of the difference may be luck."
    )


def test_share_that_was_not_training():
    assert sweep(BASE, WINNER).idle_share == pytest.approx(1 - 60 / 80)
    assert idle_share([], 40.0, 2) == 1.0
    assert sweep(BASE, wall_seconds=0.0).idle_share is None


def test_finalists_are_told_beside_the_winner():
    finalists = [{"number": n, "mean": mean, "seeds": 2} for n, mean in ((2, 0.0925), (1, 0.096))]
    found = verdict(
        sweep(BASE, WINNER, best="t2", confirmed=again((0.1, 0.095)), finalists=finalists)
    )
    assert "Finalists, energy score over 2 seeds: trial 2 0.0925, trial 1 0.0960." in found.evidence
    alone = sweep(BASE, WINNER, best="t2", confirmed=again((0.1, 0.095)), finalists=finalists[:1])
    assert not [said for said in verdict(alone).evidence if said.startswith("Finalists")]


def test_confirmation_leaves_out_of_the_mean_what_is_not_known():
    found = confirmed_rows(sweep(confirmed=again((0.2, 0.1), (0.4, None), (math.nan, 0.1))))
    energy = [(seed, cells[1]) for seed, cells in found]
    assert energy == [
        ("1", (0.2, 0.1, -0.5)), ("2", (0.4, None, None)), ("3", (None, 0.1, None)),
        ("mean", (0.2, 0.1, -0.5)),
    ]  # fmt: skip


def test_parallel_axes_place_what_was_tried():
    figure = plots.figures(FULL)["parallel"]
    best = traces(figure)["best trial"]
    assert best == [
        (0, pytest.approx((1 + math.log10(2.5)) / 2, abs=1e-5)),
        (1, 0.25),
        (2, pytest.approx(1 / 3, abs=1e-5)),
        (3, 0.0),
        (4, 0.0),
    ]
    default = traces(figure)["default"]
    assert [y for _, y in default[:4]] == [0.5, 0.25, pytest.approx(1 / 3, abs=1e-5), 1.0]
    assert figure.layout.xaxis.ticktext == (
        "losses<br>exp", "model<br>dropout", "model<br>layers", "diffusion<br>schedule",
        "energy<br>score,<br>coefficients",
    )  # fmt: skip
    ticks = {(note.x, note.text) for note in figure.layout.annotations}
    assert {(0, "0.1"), (0, "1"), (0, "10"), (3, "linear"), (3, "cosine"), (2, "8")} <= ticks


def test_a_default_without_a_result_is_left_out():
    found = plots.figures(sweep(trial(0, state="failed"), WINNER, best="t2"))
    for name in ("parallel", "front"):
        assert "best trial" in traces(found[name])
        assert "default" not in traces(found[name])


def test_colours_go_by_rank_from_the_best_to_the_worst():
    figure = plots.figures(sweep(*(trial(n, 0.1 + n / 100) for n in range(10))))["parallel"]
    ends = {
        trace.line.color: [text for x, text in zip(trace.x, trace.text, strict=True) if x == 4]
        for trace in figure.data
        if not trace.name
    }
    ranked = [ends[light] for light, _ in QUINTILES.values()]
    assert [[text.split("<br>")[0] for text in texts] for texts in ranked] == [
        [f"trial {n}", f"trial {n + 1}"] for n in range(0, 10, 2)
    ]


def test_curves_tell_best_and_default_from_the_others_and_pruned_ones_end_early():
    figure = plots.figures(FULL)["curves-energy_score"]
    lines = traces(figure)
    assert lines["best trial"] == [(1, 0.13), (2, 0.11), (3, 0.09)]
    assert lines["default"] == [(1, 0.14), (2, 0.12), (3, 0.1)]
    assert lines["dot"] == [(1, 0.2)]
    assert lines["solid"] == [(1, 0.13), (2, 0.12)]
    assert figure.layout.xaxis.title.text == "epoch"
    assert figure.layout.yaxis.title.text == "energy score, coefficients"


def test_history_has_the_best_value_so_far_the_default_and_unfinished_trials():
    given = sweep(
        BASE, trial(1, 0.18, state="pruned"), trial(2, 0.12), trial(3, state="failed"),
        trial(4, 0.09), trial(5, 0.11, state="running"), best="t4",
    )  # fmt: skip
    figure = plots.figures(given)["history-energy_score"]
    done, best, _, unfinished = figure.data
    assert list(zip(done.x, done.y, strict=True)) == [(0, 0.1), (2, 0.12), (4, 0.09)]
    assert done.text[2].startswith("trial 4<br>energy score 0.0900")
    so_far = dict(zip(best.x, best.y, strict=True))
    assert (so_far[0], so_far[2], so_far[4]) == (0.1, 0.1, 0.09)
    assert list(zip(unfinished.x, unfinished.y, strict=True)) == [(1, 0.18), (5, 0.11)]
    assert unfinished.text[0].startswith("trial 1, pruned after 1 epoch<br>")
    [default] = figure.layout.shapes
    assert "lowest energy score is that of trial 4 of 6" in Reader(render(given, None)).text
    assert (default.y0, default.y1) == (0.1, 0.1)


def test_front_joins_its_trials_in_order():
    given = sweep(
        BASE, trial(1, 0.08, lbe=0.07), trial(2, 0.12, lbe=0.05), trial(3, 0.13, lbe=0.08),
        trial(4, 0.2, lbe=0.065, state="pruned"), best="t1", objectives=["energy_score", "lbe"],
        pareto=["t2", "t0", "t1"],
    )  # fmt: skip
    figure = plots.figures(given)["front"]
    [front] = [trace for trace in figure.data if trace.line.shape == "hv"]
    assert list(zip(front.x, front.y, strict=True)) == [(0.08, 0.07), (0.1, 0.06), (0.12, 0.05)]
    assert traces(figure)["best trial"] == [(0.08, 0.07)]
    assert traces(figure)["default"] == [(0.1, 0.06)]
    assert traces(figure)["circle-open"] == [(0.2, 0.065)]
    assert figure.layout.xaxis.title.text == "energy score, coefficients"
    assert figure.layout.yaxis.title.text == "LBE, coefficients"


@pytest.mark.parametrize(
    ("objective", "second"), [("lbe", "energy score"), ("upper_energy", "LBE")]
)
def test_one_objective_is_plotted_against_another_figure(objective, second):
    given = sweep(BASE, WINNER, best="t2", objectives=[objective])
    figure = plots.figures(given)["front"]
    assert figure.layout.yaxis.title.text == f"{second}, coefficients"
    assert not any(trace.line.shape for trace in figure.data)
    assert "Pareto" not in Reader(render(given, None)).text


def test_missed_closures_are_shown_where_they_are_known():
    def with_closures(one):
        return {**one, "curve": [{**point, "missed_closures": 0.25} for point in one["curve"]]}

    assert "Missed closures" not in Reader(render(sweep(BASE, WINNER, best="t2"), None)).text
    given = sweep(with_closures(BASE), with_closures(WINNER), best="t2",
                  objectives=["energy_score", "missed_closures"])  # fmt: skip
    figure = plots.figures(given)["front"]
    assert figure.layout.yaxis.title.text == "missed closures, share of p, b, m"
    text = Reader(render(given, None)).text
    assert "Missed closures" in text
    assert "0.2500" in text


def test_importance_is_drawn_or_said_to_be_missing():
    bars = plots.figures(FULL)["importance-energy_score"]
    assert list(bars.data[0].x) == [75.0, 25.0]
    assert list(bars.layout.yaxis.ticktext) == ["losses.exp", "diffusion.schedule"]
    page = Reader(render(altered(FULL, importance={}), None))
    assert "too few trials have finished" in page.text


def test_a_diverged_trial_does_not_squeeze_the_others():
    usual = [0.1, 0.11, 0.12, 0.13, 0.14]
    assert upper_limit(usual, usual) == 0.14
    # Three times the span from 0.1 to the upper quartile 0.1375 (of six, between 0.13 and 0.14).
    assert upper_limit([*usual, 50.0], [*usual, 50.0]) == pytest.approx(0.1 + 3 * 0.0375)
    assert upper_limit([0.1, 0.1, 7.0], [0.1, 0.1, 0.1]) == 7.0
    trials = [trial(n, score) for n, score in enumerate([*usual, 50.0])]
    figure = plots.figures(sweep(*trials, best="t0"))["front"]
    assert max(x for points in traces(figure).values() for x, _ in points) < 0.3
    assert any("energy score 50.0000" in text for trace in figure.data for text in trace.text)


def test_a_default_outside_the_space_has_its_place():
    given = sweep(BASE, default=DEFAULT | {"losses.exp": 100.0, "diffusion.schedule": "sigmoid"})
    axis = parameter_axis(given, "losses.exp")
    assert [axis.position(v) for v in (0.1, 100.0)] == [0.0, 1.0]
    assert axis.position(0.0) == 0.0  # no logarithm
    assert axis.position(None) is None
    schedule = parameter_axis(given, "diffusion.schedule")
    assert [schedule.position(v) for v in ("linear", "cosine", "sigmoid")] == [0.0, 0.5, 1.0]
    assert schedule.position("other") is None


@given(
    st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=5),
    st.booleans(),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=8),
)
def test_an_axis_keeps_order_and_bounds(values, log, placed):
    axis = number_axis("", values, log=log)
    assert axis.position(min(values)) == 0.0
    known = sorted(value for value in placed if math.isfinite(value))
    places = [axis.position(value) for value in known]
    assert places == sorted(places)
    assert all(0 <= place <= 1 + 1e-9 for place in [*places, *(place for place, _ in axis.ticks)])
    assert [axis.position(value) for value in placed if not math.isfinite(value)] == [None] * (
        len(placed) - len(known)
    )


@pytest.mark.parametrize(
    "given",
    [
        sweep(),
        sweep(BASE, best="t0"),
        sweep(trial(0, state="running")),
        sweep(*(trial(n, state="failed", error="lost") for n in range(3))),
        sweep(BASE, trial(1, None, math.nan), best="t0"),
        sweep(trial(0, 0.1, None), trial(1, math.inf, 0.2), best="t1"),
        sweep(trial(0, math.nan), best="t0", importance={"energy_score": {"losses.exp": None}}),
        sweep(BASE, trial(1, 0.09, lbe=None), best="t1", objectives=["energy_score", "lbe"]),
        sweep(trial(0, 0.1, lbe=None), best="t0", objectives=["energy_score", "lbe"]),
        sweep(BASE, trial(1, 0.09, losses__exp=None), best="t1",
              confirmed=[{"trial": "t1", "seed": 1, "default": {}, "best": {}}]),
        sweep(BASE, best="lost", space={}, wall_seconds=0.0),
        sweep(trial(0, 0.2, state="pruned"), trial(1, 0.1, state="running")),
    ],
)  # fmt: skip
def test_page_of_an_unlucky_sweep(given):
    page = render(given, None)
    text = Reader(page).text
    assert "None" not in text
    assert not {"nan", "inf"} & set(text.lower().split())
    assert "NaN" not in re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1]


def test_data_stay_text():
    trials = [{**one.model_dump(), "params": {EVIL: EVIL}} for one in FULL.trials]
    given = altered(
        FULL, name=EVIL, base=EVIL, space={EVIL: {"kind": "choice", "choices": [EVIL, "b"]}},
        default={EVIL: EVIL}, trials=trials, importance={"energy_score": {EVIL: 1.0}},
    )  # fmt: skip
    page = render(given, EVIL)
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in reader.tags) == 4
    assert EVIL not in page
    # In plots, markup would be plotly's; there it is escaped once more.
    assert "<script>" not in str(figures_of(page))
    assert reader.text.count(EVIL) >= 5  # name, parameter, default, error, base, configuration


def test_a_long_sweep_is_cut_and_says_so():
    given = sweep(*(trial(n, 0.1) for n in range(ROWS + 3)), best="t0")
    text = Reader(render(given, None)).text
    assert f"Shown: the first {ROWS} of {ROWS + 3} trials." in text


def test_page_is_written_and_a_missing_folder_is_named(tmp_path):
    write_sweep(tmp_path / "sweep.html", altered(FULL, name="caf\udce9.yaml"), YAML)
    assert "caf?.yaml" in (tmp_path / "sweep.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="no folder"):
        write_sweep(tmp_path / "nowhere" / "sweep.html", FULL, None)


def test_a_summary_is_read_as_it_was_written_and_as_releases_before_wrote_it():
    written = json.loads(json.dumps(FULL.model_dump(mode="json")))
    assert SweepSummary.model_validate(written) == FULL
    [first, *_] = written["trials"]
    # The keys that readers of sweep.json know.
    assert set(first["curve"][0]) == {
        "epochs", "epoch", "seconds", "lbe", "energy_score", "upper_energy", "missed_closures",
    }  # fmt: skip
    assert first["training_seconds"] == 30.0
    first["curve"][0] |= {"epochs": 1.0, "energy_score": math.inf}
    del first["curve"][0]["missed_closures"]
    assert SweepSummary.model_validate(written).trials[0].curve[0].energy_score is None
