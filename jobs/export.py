"""A trained student as an artifact again: in another precision, or of another step count."""

from diffusiontalker import cli, config


def export(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Export a student of a finished run: run=runs/quickstart out=student-int8 precision=int8.

    The artifact is checked against the PyTorch model, and refused if its errors on validation grow
    by more than max_growth, or if it hears other voices in more than max_changed of the clips.
    """
    settings = config.load_as(config.ExportJobSettings, config_file, overrides or [])
    from diffusiontalker.pipeline import export_again

    print(*export_again(settings), sep="\n")


if __name__ == "__main__":
    cli.main(export)
