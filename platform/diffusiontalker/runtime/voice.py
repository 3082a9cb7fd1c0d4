"""Who speaks, and in which emotion: chosen by name, by weights, by embedding, or from the voice."""

import difflib
from collections.abc import Mapping

import numpy as np

from diffusiontalker.audio.waveform import is_number
from diffusiontalker.errors import UserError

KINDS = ("identity", "emotion")
"""What a student knows a library of."""
AUTO = "auto"
Choice = str | Mapping[str, float] | np.ndarray
"""``AUTO``, a name, weights over names, or an embedding (E,)."""


class Statistics:
    """Mean and variance over time of what the encoder says of the voice."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, 1))

    def add(self, moments: np.ndarray) -> None:
        """Frames in order, by their ``moments`` (T, 3, H)."""
        self._sums = self._sums + moments.sum(axis=0)

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (1, H) float32."""
        return mean_and_variance(self._sums[None])


def mean_and_variance(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of B voices (B, H) float32, from the sums of their ``moments`` (B, 3, H)."""
    count, total, squares = sums.swapaxes(0, 1)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return mean.astype(np.float32), variance.astype(np.float32)


def moments(voice: np.ndarray) -> np.ndarray:
    """Powers 0, 1 and 2 of what is said (..., H): (..., 3, H) float64."""
    out = np.empty((*voice.shape[:-1], 3, voice.shape[-1]))
    out[..., 0, :] = 1
    out[..., 1, :] = voice
    np.square(out[..., 1, :], out=out[..., 2, :])
    return out


def choice(text: str) -> str | dict[str, float]:
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
    """The names that a student knows, of identities or of emotions, and their embeddings."""

    def __init__(self, kind: str, names: list[str], entries: np.ndarray) -> None:
        self.kind, self.names, self.entries = kind, names, entries

    def resolve(self, choice: Choice) -> np.ndarray | None:
        """The unit embedding (E,) of a choice; None: the voice decides.

        Raises:
            UserError: an unknown name, no usable weight, or an embedding of another size.
        """
        if isinstance(choice, str):
            if choice == AUTO:
                return None
            return self.entries[self._index(choice)]
        if isinstance(choice, Mapping):
            weights = np.zeros(len(self.names))
            for name, weight in choice.items():
                if not (is_number(weight) and 0 <= weight < np.inf):
                    raise UserError(f"{self.kind} {name!r}: weight {weight!r}; give 0 or more")
                weights[self._index(name)] = weight
            embedding = weights @ self.entries
        else:
            try:
                embedding = np.asarray(choice, np.float64)
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"{self.kind} {choice!r}: give a name, weights over names, or an embedding"
                ) from error
            if embedding.shape != self.entries.shape[1:]:
                raise UserError(
                    f"{self.kind}: an embedding of shape {embedding.shape}; this student's have "
                    f"{self.entries.shape[1:]}"
                )
        return unit(
            embedding, f"{self.kind}: the weights or the embedding are all zero or not finite"
        )

    def nearest(self, heard: np.ndarray) -> int:
        """The entry most like the voice (E,), by cosine."""
        return int((self.entries @ heard).argmax())

    def middle(self) -> np.ndarray:
        """Nobody in particular (E,): before anything was heard."""
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
