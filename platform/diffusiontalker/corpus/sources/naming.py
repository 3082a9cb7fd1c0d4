"""What the folders of one's own data set say: who speaks, and which split a take is of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from diffusiontalker.corpus.sources.base import Take

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "test_seen": "test_seen",
    "test_unseen": "test_unseen",
}
"""Folders that are nobody's name; ``test`` is of seen or unseen speakers, as may be."""


def speaker(stem: str, slates: Mapping[str, str]) -> str:
    """The innermost folder that can be a person's; else the slate; else nobody, ``""``."""
    for folder in PurePosixPath(stem).parents:
        if str(folder) not in slates and folder.name.lower() not in SPLIT_FOLDERS:
            break
    own = slates.get(str(PurePosixPath(stem).parent), "")
    return folder.name or own


def of_slates(takes: Sequence[Take], slates: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which takes have their speaker from a slate, which may be no person."""
    folders = [str(PurePosixPath(take.id).parent) for take in takes]
    own = [
        folder
        for take, folder in zip(takes, folders, strict=True)
        if folder in slates and take.identity == slates[folder]
    ]
    if not own:
        return []
    names = sorted({slates[folder] for folder in own})
    more = f" and {len(own) - 1} more" if len(own) > 1 else ""
    reason = (
        f"kept; the slate counts as the speaker ({', '.join(names[:3])}"
        f"{', ...' if names[3:] else ''}); source.options.speaker names the person"
    )
    return [(own[0] + more, reason)]


def in_split_folders(takes: list[Take]) -> tuple[list[Take], list[tuple[str, str]]]:
    """Takes with the splits of the folders at the root that are called so, and a line about it.

    One such folder alone is no split.
    """
    tops = {take.id: take.id.partition("/")[0] for take in takes if "/" in take.id}
    folders = sorted({top for top in tops.values() if top.lower() in SPLIT_FOLDERS})
    kinds = {SPLIT_FOLDERS[folder.lower()] for folder in folders}
    if "train" not in kinds or len(kinds) < 2:
        return takes, []
    named = {take.id: SPLIT_FOLDERS.get(tops.get(take.id, "").lower()) for take in takes}
    chosen = {take.id: take.split or named[take.id] for take in takes}
    seen = {take.identity for take in takes if chosen[take.id] not in ("test", "test_unseen")}
    out = []
    for take in takes:
        split = chosen[take.id]
        if split == "test":
            split = "test_seen" if take.identity in {None, *seen} else "test_unseen"
        out.append(replace(take, split=split))
    reason = (
        "kept; folders taken as splits: source.options.split_folders=false shares the takes out"
    )
    return out, [(", ".join(f"{folder}/" for folder in folders), reason)]
