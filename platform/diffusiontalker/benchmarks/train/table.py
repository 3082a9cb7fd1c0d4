"""Console output of the training benchmark."""

from typing import Any

from rich.table import Table

from diffusiontalker.benchmarks.console import titled
from diffusiontalker.benchmarks.train.run import BARE
from diffusiontalker.evaluation import goals

Json = dict[str, Any]


def table(report: Json) -> Table:
    """Steps a second of every kind of loop, also as a share of the bare one's; start, memory."""
    out = titled(
        f"The teacher's training step, {report['batch']} windows over all workers",
    )
    out.add_column("Loop")
    for heading in ("Steps/s", "Of bare", "To the first step", "Memory"):
        out.add_column(heading, justify="right")
    bare = next(c["steps_per_second"] for c in report["cases"] if c["loop"] == BARE)
    for case in report["cases"]:
        rate = case["steps_per_second"]
        out.add_row(
            case["loop"], f"{rate:.1f}", f"{rate / bare:.2f}", f"{case['start_seconds']:.1f} s",
            f"{case['memory_mb']:,.0f} MB",
        )  # fmt: skip
    return out


def lines(report: Json) -> list[str]:
    """Checkpoint, features, the machine and the goal, one line each."""
    own, cached, machine = report["checkpoint"], report["features"], report["machine"]
    before, after = (report["load_average"][key][0] for key in ("before", "after"))
    return [
        f"checkpoint   {own['mb']:.1f} MB, written in {own['write_seconds']:.2f} s, stored "
        f"meanwhile in {own['store_seconds']:.2f} s, loaded in {own['load_seconds']:.2f} s",
        f"features     of {cached['speech_seconds'] / 60:.0f} minutes by {cached['encoder']}: read "
        f"in {cached['read_seconds']:.2f} s, computed in {cached['compute_seconds']:.1f} s",
        f"machine      {machine['processor']}, {machine['cores']} cores, {report['threads']} "
        f"thread(s) per worker, load average {before:.1f} before and {after:.1f} after",
        *map(goals.line, report["aims"]),
    ]
