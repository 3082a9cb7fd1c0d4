"""The teacher alone, for work on the model; jobs/distill.py goes on from what it leaves."""

from diffusiontalker import cli, cluster, config, storage


def train(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Train the teacher of a configuration, with all that it needs before."""
    settings = config.load(config_file, overrides or [])
    # Before Ray starts, so that wrong credentials or a missing bucket are said in seconds.
    storage.make_folder(storage.location(settings.output))
    with cluster.session():
        from diffusiontalker import pipeline

        run = pipeline.Run(settings)
        folder = pipeline.train_teacher(run, pipeline.prepare_data(run))
    print(f"teacher: {folder}")


if __name__ == "__main__":
    cli.main(train)
