"""Hyperparameter search on the validation split with Ray Tune and Optuna."""

from diffusiontalker import cli, config


def sweep(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Search loss weights, temperature, learning rate or any other setting of a run.

    Every trial trains the teacher, a round or the whole chain, and only the validation split ranks
    it. Writes sweep.html, best.yaml (for jobs/distill.py --config), sweep.json, study.db (for
    optuna-dashboard) and TensorBoard's logs into the output folder. Killed at any point, the same
    command resumes; more trials=... continue a finished one.

    Example: python jobs/sweep.py --config configs/sweep-quick.yaml output=runs/my-sweep trials=20
    """
    settings = config.load_as(config.SweepSettings, config_file, overrides or [])
    from diffusiontalker import cluster
    from diffusiontalker.tuning import results
    from diffusiontalker.tuning import sweep as tuning

    tuning.begin(settings)  # reports a mistake before Ray starts
    with cluster.session():
        results.print_results(settings, tuning.run(settings))


if __name__ == "__main__":
    cli.main(sweep, resumes=True)
