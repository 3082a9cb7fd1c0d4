"""Measure one model on any prepared set: other speakers, another corpus, another language."""

from diffusiontalker import cli, config


def evaluate(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Measure an artifact, or with run=... a teacher or a student in PyTorch, on a set of shards.

    Prints every metric beside that of the recordings, and writes evaluation.json into out.

    Example: python jobs/evaluate.py model=shipped shards=shards
    """
    settings = config.load_as(config.EvaluateJobSettings, config_file, overrides or [])
    from diffusiontalker import cluster

    with cluster.session():
        from diffusiontalker.pipeline.any_shards import FIGURES, run, tables

        cli.show(*tables(run(settings)), f"all figures  {settings.out}/{FIGURES}")


if __name__ == "__main__":
    cli.main(evaluate)
