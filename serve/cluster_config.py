"""The `serveConfigV2` of every overlay in k8s/: `python -m serve.cluster_config`.

Written from configs/serve/local.yaml, where the application is configured; a test compares them.
"""

import copy
from pathlib import Path
from typing import Any

import typer
import yaml

from diffusiontalker import cli, config
from serve.settings import ServeSettings

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / "configs" / "serve" / "local.yaml"
OVERLAYS = ROOT / "k8s" / "overlays"
FILE, CHANGES, STORAGE = "serve.yaml", "serve-changes.yaml", "storage.env"
HEADER = (
    f"# Made by `python -m serve.cluster_config` from {LOCAL.relative_to(ROOT)} and {CHANGES}.\n"
)


def write() -> None:
    """Write ``serve.yaml`` of every overlay. Raises UserError: an overlay's changes are unknown."""
    for changes in sorted(OVERLAYS.glob(f"*/{CHANGES}")):
        path = changes.with_name(FILE)
        path.write_text(HEADER + yaml.safe_dump(of_overlay(changes.parent), sort_keys=False))
        typer.echo(path)


def of_overlay(overlay: Path) -> dict[str, Any]:
    """The configuration of an overlay: that of this machine, open to the cluster, with a proxy on
    every node, identities in the overlay's storage, and the overlay's changes.

    Raises:
        UserError: the changes are not settings of a server.
    """
    found: dict[str, Any] = copy.deepcopy(yaml.safe_load(LOCAL.read_text(encoding="utf-8")))
    found["proxy_location"] = "EveryNode"
    found["http_options"]["host"] = "0.0.0.0"
    path = overlay / CHANGES
    changes = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    storage = (overlay / STORAGE).read_text(encoding="utf-8")
    runs = next(line[5:] for line in storage.splitlines() if line.startswith("RUNS="))
    for application in found["applications"]:
        args = application.get("args") or {}
        args = _merged(_merged(args, {"identities": f"{runs}/identities"}), changes)
        config.check(ServeSettings, args, str(path))
        application["args"] = args
    return found


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Mappings are merged, other values replaced."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


if __name__ == "__main__":
    cli.main(write)
