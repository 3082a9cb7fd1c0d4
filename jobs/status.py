"""The stages of a run: done, running with the time that is left, to come."""

from typing import Annotated

import typer

from diffusiontalker import cli, storage


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder or s3:// prefix of a run.")],
) -> None:
    """Show how far a run of jobs/distill.py or jobs/train.py is.

    Reads what the run writes every few seconds; needs no Ray.

    Example: python jobs/status.py runs/quickstart
    """
    from diffusiontalker.pipeline import progress_file

    cli.show(*progress_file.as_lines(storage.location(run)))


if __name__ == "__main__":
    cli.main(status)
