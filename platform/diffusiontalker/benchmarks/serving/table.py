"""Console output of the serving benchmark: a table of all loads, and each goal."""

from typing import Any

from rich.table import Table

from diffusiontalker.benchmarks.console import titled
from diffusiontalker.evaluation import goals
from diffusiontalker.report.wording import pluralize

Json = dict[str, Any]
_HEADINGS = ("Load", "Replicas", "Batches", "a second", "p50 ms", "p95 ms", "p99 ms", "Refused",
             "Failed")  # fmt: skip


def table(report: Json) -> Table:
    """Recordings in closed and open loop, then streams in pushes of 40 ms."""
    seconds = report["settings"]["recording"]
    out = titled(
        f"Recordings of {seconds:g} s, and streams in pushes of 40 ms, through " + report["proxy"],
    )
    for number, heading in enumerate(_HEADINGS):
        out.add_column(heading, justify="left" if number == 0 else "right")
    for case in report["recordings"]:
        out.add_row(_load(case), str(case["replicas"]), "", *_figures(case))
    out.add_section()
    for case in report["streams"]:
        mark = "" if case["held"] else ", not held"
        name = f"{case['streams']} streams{mark}"
        out.add_row(name, str(case["replicas"]), "yes" if case["batch"] > 1 else "no",
                    *_figures(case))  # fmt: skip
    return out


def lines(report: Json) -> list[str]:
    """The runtime alone, the soak test, the machine and the goals, one line each."""
    machine = report["machine"]
    before, after = (report["load_average"][key][0] for key in ("before", "after"))
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in ("processor", "cores"))
    alone = report["alone"]
    own = sorted({case["replicas"] for case in report["recordings"] if case["own_cores"]})
    share = "that callers, proxy and replicas share"
    if own:
        many = " or ".join(map(str, own))
        share += f", but for one each that replicas have to themselves where there are {many}"
    found = [
        f"one caller   {alone['served_ms']:.1f} ms at p50, without a server "
        f"{alone['runtime_ms']:.1f} ms, and {alone['in_a_row_ms']:.1f} ms without a rest in "
        f"between; {alone['turns']} turns"
    ]
    if (soak := report.get("soak")) is not None:
        found.append(
            f"soak         {soak['seconds']:g} s at {soak['share']:.0%}: {soak['answered']} "
            f"answered, {soak['refused']} refused, {soak['failed']} failed, p99 "
            f"{soak['p99_ms']:.0f} ms, {soak['mb_before']:.0f} MB before and "
            f"{soak['mb_after']:.0f} MB after"
        )
    return [
        *found,
        f"machine      {machine['processor']}, {machine['cores']} cores {share}, load average "
        f"{before:.1f} before and {after:.1f} after",
        f"versions     {versions}",
        *map(goals.line, report["aims"]),
    ]


def _load(case: Json) -> str:
    if case["loop"] == "closed":
        return pluralize(case["callers"], "caller")
    return f"open, {case['share']:.0%} of the most"


def _figures(case: Json) -> tuple[str, ...]:
    times = (case[key] for key in ("p50_ms", "p95_ms", "p99_ms"))
    return (
        f"{case['per_second']:,.1f}",
        *("–" if value is None else f"{value:.1f}" for value in times),
        str(case["refused"]),
        str(case["failed"]),
    )
