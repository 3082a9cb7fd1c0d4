"""The page of a run, ``report.html``."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from diffusiontalker.animation.facecap import CREDIT
from diffusiontalker.evaluation import goals
from diffusiontalker.report import html
from diffusiontalker.report.bars import duration_bars
from diffusiontalker.report.metric_columns import COLUMNS, COSTS
from diffusiontalker.report.run import plots
from diffusiontalker.report.run.face import face_data, wav_base64
from diffusiontalker.report.run.headline import goal_counts, headline, lead, what_ran
from diffusiontalker.report.run.plots import History
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.report.run.tables import corpus_facts, corpus_splits, table, tables
from diffusiontalker.report.run.verdict import verdict
from diffusiontalker.report.splits import FLOOR_TEXTS, splits_of
from diffusiontalker.report.wording import duration, flat, plain
from diffusiontalker.summary.run import RunSummary


def write_report(
    path: Path, summary: RunSummary, histories: Mapping[str, History], sample: Sample
) -> None:
    """Write the page: verdict, goals, animated head, results, plots, corpus and environment.

    Args:
        path: of ``report.html``.
        summary: of the run.
        histories: losses by stage.
        sample: the held-out sentence that the head speaks.

    Raises:
        UserError: the folder is missing or not writable, or the packages of the head are not
            installed.
    """
    html.write(path, render(summary, histories, sample))


def render(summary: RunSummary, histories: Mapping[str, History], sample: Sample) -> str:
    """The page's HTML; the arguments are ``write_report``'s."""
    groups = plots.figures(summary, histories)
    named = {name: figure for *_, group in groups for name, figure in group}
    named["coefficients"] = plots.coefficient_curves(sample)
    if summary.seconds:
        named["stages"] = duration_bars(list(summary.seconds.items()))
    splits, settings = list(splits_of(summary)), summary.settings
    return html.fill(
        "run/page.html.j2",
        named,
        {"plain": plain, "duration": duration, "state": goals.state, "reached": goals.reached,
         "why_open": goals.why_open},
        scripts=["face.bundle.js"],
        headline=headline(summary),
        lead=lead(summary),
        verdict=verdict(summary),
        what_ran=what_ran(summary),
        goals=summary.goals,
        goal_counts=goal_counts(summary.goals),
        has_artifact=summary.artifact is not None,
        streaming=summary.artifact.streaming if summary.artifact else None,
        look_ahead=summary.look_ahead,
        tables=tables(summary),
        costs=table(summary, splits[0], COSTS) if splits else None,
        glossary=COLUMNS,
        floor_texts=FLOOR_TEXTS,
        groups=groups,
        plot_key=plots.KEY,
        face=face_data(sample),
        sample=sample,
        audio=wav_base64(sample.audio, sample.sample_rate),
        credit=CREDIT,
        corpus=corpus_facts(summary.corpus),
        corpus_splits=corpus_splits(summary.corpus),
        environment=flat(summary.environment),
        settings=yaml.safe_dump(settings, sort_keys=False) if settings else None,
        seconds=summary.seconds,
        total=sum(summary.seconds.values()),
    )  # fmt: skip
