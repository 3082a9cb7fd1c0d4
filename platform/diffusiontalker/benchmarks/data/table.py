"""Console output of the data benchmark: a table of all cases, and each goal."""

from typing import Any

from rich.table import Table

from diffusiontalker.benchmarks.console import titled
from diffusiontalker.evaluation import goals

Json = dict[str, Any]
_NAMES = {"ray": "Ray Data", "torch": "PyTorch"}
_FIGURES = ("Windows/s", "Frames/s", "Waits", "Padding", "Start")


def table(report: Json) -> Table:
    """Both loaders for every storage, number of workers and consumer, and the ratio of their frames
    per second."""
    out = titled(
        f"Batches of {report['batch']} windows of {report['window']} frames",
    )
    for heading in ("Shards", "Workers", "Into", "Loader"):
        out.add_column(heading)
    for heading in _FIGURES:
        out.add_column(heading, justify="right")
    for ratio in report["ratios"]:
        same = {key: ratio[key] for key in ("storage", "workers", "step")}
        head = (ratio["storage"], str(ratio["workers"]), "step" if ratio["step"] else "nothing")
        for case in report["cases"]:
            if same.items() <= case.items():
                out.add_row(*head, _NAMES[case["loader"]], *_figures(case))
        out.add_row(*head, "ratio", "", f"{ratio['value']:.2f}", style="bold")
        out.add_section()
    return out


def _figures(case: Json) -> tuple[str, ...]:
    return (
        f"{case['windows_per_second']:.1f}",
        f"{case['frames_per_second']:,.0f}",
        f"{case['waiting_share']:.1%}" if case["step"] else "",
        f"{case['padding_share']:.1%}",
        f"{case['start_seconds']:.1f} s",
    )


def lines(report: Json) -> list[str]:
    """Memory, preparation, the machine, and the goals, one line each."""
    memory, prepare, machine = report["memory"], report["prepare"], report["machine"]
    before, after = (report["load_average"][key][0] for key in ("before", "after"))
    cores = machine["cores"]
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in ("processor", "cores"))
    return [
        f"memory       {memory['set_mb']:,.0f} MB at most with the set, {memory['larger_mb']:,.0f} "
        f"MB with {report['settings']['times']} times as much",
        f"prepare      {prepare['speech_seconds'] / 60:.0f} minutes of speech at "
        f"{prepare['one_core']:.0f} x real time on one core (by its processor time "
        f"{prepare['one_core_by_processor_time']:.0f} x), {prepare['command']:.0f} x by the whole "
        f"command on {cores}",
        f"machine      {machine['processor']}, {cores} cores, {report['threads']} thread(s) per "
        f"worker, load average {before:.1f} before and {after:.1f} after",
        f"versions     {versions}",
        *map(goals.line, report["aims"]),
    ]
