"""The whole chain: corpus, teacher, students of half the steps round by round, report, artifact."""

from diffusiontalker import cli, config, preflight


def distill(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Distil a teacher into a student of few steps.

    Generates or reads the corpus, trains the teacher and every student, evaluates them, and
    writes summary.json, report.html, student/ and sample/ into the output folder. Killed at any
    point, the same command resumes.

    Example: python jobs/distill.py --config configs/quickstart.yaml output=runs/mine
    """
    settings = config.load(config_file, overrides or [])
    preflight.check(settings, config_file)
    from diffusiontalker import cluster

    with cluster.session():
        from diffusiontalker.pipeline import distill as chain
        from diffusiontalker.pipeline.finished import conclude

        conclude(chain.distill(settings))


if __name__ == "__main__":
    cli.main(distill, resumes=True)
