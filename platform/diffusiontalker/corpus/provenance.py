"""What a set of shards was made of, so that a second run knows what has changed since."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from diffusiontalker import __version__, storage
from diffusiontalker.config import DataSettings, fingerprint
from diffusiontalker.corpus import data_folder
from diffusiontalker.corpus.data_folder import File
from diffusiontalker.corpus.manifest import SCHEMA_VERSION
from diffusiontalker.corpus.sources import Source, Take, code

LABELS = "labels of takes"


@dataclass(frozen=True)
class Made:
    """Of what, with which settings, by which release."""

    settings: str
    """Fingerprint of the settings that shape a set."""
    root: str
    labels: str
    """Fingerprint of what names and tables tell of the takes."""
    files: dict[str, File]
    """Every file that takes are read from, by its name relative to the root."""
    others: dict[str, File] = field(default_factory=dict)
    """Files that lie elsewhere, by their paths: a source's code, a rig."""
    version: str = __version__

    @property
    def key(self) -> str:
        """Identifies the set by names and sizes: the same set elsewhere is the same set."""
        sizes = [_sizes(self.files), sorted(file.bytes for file in self.others.values())]
        return fingerprint(self.settings, self.labels, sizes)

    def may_follow(self, before: "Made") -> bool:
        """Whether this is the same data set in its later state, or the very same elsewhere."""
        if self.settings != before.settings:
            return False
        if self.root == before.root:
            return True
        # A copy has other times. Other data of the same settings must not take a set's place.
        return (self.labels, self.others, _sizes(self.files)) == (
            before.labels, before.others, _sizes(before.files),
        )  # fmt: skip

    def changes(self, before: "Made") -> list[str]:
        """What is new, gone or has another content than ``before``, of the same root."""
        if self.root != before.root:
            return []  # as ``may_follow`` has found
        now, then = self.files | self.others, before.files | before.others
        found = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
        return found or ([LABELS] if self.labels != before.labels else [])

    def batch(self, takes: Sequence[tuple[Take, str | None]]) -> str:
        """Identifies what becomes of some takes and their splits."""
        named = [[*_labels(take), split, self.of(take)] for take, split in takes]
        return fingerprint(self.settings, _stamps(self.others), named)

    def of(self, take: Take) -> dict[str, str]:
        """Stamps of the files of a take; of all files where it names none."""
        names = take.files or tuple(self.files)
        return _stamps({name: self.files[name] for name in names if name in self.files})


def made(settings: DataSettings, source: Source, takes: Sequence[Take]) -> Made:
    """What a set of these takes is made of. Raises UserError if something is missing."""
    shaping = settings.model_dump(mode="json", exclude={"output", "max_quarantined"})
    shaping["source"].pop("root")
    names = {name for take in takes for name in take.files}
    if any(not take.files for take in takes):
        names |= source.tree.files.keys()
    others = code(source)
    for key in source.paths:
        if value := getattr(source.options, key, None):
            others[str(value)] = data_folder.file(storage.location(value))
    return Made(
        settings=fingerprint(SCHEMA_VERSION, shaping),
        root=settings.source.root,
        labels=fingerprint([_labels(take) for take in takes]),
        files={name: source.tree.files[name] for name in sorted(names & source.tree.files.keys())},
        others=others,
    )


def _labels(take: Take) -> list[str | None]:
    return [take.id, take.identity, take.emotion, take.group, take.split, take.text]


def _stamps(files: dict[str, File]) -> dict[str, str]:
    return {name: f"{file.bytes} {file.stamp}" for name, file in files.items()}


def _sizes(files: dict[str, File]) -> dict[str, int]:
    return {name: file.bytes for name, file in files.items()}
