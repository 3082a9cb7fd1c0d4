"""Whether a file of settings can be served, in one line: `python -m serve.check FILE`.

Ray Serve says it in a hundred, and goes on serving nothing.
"""

import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from serve.access import Access
from serve.settings import ServeSettings

from diffusiontalker import cli, config, storage
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import CONFIG
from diffusiontalker.runtime.student import Student

HOST, PORT = "127.0.0.1", 8000


def check(path: Annotated[str, typer.Argument(metavar="FILE")]) -> None:
    """Read the settings, load every student, and see that the port is free."""
    told = _read(path)
    for application in told["applications"]:
        settings = config.check(ServeSettings, application.get("args") or {}, path)
        Access(settings)
        for folder in settings.folders().values():
            if not storage.is_file(storage.location(folder) / CONFIG):
                raise UserError(f"{folder}: there is no student; `make demo` trains one")
            Student(folder)
    options = told.get("http_options") or {}
    host, port = options.get("host", HOST), options.get("port", PORT)
    _check_free(host, port)
    print(f"In half a minute at http://{host}:{port}; ctrl-C ends it.")


def _read(path: str) -> dict[str, Any]:
    try:
        told = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(told["applications"], list):
            raise TypeError("applications is not a list")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a file of Ray Serve's ({error})") from error
    return dict(told)


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise UserError(
            f"port {port} of {host}: {os.strerror(error.errno or 0)}; end what listens there, or "
            "give another http_options.port"
        ) from error


if __name__ == "__main__":
    cli.main(check)
