"""Saved identities: identity embeddings of voices, one small JSON file each."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from diffusiontalker import storage
from serve.http.problems import Problem

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MIN_SECONDS, MAX_SECONDS = 3.0, 60.0
"""Length of the speech from which an identity is saved."""


class SavedIdentities:
    """A folder of files per owner, shared by all replicas; nothing is cached."""

    def __init__(self, root: str) -> None:
        self._root = storage.location(root)

    def names(self, owner: str) -> list[str]:
        """In alphabetical order."""
        files = storage.files(self._root / owner)
        return [name.removesuffix(".json") for name in files if name.endswith(".json")]

    def save(self, owner: str, name: str, embeddings: dict[str, np.ndarray], limit: int) -> None:
        """Save embeddings (E,) by the fingerprints of the students that computed them.

        Raises:
            Problem: an invalid name, one that is taken, or more than ``limit`` identities.
        """
        path = self._path(owner, name)
        if storage.is_file(path):
            raise Problem(
                409, f"name {name!r} is taken; delete it first, or choose another", "name"
            )
        if len(self.names(owner)) >= limit:
            raise Problem(409, f"there are {limit} saved identities; delete some", "name")
        storage.make_folder(path.parent)
        listed = {fingerprint: values.tolist() for fingerprint, values in embeddings.items()}
        storage.write_json(path, {"name": name, "saved": int(time.time()), "embeddings": listed})

    def load(self, owner: str, name: str, fingerprint: str) -> np.ndarray | None:
        """The embedding (E,) for the student of that fingerprint; None: no such name.

        Raises:
            Problem: it was saved when that student was not served.
        """
        if not NAME.fullmatch(name) or not storage.is_file(path := self._path(owner, name)):
            return None
        found: dict[str, Any] = storage.read_json(path)
        embedding = found["embeddings"].get(fingerprint)
        if embedding is None:
            raise Problem(
                422, f"identity {name!r} was saved before this student was served; save it again",
                "identity",
            )  # fmt: skip
        return np.asarray(embedding, np.float32)

    def delete(self, owner: str, name: str) -> None:
        """Raises Problem: there is none of that name."""
        if not NAME.fullmatch(name) or not storage.is_file(path := self._path(owner, name)):
            raise Problem(404, f"no saved identity {name[:64]!r}", "name")
        storage.remove(path)

    def _path(self, owner: str, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise Problem(
                422, f"name {name[:64]!r}: give 1 to 64 letters, digits, dots, dashes or "
                "underscores, a letter or digit first", "name",
            )  # fmt: skip
        return self._root / owner / f"{name}.json"
