"""Console output of the benchmarks that are packages of their own."""

from importlib import import_module

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
