"""Recognise BEAT2 by its files, to refuse it with the reason: it holds no ARKit coefficients."""

from collections.abc import Collection, Iterable
from pathlib import Path

from diffusiontalker.errors import UserError

NAMED = (
    "BEAT2 (SMPL-X bodies with FLAME expressions), which is not read: it has no ARKit "
    "coefficients; BEAT's first release has them, in .json files, for source.kind=beat"
)


def files(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are in BEAT2's layout: ``smplxflame_30/2_scott_0_1_1.npz``."""
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
    """Raise UserError if a folder without usable takes is BEAT2."""
    if files(names):
        raise UserError(f"{root}: this is {NAMED}")


def skipped(names: Iterable[str]) -> list[tuple[str, str]]:
    """BEAT2's files beside readable takes, as one skipped entry."""
    found = files(names)
    return [(f"{found[0].rpartition('/')[0]}/*.npz", f"{len(found)} of {NAMED}")] if found else []
