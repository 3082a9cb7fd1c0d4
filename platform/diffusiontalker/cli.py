"""The command line of all jobs: overrides, exit codes, one line for a user's mistake."""

import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.table import Table

from diffusiontalker.errors import UserError

Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A YAML file of settings.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change; they override the file's."),
]
P = ParamSpec("P")


def main(job: Callable[P, None] | Sequence[Callable[..., None]], resumes: bool = False) -> None:
    """Run a job as a command: exit status 0, 2 for the user's mistake, 130 when interrupted.

    Several jobs, or a sequence of one, become sub-commands. Where a job ``resumes``, the message of
    an interruption says so. SIGTERM is an interruption too, so that a job's child processes end
    with it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if callable(job):
        app.command()(_guarded(job, resumes))
    else:
        app.callback()(_choose)  # without it typer makes a single one no sub-command
        for one in job:
            app.command()(_guarded(one, resumes))
    app()


def show(*parts: Table | str) -> None:
    """Print tables and lines, one below the other."""
    console = Console()
    for part in parts:
        print(part) if isinstance(part, str) else console.print(part)


def _choose() -> None:
    """Each command has its own --help."""


def _guarded(job: Callable[P, None], resumes: bool) -> Callable[P, None]:
    @wraps(job)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            job(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            after = "; the same command continues from here" if resumes else ""
            print(f"interrupted{after}", file=sys.stderr)
            raise SystemExit(130) from None

    return guarded
