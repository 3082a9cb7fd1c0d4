"""The splits, rows and floors of a run's summary, as its pages show them."""

from diffusiontalker.summary.run import Errors, Row, RunSummary

SPLITS = {
    "test_seen": "New sentences, known speakers",
    "test_unseen": "New sentences, unknown speakers",
}
"""Titles of the test splits."""
FLOOR_TITLES = {
    "recording": "Recordings",
    "sampling": "Sampling floor",
    "regression": "Regression floor",
}
"""Titles of the floors."""
FLOOR_TEXTS = {
    "Recordings": "What is measured of a face alone, in the recordings.",
    "Sampling floor": "What a perfect generator scores against one recording: the same sentence "
    "performed once more. A lower error is a sign of a blurred face.",
    "Regression floor": "What the expected face, the average of all performances, scores: the "
    "lowest error that a model can have, but such a face hardly moves its brows. Under the "
    "energy score it is no floor: there the sampling floor is the lowest.",
}
"""What the floors mean."""


def splits_of(summary: RunSummary) -> dict[str, str]:
    """The splits that the rows name, in the order of ``SPLITS``, with their titles."""
    used = dict.fromkeys(row.split for row in summary.rows)
    names = [*(name for name in SPLITS if name in used), *(n for n in used if n not in SPLITS)]
    return {name: SPLITS.get(name, name) for name in names}


def rows_of(summary: RunSummary, split: str) -> list[Row]:
    """The rows of a split: undistilled first, then the students, most steps first."""
    rows = [row for row in summary.rows if row.split == split]
    return sorted(rows, key=lambda row: (row.distilled, -row.steps, row.name))


def floors_of(summary: RunSummary, split: str) -> dict[str, Errors]:
    """The floors of a split that are known, by the keys of ``FLOOR_TITLES``."""
    floors = summary.floor.get(split)
    if floors is None:
        return {}
    named = {
        "recording": floors.recording,
        "sampling": floors.sampling,
        "regression": floors.regression,
    }
    return {kind: errors for kind, errors in named.items() if errors is not None}
