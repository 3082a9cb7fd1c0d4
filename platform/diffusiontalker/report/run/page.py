"""The page of a run: one HTML file that holds everything and asks the network for nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diffusiontalker import storage
from diffusiontalker.animation.facecap import CREDIT
from diffusiontalker.evaluation import goals
from diffusiontalker.report import metric_columns
from diffusiontalker.report.face import face_data, wav_base64
from diffusiontalker.report.metric_columns import (
    COLUMNS,
    COSTS,
    FLOORS,
    Column,
    duration,
    flat,
    plain,
)
from diffusiontalker.report.prepared.plots import bars
from diffusiontalker.report.run import plots
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.report.run.verdict import headline, lead, standing, verdict, what_ran

Json = dict[str, Any]
QUALITIES = tuple(column.key for column in COLUMNS if column.key not in COSTS)
"""Columns of the tables of results: with the costs they would not fit a screen."""


def write_report(
    path: Path, summary: Json, histories: dict[str, list[Json]], sample: Sample
) -> None:
    """Write the page: verdict, goals, speaking head, results, plots, corpus and environment.

    Args:
        path: where, ``report.html``.
        summary: the content of ``summary.json``; any number may be None.
        histories: stage -> points; training points hold ``step``, ``loss`` and its parts,
            validation points ``step`` and ``val_*``.
        sample: the held-out sentence that the head speaks.

    Raises:
        UserError: the folder is missing or not writable, or the packages of the head are not
            installed.
    """
    storage.write_bytes(storage.location(path), render(summary, histories, sample).encode("utf-8"))


def render(
    summary: Mapping[str, Any], histories: Mapping[str, Sequence[Mapping[str, Any]]], sample: Sample
) -> str:
    """The page's HTML; the arguments are ``write_report``'s."""
    groups = plots.figures(summary, histories, sample)
    named = {name: figure for *_, group in groups for name, figure in group}
    named["coefficients"] = plots.coefficient_curves(sample)
    seconds = summary.get("seconds") or {}
    if timed := [(stage, value) for stage, value in seconds.items() if value is not None]:
        named["stages"] = bars(timed)
    splits, settings = metric_columns.splits_of(summary), summary.get("settings")
    return fill(
        "page.html.j2",
        ["style.css"],
        ["page.js", "face.bundle.js"],
        named,
        {"plain": plain, "duration": duration, "state": goals.state, "reached": goals.reached,
         "why_open": goals.why_open},
        headline=headline(summary),
        lead=lead(summary),
        verdict=verdict(summary),
        what_ran=what_ran(summary),
        goals=summary.get("goals") or [],
        standing=standing(summary),
        streaming=(summary.get("artifact") or {}).get("streaming"),
        look_ahead=summary.get("look_ahead") or [],
        tables=[table(summary, split) for split in splits],
        costs=table(summary, next(iter(splits)), COSTS) if splits else None,
        glossary=COLUMNS,
        floor_texts=metric_columns.FLOOR_TEXTS,
        groups=groups,
        plot_key=plots.KEY,
        face=face_data(sample),
        sample=sample,
        audio=wav_base64(sample.audio, sample.sample_rate),
        credit=CREDIT,
        corpus=corpus_facts(summary.get("corpus") or {}),
        corpus_splits=corpus_splits(summary.get("corpus") or {}),
        environment=flat(summary.get("environment") or {}),
        settings=yaml.safe_dump(settings, sort_keys=False) if settings else None,
        seconds=seconds,
        total=sum(value for _, value in timed),
    )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One figure of a results table: as printed, as sorted, and whether it is the best."""

    text: str
    value: float | None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """The results of one split: floors first, then the models."""

    title: str
    columns: tuple[Column, ...]
    floors: tuple[tuple[str, tuple[Cell, ...]], ...]
    rows: tuple[tuple[Json, tuple[Cell, ...]], ...]


def table(summary: Mapping[str, Any], split: str, keys: Sequence[str] = QUALITIES) -> Table:
    """Every row of a split; the best of each column is marked, ties as printed alike."""
    rows = metric_columns.rows_of(summary, split)
    shown = tuple(metric_columns.BY_KEY[key] for key in keys)
    best = {column.key: column.best([row.get(column.key) for row in rows]) for column in shown}

    def cells(values: Mapping[str, Any], of_model: bool) -> tuple[Cell, ...]:
        out = []
        for column in shown:
            value = values.get(column.key)
            text = column.show(value)
            out.append(
                Cell(text, value, of_model and value is not None and text == best[column.key])
            )
        return tuple(out)

    floors = (summary.get("floor") or {}).get(split) or {}
    return Table(
        metric_columns.splits_of(summary)[split],
        shown,
        tuple(
            (title, cells(floors[kind], False))
            for kind, title in FLOORS.items()
            if floors.get(kind)
        ),
        tuple((row, cells(row, True)) for row in rows),
    )


def corpus_facts(corpus: Mapping[str, Any]) -> dict[str, str]:
    """What the corpus holds, less what stands in the table of splits."""
    rest = {k: v for k, v in corpus.items() if k not in ("clips", "minutes_by_split")}
    return {name.replace("_", " "): text for name, text in flat(rest).items()}


def corpus_splits(corpus: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(split, clips, minutes) of every split."""
    clips, minutes = corpus.get("clips") or {}, corpus.get("minutes_by_split") or {}
    names = dict.fromkeys([*clips, *minutes])
    lengths = {name: f"{value:,.1f}" for name, value in minutes.items() if value is not None}
    return [(name, plain(clips.get(name)), plain(lengths.get(name))) for name in names]


def fill(
    template: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    figures: Mapping[str, go.Figure],
    filters: Mapping[str, Callable[..., Any]],
    palette: Mapping[str, tuple[str, str]] = plots.PALETTE,
    **content: Any,
) -> str:
    """The HTML of a template that extends ``base.html.j2``, with all that it needs inside it.

    Args:
        template: its name; ``styles`` and ``scripts`` are names of files likewise.
        figures: plots by the name of their place on the page.
        filters: what the template may pipe values through.
        palette: colours on light and on dark ground; styles know them as ``--name``.
        content: whatever else the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(
        style=Markup("".join(asset(name) for name in styles)),
        scripts=[Markup(asset(name)) for name in scripts],
        plotly=Markup(get_plotlyjs()),
        palette=palette,
        figures={name: tree(figure) for name, figure in figures.items()},
        **content,
    )


def asset(name: str) -> str:
    """A file that lies beside this one: template, style or script."""
    return (resources.files("diffusiontalker.report") / name).read_text(encoding="utf-8")


def tree(figure: go.Figure) -> Json:
    """A figure as plain values, as the page's script draws it."""
    # Not orjson, which plotly would take where it is: names may hold what no encoding knows.
    plain: Json = json.loads(figure.to_json(engine="json"))
    return plain
