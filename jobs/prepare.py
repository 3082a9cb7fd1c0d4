"""The corpus as Parquet shards."""

from diffusiontalker import cli, cluster, config


def prepare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Make the procedural corpus of a configuration, or check the shards it names."""
    settings = config.load(config_file, overrides or [])
    with cluster.session():
        from diffusiontalker import pipeline

        data = pipeline.corpus_data(pipeline.Run(settings))
    print(f"{data.folder}: {data.manifest.seconds() / 60:.1f} minutes")


if __name__ == "__main__":
    cli.main(prepare)
