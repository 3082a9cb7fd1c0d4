"""The papers' tables: our models, their ablations and the rivals, measured alike."""

from diffusiontalker import cli, config, preflight
from diffusiontalker.config import CompareSettings


def compare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Fill the tables of a paper with measured figures, ours beside the published ones.

    Trains the reference run, its ablations and the rivals on the same shards with several seeds,
    and writes comparison.json, .md, .csv, .tex and .html into the output folder, anew after each
    seed. Killed at any point, the same command resumes.

    Example: python jobs/compare.py --config configs/papers/v2-min.yaml comparison.preset=small
    """
    settings = config.load_as(CompareSettings, config_file, overrides or [])
    preflight.check(settings, config_file)
    from diffusiontalker import cluster

    with cluster.session():
        from diffusiontalker.comparison import writers
        from diffusiontalker.comparison.run import compare as run

        cli.show(*writers.console_tables(run(settings)), f"page  {settings.output}/{writers.PAGE}")


if __name__ == "__main__":
    cli.main(compare, resumes=True)
