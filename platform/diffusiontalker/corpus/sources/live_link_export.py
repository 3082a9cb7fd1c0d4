"""The Live Link Face app's own export: a folder for each take, such as ``20260105_MySlate_1``."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

METADATA_FILES = (
    "take.json", "frame_log.csv", "video_metadata.json", "audio_metadata.json", "thumbnail.jpg",
    "audio_format.json", "depth_data.bin", "depth_metadata.mhaical",
)  # fmt: skip
"""Files of the app that hold neither a take's sound nor its coefficients."""
_TAKE_FOLDER = re.compile(r"(?P<date>\d{8}_)?(?P<stem>(?P<slate>.+)_\d+)")


def slates(names: Iterable[str]) -> dict[str, str]:
    """The slate of every folder of a take, by the folder's name relative to the root.

    The name of such a folder ends in the take's number; it holds the app's ``take.json``, or files
    that are named after it.
    """
    out = {}
    for name in names:
        path = PurePosixPath(name)
        match = _TAKE_FOLDER.fullmatch(path.parent.name)
        if match is None:
            continue
        named_after = bool(match["date"]) and path.name.startswith(f"{match['stem']}_")
        if named_after or path.name == METADATA_FILES[0]:
            out[str(path.parent)] = match["slate"]
    return out


def metadata_files(names: Iterable[str], folders: Iterable[str]) -> list[str]:
    """The app's metadata files in these folders of takes."""
    within = {*folders}
    return [
        name
        for name in names
        if PurePosixPath(name).name in METADATA_FILES and str(PurePosixPath(name).parent) in within
    ]
