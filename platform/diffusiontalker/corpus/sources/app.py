"""The Live Link Face app's own export: a folder for each take, such as ``20260105_MySlate_1``."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

NOTES = (
    "take.json", "frame_log.csv", "video_metadata.json", "audio_metadata.json", "thumbnail.jpg",
    "audio_format.json", "depth_data.bin", "depth_metadata.mhaical",
)  # fmt: skip
"""Files in which the app keeps what is no take's sound and no coefficients."""
_FOLDER = re.compile(r"(?P<date>\d{8}_)?(?P<stem>(?P<slate>.+)_\d+)")


def slates(names: Iterable[str]) -> dict[str, str]:
    """The slate of every folder of a take, by the folder's name relative to the root.

    Such a folder ends in the take's number, and holds the app's notes or files of its own name.
    """
    out = {}
    for name in names:
        path = PurePosixPath(name)
        match = _FOLDER.fullmatch(path.parent.name)
        if match is None:
            continue
        own = bool(match["date"]) and path.name.startswith(f"{match['stem']}_")
        if own or path.name == NOTES[0]:
            out[str(path.parent)] = match["slate"]
    return out


def notes(names: Iterable[str], folders: Iterable[str]) -> list[str]:
    """The app's notes in these folders of takes."""
    within = {*folders}
    return [
        name
        for name in names
        if PurePosixPath(name).name in NOTES and str(PurePosixPath(name).parent) in within
    ]
