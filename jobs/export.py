"""Export a trained student again: in another precision, or of another step count."""

from diffusiontalker import cli, config


def export(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Export a student of a finished run.

    The artifact is compared with the PyTorch model, and refused if its errors on validation grow by
    more than max_growth, or if it detects another identity or emotion in more than max_changed of
    the clips.

    Example: python jobs/export.py run=runs/quickstart out=student-fp16 precision=fp16
    """
    settings = config.load_as(config.ExportJobSettings, config_file, overrides or [])
    from diffusiontalker.pipeline.finished import export_again

    print(*export_again(settings), sep="\n")


if __name__ == "__main__":
    cli.main(export)
