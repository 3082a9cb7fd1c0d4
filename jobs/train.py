"""Train the teacher alone; jobs/distill.py continues from its result."""

from diffusiontalker import cli, config, preflight


def train(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Train the teacher of a configuration, after the stages that it depends on.

    Example: python jobs/train.py --config configs/quickstart.yaml output=runs/mine
    """
    settings = config.load(config_file, overrides or [])
    preflight.check(settings, config_file, measured=False)
    from diffusiontalker import cluster

    with cluster.session():
        from diffusiontalker.pipeline.data import prepare_data
        from diffusiontalker.pipeline.progress_file import planned
        from diffusiontalker.pipeline.run import Run
        from diffusiontalker.pipeline.training import train_teacher

        run = Run(settings, planned(settings, students=False))
        run.describe()
        folder = train_teacher(run, prepare_data(run))
    print(f"teacher: {folder}")


if __name__ == "__main__":
    cli.main(train, resumes=True)
