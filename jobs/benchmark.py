"""Benchmarks on this machine: data, training, runtime, people, server, capacity and others."""

from diffusiontalker import cli, config, preflight
from diffusiontalker.benchmarks.console import results


def data(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Data into shards and shards into a training step: throughput, waiting time and memory.

    Ray Data beside a PyTorch DataLoader on the same shards; with s3=s3://bucket/prefix from there
    too. Takes some minutes and under a gigabyte in the temporary folder; writes data.json into out.
    Example: python jobs/benchmark.py data out=runs/benchmark
    """
    settings = config.load_as(config.DataBenchmarkSettings, config_file, overrides or [])
    cli.show(*results("data", settings, "data.json"))


def train(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """The training loop through Ray Train, beside the same steps in a bare PyTorch loop.

    Steps a second, start-up and memory by the number of workers; checkpoints; features cached and
    computed. Takes some five minutes; writes train.json into out.
    Example: python jobs/benchmark.py train out=runs/benchmark
    """
    settings = config.load_as(config.TrainBenchmarkSettings, config_file, overrides or [])
    cli.show(*results("train", settings, "train.json"))


def runtime(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """A run's last student, waveform to coefficients: throughput, latency, memory and size.

    In PyTorch and as artifacts, beside HuBERT-base and what runs on it. Takes some ten minutes;
    writes runtime.{json,html}. Example: python jobs/benchmark.py runtime run=runs/quickstart
    """
    settings = config.load_as(config.RuntimeBenchmarkSettings, config_file, overrides or [])
    cli.show(*results("runtime", settings, "runtime.{json,html}"))


def human(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """An artifact on recordings of people with known phones: lips, jaw in pauses, and blinks.

    Writes human.{json,html}; docs/metrics.md has the measures and where recordings come from.
    Example: python jobs/benchmark.py human recordings=recordings
    """
    settings = config.load_as(config.HumanBenchmarkSettings, config_file, overrides or [])
    cli.show(*results("human", settings, "human.{json,html}"))


def look_ahead(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """The cost of less look-ahead: students of 0 to 160 ms, and of whole recordings.

    Starts from the run of the same settings, or makes its own; then trains a teacher and rounds for
    each. Writes look_ahead.json into the run's folder, which jobs/distill.py puts into the report.
    Example: python jobs/benchmark.py look-ahead --config configs/quickstart.yaml
    """
    settings = config.load(config_file, overrides or [])
    preflight.check(settings, config_file)
    from diffusiontalker import cluster
    from diffusiontalker.benchmarks.look_ahead import run, table

    with cluster.session():
        cli.show(table(run(settings)))


def robustness(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """An artifact's lips through rooms, microphones and lines: closure, rounding and LBE of each.

    Animates the test splits of the artifact's run, or of corpus=FOLDER. Takes a minute; writes
    robustness.json. Example: python jobs/benchmark.py robustness model=runs/quickstart/student
    """
    settings = config.load_as(config.RobustnessBenchmarkSettings, config_file, overrides or [])
    from diffusiontalker.benchmarks.robustness import run, table

    cli.show(table(run(settings)), f"all figures  {settings.out}/robustness.json")


def serve(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """A served artifact under load: requests and streams a second, latencies, ten minutes of both.

    Starts the real server, with RAY_SERVE_ENABLE_HA_PROXY=1 behind HAProxy. Takes some 20 minutes;
    writes serve.json. Example: python jobs/benchmark.py serve model=runs/quickstart/student
    """
    settings = config.load_as(config.ServeBenchmarkSettings, config_file, overrides or [])
    cli.show(*results("serving", settings, "serve.json"))


def capacity(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Replicas, nodes and price for a number of live streams, by a formula and by simulation.

    Takes some seconds; writes capacity.json. What a replica holds is given, or read from what serve
    wrote. Example: python jobs/benchmark.py capacity figures=runs/benchmark/serve.json
    """
    settings = config.load_as(config.CapacityBenchmarkSettings, config_file, overrides or [])
    from diffusiontalker.benchmarks.capacity import run, table

    cli.show(table(run(settings)), f"all figures  {settings.out}/capacity.json")


def sweep(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """A sweep beside random search and one without pruning; sweep=FILE names its settings.

    Writes sweep.json into out. Example: python jobs/benchmark.py sweep trials=10
    """
    settings = config.load_as(config.SweepBenchmarkSettings, config_file, overrides or [])
    from diffusiontalker import cluster
    from diffusiontalker.benchmarks.sweep import run, table, variants

    variants(settings)
    with cluster.session():
        cli.show(table(run(settings)), f"all figures  {settings.out}/sweep.json")


if __name__ == "__main__":
    cli.main([data, train, runtime, human, look_ahead, robustness, serve, capacity, sweep])
