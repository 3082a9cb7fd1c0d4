"""Validates a file of settings before it is served: `python -m serve.validate FILE`.

Ray Serve reports a mistake in a hundred lines, and keeps running without an application.
"""

import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from diffusiontalker import cli, config, storage
from diffusiontalker.errors import UserError
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student
from serve.admission.access import AccessControl
from serve.settings import ServeSettings

HOST, PORT = "127.0.0.1", 8000


def validate(path: Annotated[str, typer.Argument(metavar="FILE")]) -> None:
    """Read the settings, load every student, and check that the port is free."""
    content = _read(path)
    for application in content["applications"]:
        settings = config.check(ServeSettings, application.get("args") or {}, path)
        AccessControl(settings)
        for folder in settings.folders().values():
            if not storage.is_file(artifact.location(folder) / artifact.CONFIG):
                raise UserError(f"{folder}: there is no student; `make demo` trains one")
            Student(folder)
            if folder == artifact.SHIPPED:
                print("The student that ships with the package; args.model serves another.")
    options = content.get("http_options") or {}
    host, port = options.get("host", HOST), options.get("port", PORT)
    _check_port(host, port)
    print(f"In half a minute at http://{host}:{port}; ctrl-C ends it.")


def _read(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content["applications"], list):
            raise TypeError("applications is not a list")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a configuration file of Ray Serve ({error})") from error
    return dict(content)


def _check_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise UserError(
            f"port {port} of {host}: {os.strerror(error.errno or 0)}; end what listens there, or "
            "give another http_options.port"
        ) from error


if __name__ == "__main__":
    cli.main(validate)
