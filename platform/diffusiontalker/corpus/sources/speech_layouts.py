"""Layouts of speech corpora: recordings, their texts, speakers and emotions, from names and tables.

Each layout is a function of the files and a reader of small ones; it lists takes whose last file
is the text where that is a file of its own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from diffusiontalker.audio.recording import SUFFIXES
from diffusiontalker.corpus.sources.base import Take, TakeListing
from diffusiontalker.corpus.sources.etf import EMOTIONS as RAVDESS_EMOTIONS
from diffusiontalker.corpus.sources.listing import Skipped, first_and_count

RAVDESS = re.compile(
    r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
    r"-(?P<statement>0[12])-(?P<repetition>0[12])-(?P<actor>\d\d)"
)
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
"""RAVDESS's texts."""
TEXT_SUFFIXES = (".normalized.txt", ".lab", ".txt")
"""Of texts beside recordings, the first that is there: LibriTTS's, aligners', and plain ones."""
VCTK_SHARED = 24
"""Sentences of VCTK with a number up to this are the same for all speakers."""
MAX_TEXT = 1 << 16
"""Bytes of the text of one recording; a larger file is no such text."""
METADATA = "metadata.csv"
"""LJSpeech's table."""
NO_TEXT, NO_SOUND = "a recording without its text", "a text without its recording"


@dataclass(frozen=True)
class Files:
    """The files of a data set."""

    sizes: Mapping[str, int]
    """Bytes by name relative to the root."""
    read: Callable[[str], str]
    """The text of a file by its name."""
    name: str
    """Of the root, for whom no speaker is known."""

    def texts(self) -> list[str]:
        """The files that may be the text of one recording."""
        return [
            name for name, size in self.sizes.items()
            if name.lower().endswith(TEXT_SUFFIXES) and size <= MAX_TEXT
        ]  # fmt: skip

    def sounds(self) -> dict[str, str]:
        """The recordings by their names without suffix."""
        found: dict[str, str] = {}
        for name in self.sizes:
            path = PurePosixPath(name)
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                found.setdefault(str(path.with_suffix("")), name)
        return found


def ljspeech(files: Files) -> TakeListing:
    """``metadata.csv`` of ``name|text|normalised text`` and ``wavs/name.wav``; one speaker."""
    sounds = files.sounds()
    takes, skipped = [], []
    table = next((name for name in files.sizes if PurePosixPath(name).name == METADATA), None)
    folder = PurePosixPath(table or "").parent
    for line in files.read(table).splitlines() if table else ():
        name, bar, texts = line.partition("|")
        sound = sounds.get(str(folder / "wavs" / name)) or sounds.get(str(folder / name))
        if not bar or sound is None:
            skipped.append((name[:80], NO_SOUND))
            continue
        text = texts.rpartition("|")[2] or texts.partition("|")[0]
        takes.append(Take(name, files.name, text=text, bytes=files.sizes[sound], files=(sound,)))
    return _with_rest(takes, skipped, sounds)


def librispeech(files: Files) -> TakeListing:
    """``speaker/chapter/speaker-chapter.trans.txt`` of ``id TEXT`` beside ``id.flac``."""
    sounds = files.sounds()
    takes, skipped = [], []
    for table in (name for name in files.sizes if name.endswith(".trans.txt")):
        for line in files.read(table).splitlines():
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            sound = sounds.get(str(PurePosixPath(table).with_name(name)))
            if sound is None:
                skipped.append((f"{table}: {name}", NO_SOUND))
                continue
            speaker = name.partition("-")[0]
            size = files.sizes[sound]
            takes.append(Take(name, speaker, text=text.lower(), bytes=size, files=(sound,)))
    return _with_rest(takes, skipped, sounds)


def vctk(files: Files) -> TakeListing:
    """``txt/p225/p225_001.txt`` and ``wav48.../p225/p225_001[_mic1].flac``."""
    sounds = files.sounds()
    by_name: dict[str, str] = {}
    takes: list[Take] = []
    skipped: Skipped = []
    for stem, sound in list(sounds.items()):
        name, _, microphone = PurePosixPath(stem).name.partition("_mic")
        if microphone in ("", "1"):
            by_name.setdefault(name, sound)
        else:
            skipped.append((sounds.pop(stem), "of another microphone"))
    for text in filter(_is_vctk_text, files.texts()):
        name = PurePosixPath(text).stem
        own = by_name.get(name)
        if own is None:
            skipped.append((text, NO_SOUND))
            continue
        speaker, _, number = name.partition("_")
        shared = number.isdigit() and int(number) <= VCTK_SHARED
        takes.append(
            Take(name, speaker, group=f"sentence {number}" if shared else "",
                 bytes=files.sizes[own], files=(own, text))
        )  # fmt: skip
    return _with_rest(takes, skipped, sounds)


