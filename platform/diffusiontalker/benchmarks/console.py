"""Console output of the benchmarks that are packages of their own."""

from importlib import import_module
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker.config import (
    DataBenchmarkSettings,
    HumanBenchmarkSettings,
    RuntimeBenchmarkSettings,
    ServeBenchmarkSettings,
    TrainBenchmarkSettings,
)

AnySettings = (
    DataBenchmarkSettings
    | HumanBenchmarkSettings
    | RuntimeBenchmarkSettings
    | ServeBenchmarkSettings
    | TrainBenchmarkSettings
)


def titled(title: str, **more: Any) -> Table:
    """An empty table of a benchmark."""
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
        **more,
    )  # fmt: skip


def results(package: str, settings: AnySettings, files: str) -> tuple[Table, *tuple[str, ...]]:
    """Run the benchmark of a package, which is imported only now; its table, and lines below it.

    Args:
        package: its name below ``benchmarks``.
        settings: of the benchmark.
        files: what it writes into ``settings.out``.
    """
    run, table = (
        import_module(f"diffusiontalker.benchmarks.{package}.{module}")
        for module in ("run", "table")
    )
    report = run.run(settings)
    return table.table(report), *table.lines(report), f"all figures  {settings.out}/{files}"
