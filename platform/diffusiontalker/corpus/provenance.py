"""Provenance of a set of shards: settings, source files and code, so that changes are detected."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from diffusiontalker import __version__, storage
from diffusiontalker.config import DataSettings, fingerprint
from diffusiontalker.corpus import data_folder
from diffusiontalker.corpus.data_folder import FileInfo
from diffusiontalker.corpus.manifest import SCHEMA_VERSION
from diffusiontalker.corpus.sources import Source, Take, source_code

LABELS = "labels of takes"


@dataclass(frozen=True)
class Provenance:
    """The source, the settings and the release that a set was made with."""

    settings: str
    """Fingerprint of the settings that determine the content of a set."""
    root: str
    labels: str
    """Fingerprint of the takes' labels from names and tables."""
    files: dict[str, FileInfo]
    """Every file that takes are read from, by its name relative to the root."""
    others: dict[str, FileInfo] = field(default_factory=dict)
    """Files elsewhere, by their paths: a source's code, a rig."""
    version: str = __version__

    @property
    def key(self) -> str:
        """Fingerprint by names and sizes: equal for a copy of the data set elsewhere."""
        sizes = [_sizes(self.files), sorted(file.bytes for file in self.others.values())]
        return fingerprint(self.settings, self.labels, sizes)

    def is_same_set(self, before: "Provenance") -> bool:
        """Whether this is the same data set in a later state, or an exact copy of it elsewhere."""
        if self.settings != before.settings:
            return False
        if self.root == before.root:
            return True
        # A copy has other modification times. Other data with the same settings are another set.
        return (self.labels, self.others, _sizes(self.files)) == (
            before.labels, before.others, _sizes(before.files),
        )  # fmt: skip

    def changes_since(self, before: "Provenance") -> list[str]:
        """Files of the same root that were added, removed or modified after ``before``."""
        if self.root != before.root:
            return []  # an exact copy, by ``is_same_set``
        now, then = self.files | self.others, before.files | before.others
        found = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
        return found or ([LABELS] if self.labels != before.labels else [])

    def batch_key(self, takes: Sequence[tuple[Take, str | None]]) -> str:
        """Fingerprint of what the shards of some takes and their splits are made from."""
        described = [[*_labels(take), split, self._take_stamps(take)] for take, split in takes]
        return fingerprint(self.settings, _stamps(self.others), described)

    def _take_stamps(self, take: Take) -> dict[str, str]:
        """Stamps of the files of a take; of all files where it names none."""
        names = take.files or tuple(self.files)
        return _stamps({name: self.files[name] for name in names if name in self.files})


def provenance_of(settings: DataSettings, source: Source, takes: Sequence[Take]) -> Provenance:
    """The provenance of a set of these takes. Raises UserError if a file is missing."""
    content = settings.model_dump(mode="json", exclude={"output", "max_quarantined"})
    content["source"].pop("root")
    listed = source.folder_listing.files
    names = {name for take in takes for name in take.files}
    if any(not take.files for take in takes):
        names |= listed.keys()
    others = source_code(source)
    for key in source.paths:
        if value := getattr(source.options, key, None):
            others[str(value)] = data_folder.file_info(storage.location(value))
    return Provenance(
        settings=fingerprint(SCHEMA_VERSION, content),
        root=settings.source.root,
        labels=fingerprint([_labels(take) for take in takes]),
        files={name: listed[name] for name in sorted(names & listed.keys())},
        others=others,
    )


def _labels(take: Take) -> list[str | None]:
    return [take.id, take.identity, take.emotion, take.group, take.split, take.text]


def _stamps(files: dict[str, FileInfo]) -> dict[str, str]:
    return {name: f"{file.bytes} {file.stamp}" for name, file in files.items()}


def _sizes(files: dict[str, FileInfo]) -> dict[str, int]:
    return {name: file.bytes for name, file in files.items()}