def ravdess(files: Files) -> TakeListing:
    """``03-01-EM-IN-ST-RE-AC.wav``: emotion, intensity, statement, repetition, actor."""
    takes: list[Take] = []
    skipped: Skipped = []
    sung = []
    for stem, sound in (sounds := files.sounds()).items():
        name = PurePosixPath(stem).name
        match = RAVDESS.fullmatch(name)
        if match is None:
            continue
        if match["channel"] == "02":
            sung.append(sound)
            continue
        speaker = f"ravdess-{match['actor']}"
        takes.append(
            Take(
                name, speaker, RAVDESS_EMOTIONS[match["emotion"]],
                group=f"{speaker} {name[6:14]}", text=STATEMENTS[match["statement"]],
                bytes=files.sizes[sound], files=(sound,),
            )
        )  # fmt: skip
    if sung:
        skipped.append((first_and_count(sung), "sung, not spoken"))
        sounds = {stem: sound for stem, sound in sounds.items() if sound not in sung}
    return _with_rest(takes, skipped, sounds)


def pairs(files: Files) -> TakeListing:
    """``speaker/name.wav`` beside ``name.txt`` or ``.lab``; recordings without a text are listed
    too."""
    sounds = files.sounds()
    texts: dict[str, str] = {}
    for name in sorted(files.texts(), key=_text_rank, reverse=True):  # the preferred ones last
        texts[name[: -len(TEXT_SUFFIXES[_text_rank(name)])]] = name
    takes = []
    for stem, sound in sounds.items():
        own = (texts[stem],) if stem in texts else ()
        speaker = PurePosixPath(stem).parent.name or files.name
        takes.append(Take(stem, speaker, bytes=files.sizes[sound], files=(sound, *own)))
    without = [(name, NO_SOUND) for stem, name in texts.items() if stem not in sounds]
    return TakeListing(takes, _shortened(without))


LAYOUTS: dict[str, Callable[[Files], TakeListing]] = {
    "vctk": vctk,
    "librispeech": librispeech,
    "ljspeech": ljspeech,
    "ravdess": ravdess,
    "pairs": pairs,
}
"""In the order in which they are tried."""


def detect(files: Files) -> str:
    """The layout of a folder; ``pairs`` where it is no other."""
    names = [PurePosixPath(name) for name in files.sizes]
    if any(_is_vctk_text(str(name)) for name in names) and any(
        "wav48" in part for name in names for part in name.parts[:-1]
    ):
        return "vctk"
    if any(name.name.endswith(".trans.txt") for name in names):
        return "librispeech"
    if any(name.name == METADATA for name in names):
        return "ljspeech"
    stems = [PurePosixPath(stem).name for stem in files.sounds()]
    if stems and all(RAVDESS.fullmatch(stem) for stem in stems):
        return "ravdess"
    return "pairs"


def has_text(take: Take) -> bool:
    """Whether the text of a take is known, or is a file."""
    return take.text is not None or len(take.files) > 1


def with_text(listing: TakeListing) -> TakeListing:
    """The listing without the takes that have none."""
    missing = [(take.files[0], NO_TEXT) for take in listing.takes if not has_text(take)]
    kept = [take for take in listing.takes if has_text(take)]
    return TakeListing(kept, [*listing.skipped, *_shortened(missing)])


def spoken_by(takes: list[Take], speaker: str) -> list[Take]:
    """The takes with one speaker."""
    return [replace(take, identity=speaker) for take in takes]


def _text_rank(name: str) -> int:
    """The number of a text's suffix."""
    return next(n for n, suffix in enumerate(TEXT_SUFFIXES) if name.lower().endswith(suffix))


def _is_vctk_text(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".txt" and len(path.parts) > 2 and path.parts[-3] == "txt"


def _with_rest(takes: list[Take], skipped: Skipped, sounds: Mapping[str, str]) -> TakeListing:
    """The takes, and the recordings that none of them uses."""
    used = {take.files[0] for take in takes}
    rest = [(sound, NO_TEXT) for sound in sounds.values() if sound not in used]
    return TakeListing(takes, [*_shortened(skipped), *_shortened(rest)])


def _shortened(skipped: Skipped) -> Skipped:
    """One entry for all files with the same reason."""
    reasons = dict.fromkeys(reason for _, reason in skipped)
    return [
        (first_and_count([name for name, why in skipped if why == reason]), reason)
        for reason in reasons
    ]
