"""Conditioning on identity and emotion: by name, by weights, by embedding, or automatically."""

import difflib
from collections.abc import Mapping

import numpy as np

from diffusiontalker.audio.waveform import is_number
from diffusiontalker.errors import UserError

KINDS = ("identity", "emotion")
"""What a student has a library of."""
AUTO = "auto"
"""The library's entry that is most like the voice."""
Conditioning = str | Mapping[str, float] | np.ndarray
"""``AUTO``, a name, weights over names, or an embedding (E,)."""


def parse_conditioning(text: str) -> str | dict[str, float]:
    """Weights, where written as ``anger:0.7,neutral:0.3``; else a name. Raises UserError."""
    if ":" not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        if (name := name.strip()) in weights:
            raise UserError(f"{text[:80]!r}: {name!r} is there twice; give it one weight")
        try:
            weights[name] = float(weight)
        except ValueError as error:
            raise UserError(f"{text[:80]!r}: write weights as anger:0.7,neutral:0.3") from error
    return weights


class Library:
    """Names of identities or of emotions that a student knows, and their unit embeddings."""

    def __init__(self, kind: str, names: list[str], entries: np.ndarray) -> None:
        """``kind`` is of ``KINDS``; ``entries`` (N, E) in the order of ``names``."""
        self.kind, self.names, self.entries = kind, names, entries

    def resolve(self, conditioning: Conditioning) -> np.ndarray | None:
        """The unit embedding (E,) of a conditioning; None for ``AUTO``.

        Raises:
            UserError: an unknown name, no usable weight, or an embedding of another size.
        """
        if isinstance(conditioning, str):
            if conditioning == AUTO:
                return None
            return self.entries[self._index(conditioning)]
        if isinstance(conditioning, Mapping):
            weights = np.zeros(len(self.names))
            for name, weight in conditioning.items():
                if not (is_number(weight) and 0 <= weight < np.inf):
                    raise UserError(f"{self.kind} {name!r}: weight {weight!r}; give 0 or more")
                weights[self._index(name)] = weight
            embedding = weights @ self.entries
        else:
            try:
                embedding = np.asarray(conditioning, np.float64)
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"{self.kind} {conditioning!r}: give a name, weights over names, or an "
                    "embedding"
                ) from error
            if embedding.shape != self.entries.shape[1:]:
                raise UserError(
                    f"{self.kind}: an embedding of shape {embedding.shape}; this student's have "
                    f"{self.entries.shape[1:]}"
                )
        return unit(
            embedding, f"{self.kind}: the weights or the embedding are all zero or not finite"
        )

    def nearest(self, embedding: np.ndarray) -> int:
        """The entry of highest cosine similarity to a unit embedding (E,)."""
        return int((self.entries @ embedding).argmax())

    def mean(self) -> np.ndarray:
        """The normalised mean of the entries (E,): what a stream begins with."""
        mean = self.entries.mean(0)
        return self.entries[0] if np.linalg.norm(mean) < 1e-6 else unit(mean)

    def _index(self, name: str) -> int:
        if name not in self.names:
            near = difflib.get_close_matches(str(name), self.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.names[:20])}"
            raise UserError(f"unknown {self.kind} {name!r}; {hint} (or {AUTO!r})")
        return self.names.index(name)


def unit(vector: np.ndarray, message: str = "a vector of length 0") -> np.ndarray:
    """The vector at length 1, float32. Raises UserError with ``message`` if it has none."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-12:
        raise UserError(message)
    return (vector / length).astype(np.float32)
