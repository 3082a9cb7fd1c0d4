"""Console report of the runtime's benchmark: speeds of all subjects, and each aim."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from diffusiontalker.benchmarks.console import titled
from diffusiontalker.config import ExportSettings
from diffusiontalker.evaluation import goals
from diffusiontalker.export.artifact import too_much
from diffusiontalker.report.wording import pluralize
from diffusiontalker.summary.run import ExportReport

Json = dict[str, Any]
HEADINGS = ("Threads", "Subject")
NOT_RUN = "not run"
ERRORS = {"lbe": "LBE", "energy_score": "energy score", "streamed_lbe": "LBE of streams"}


def title(seconds: float, threads: int) -> str:
    """``10 min, 2 threads``."""
    return f"{length(seconds)}, {pluralize(threads, 'thread')}"


def length(seconds: float) -> str:
    """``10 s``, ``10 min``."""
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"


def rows(report: Json) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: frames/s of every subject and number of threads, by length; the ratio to
    HuBERT at the longest recording that HuBERT was run on, and the size."""
    lengths: Sequence[float] = report["settings"]["lengths"]
    speeds = {(s["threads"], s["subject"], s["seconds"]): s for s in report["speeds"]}
    longest = max((s["seconds"] for s in speeds.values() if s["times_hubert"]), default=lengths[0])
    headings = [*HEADINGS, *map(length, lengths), f"x HuBERT,\n{length(longest)}", "MB"]
    cells = []
    for threads in report["settings"]["threads"]:
        for name, size in report["sizes_mb"].items():
            found = [speeds.get((threads, name, seconds)) for seconds in lengths]
            ratio = (speeds.get((threads, name, longest)) or {}).get("times_hubert")
            cells.append([
                str(threads),
                name,
                *(NOT_RUN if one is None else number(one["frames_per_second"]) for one in found),
                NOT_RUN if ratio is None else number(ratio),
                f"{size:,.1f}",
            ])  # fmt: skip
    return headings, cells


def number(value: float) -> str:
    """Three digits at least: ``25,310``, ``7.53``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(report: Json) -> Table:
    """``rows`` for the console."""
    out = titled(
        "Frames of animation per second, from the waveform to the coefficients",
        caption="(HuBERT + GRU) x n: HuBERT, too, runs in each of the n steps",
        caption_justify="left",
    )
    headings, cells = rows(report)
    for heading in headings:
        out.add_column(heading, justify="left" if heading in HEADINGS else "right")
    for before, row in zip([None, *cells], cells, strict=False):
        if before is not None and before[0] != row[0]:
            out.add_section()
        out.add_row(*row)
    return out


def lines(report: Json) -> list[str]:
    """Precisions, streaming, memory, import, the machine, and the aims, one line each."""
    exported = [
        f"{precision:<13}{growth(found)}"
        for precision, found in report["exports"].items()
        if found.growth
    ]
    return [*exported, *facts(report), *map(goals.line, report["aims"])]


def facts(report: Json) -> list[str]:
    """Streaming, memory, import and machine, one line each."""
    streaming, memory, machine = report["streaming"], report["memory"], report["machine"]
    before, after = (report["load_average"][key][0] for key in ("before", "after"))
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in ("processor", "cores"))
    return [
        "streaming    "
        + (
            f"a push of 40 ms takes {streaming['p50_ms']:.2f} ms (p95 {streaming['p95_ms']:.2f}, "
            f"p99 {streaming['p99_ms']:.2f}, at most {streaming['max_ms']:.2f}); "
            f"{streaming['streams_per_core']:.0f} streams per core"
            if streaming
            else "not measured: this student takes whole recordings only"
        ),
        "memory       "
        + (
            f"{memory['minute_mb']:,.0f} MB at most with 1 min, {memory['hour_mb']:,.0f} MB with "
            f"1 h, whose audio takes {memory['audio_mb']:,.0f} MB"
            if memory
            else "not measured: that needs Linux"
        ),
        f"import       {report['import_seconds']:.2f} s",
        f"machine      {machine['processor']}, {machine['cores']} cores, load average {before:.1f} "
        f"before and {after:.1f} after",
        f"versions     {versions}",
    ]


def growth(found: ExportReport) -> str:
    """What a precision costs, and whether an export would be refused for it."""
    shares = ", ".join(f"{ERRORS[key]} {share:+.2%}" for key, share in found.growth.items())
    why = too_much(found, ExportSettings())
    more = f": jobs/export.py refuses it ({why}); only timed here" if why else ""
    clips, changed = found.clips, found.voices_changed
    return (
        f"{shares} on {clips} clips of validation; another voice is recognised in {changed}{more}"
    )
