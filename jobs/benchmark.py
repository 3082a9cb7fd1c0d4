"""Measurements on this machine, with sets made on the spot."""

from rich.console import Console

from diffusiontalker import cli, config


def data(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Data into shards and shards into a training step: speed, waiting and memory.

    Ray Data beside a PyTorch DataLoader on the same shards; with s3=s3://bucket/prefix from there
    too. Takes some minutes and under a gigabyte in the temporary folder; writes data.json into out.
    """
    settings = config.load_as(config.DataBenchmarkSettings, config_file, overrides or [])
    from diffusiontalker.benchmarks.data import run
    from diffusiontalker.benchmarks.table import lines, table

    report = run(settings)
    Console().print(table(report))
    print(*lines(report), f"all figures  {settings.out}/data.json", sep="\n")


if __name__ == "__main__":
    cli.main([data])
