"""Summaries of runs, made by hand."""

from typing import Any

from diffusiontalker.summary.run import Row, RunSummary

CORPUS = {"source": "procedural", "minutes": 30.0, "speakers": 12, "emotions": ["happiness"]}
ARTIFACT = {"fps": 26_000.0, "size_mb": 3.3, "params_m": 0.9, "threads": 1}
STREAMING = {
    "look_ahead_ms": 70.0, "clips": 32, "seconds_per_clip": 4.16, "lbe_whole": 0.2511,
    "lbe_pinned": 0.2512, "lbe": 0.2634, "pinned_growth": 0.0, "growth": 0.029,
    "settled_growth": 0.03,
}  # fmt: skip


def content(**more: Any) -> dict[str, Any]:
    """A ``summary.json`` of no rows, with these keys replaced or added."""
    return {"corpus": CORPUS, "rows": [], "shards": "/shards", "models": [], **more}


def run(*rows: Row, **more: Any) -> RunSummary:
    """The same, typed, with these rows."""
    return RunSummary.model_validate(content(rows=rows, **more))


def row(name: str, steps: int, split: str = "test_seen", **metrics: Any) -> Row:
    """A row of these metrics, the others not known; all but the teacher's are distilled."""
    return Row(name=name, steps=steps, split=split, distilled=name != "teacher", **metrics)
