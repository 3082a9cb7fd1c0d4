"""Speakers and splits from the folder names of a user's data set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from diffusiontalker.corpus.sources.base import Take
from diffusiontalker.corpus.sources.listing import Skipped, first_and_count

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "test_seen": "test_seen",
    "test_unseen": "test_unseen",
}
"""Folders that are never speakers; ``test`` becomes test_seen or test_unseen by its speakers."""


def speaker(stem: str, slates: Mapping[str, str]) -> str:
    """The innermost folder that is neither a take's nor a split's; else the slate; else ``""``."""
    for folder in PurePosixPath(stem).parents:
        if str(folder) not in slates and folder.name.lower() not in SPLIT_FOLDERS:
            break
    slate = slates.get(str(PurePosixPath(stem).parent), "")
    return folder.name or slate


def slate_notes(takes: Sequence[Take], slates: Mapping[str, str]) -> Skipped:
    """A note on the takes whose speaker is a slate, which need not be a person."""
    folders = [str(PurePosixPath(take.id).parent) for take in takes]
    named_by_slate = [
        folder
        for take, folder in zip(takes, folders, strict=True)
        if folder in slates and take.identity == slates[folder]
    ]
    if not named_by_slate:
        return []
    names = sorted({slates[folder] for folder in named_by_slate})
    reason = (
        f"kept; the slate is taken as the speaker ({', '.join(names[:3])}"
        f"{', ...' if names[3:] else ''}); source.options.speaker names the person"
    )
    return [(first_and_count(named_by_slate), reason)]


def with_split_folders(takes: list[Take]) -> tuple[list[Take], Skipped]:
    """Takes with the splits of the folders at the root named after splits, and a note on them.

    It takes a folder of train and another one: a single such folder is no split.
    """
    tops = {take.id: take.id.partition("/")[0] for take in takes if "/" in take.id}
    folders = sorted({top for top in tops.values() if top.lower() in SPLIT_FOLDERS})
    kinds = {SPLIT_FOLDERS[folder.lower()] for folder in folders}
    if "train" not in kinds or len(kinds) < 2:
        return takes, []
    by_folder = {take.id: SPLIT_FOLDERS.get(tops.get(take.id, "").lower()) for take in takes}
    chosen = {take.id: take.split or by_folder[take.id] for take in takes}
    seen = {take.identity for take in takes if chosen[take.id] not in ("test", "test_unseen")}
    out = []
    for take in takes:
        split = chosen[take.id]
        if split == "test":
            split = "test_seen" if take.identity in {None, *seen} else "test_unseen"
        out.append(replace(take, split=split))
    reason = (
        "kept; folders taken as splits; source.options.split_folders=false splits by shares instead"
    )
    return out, [(", ".join(f"{folder}/" for folder in folders), reason)]
