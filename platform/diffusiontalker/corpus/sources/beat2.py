"""BEAT2, known by its files: where it is met it is named, for it holds no coefficients to read."""

from collections.abc import Collection, Iterable
from pathlib import Path

from diffusiontalker.errors import UserError

NAMED = (
    "BEAT2 (SMPL-X bodies with FLAME expressions), which is not read: it has no ARKit "
    "coefficients; BEAT's first release has them, in .json files, for source.kind=beat"
)


def files(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that lie as BEAT2's do: ``smplxflame_30/2_scott_0_1_1.npz``."""
    return [
        name
        for name in names
        if name.lower().endswith(".npz")
        and any(part.startswith("smplxflame") for part in name.lower().split("/")[:-1])
    ]


def holds(arrays: Collection[str]) -> bool:
    """Whether arrays of these names are a take of BEAT2."""
    return {"expressions", "poses"} <= {*arrays}


def refuse(root: Path, names: Iterable[str]) -> None:
    """Say of a folder with nothing usable what it is. Raises UserError if it is BEAT2."""
    if files(names):
        raise UserError(f"{root}: this is {NAMED}")


def skipped(names: Iterable[str]) -> list[tuple[str, str]]:
    """BEAT2's files beside those that can be read, in one line."""
    found = files(names)
    return [(f"{found[0].rpartition('/')[0]}/*.npz", f"{len(found)} of {NAMED}")] if found else []
