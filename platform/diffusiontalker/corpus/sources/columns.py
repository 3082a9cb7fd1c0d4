"""The options ``channels`` and ``ignore``: which channel each column of an array holds."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from diffusiontalker import arkit
from diffusiontalker.animation import files
from diffusiontalker.config import Section
from diffusiontalker.errors import UserError


def _known_order(names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(names, str) and names not in arkit.ORDERS:
        raise ValueError(f"expected a list of names, or one of {', '.join(arkit.ORDERS)}")
    return names


class ColumnOptions(Section):
    """The channel names of the columns of coefficient arrays."""

    channels: (
        Annotated[str | tuple[str, ...], AfterValidator(_known_order), Field(min_length=1)] | None
    ) = None
    """Names of the columns of arrays that hold none: a list, or an order by its name: arkit (the
    project's own), mediapipe (``_neutral`` first) or livelink (52 curves, or 61 with the angles of
    head and eyes). None: arkit."""
    ignore: tuple[str, ...] = ()
    """Names of columns that are not channels and are left out: ``frame``, ``headPitch``."""

    @model_validator(mode="after")
    def _are_channels(self) -> "ColumnOptions":
        if isinstance(self.channels, tuple):
            blank = np.zeros(len(self.channels))
            arkit.map_by_name(blank, self.channels, "source.options.channels", self.ignore)
        return self

    def to_channels(
        self, values: np.ndarray, names: Sequence[str] | None, where: str
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Values (T, n) as finite float32 (T, 52), and the channels that no column holds.

        Args:
            values: (T, n).
            names: (n,) of the columns, where the file holds them; None: by the option.
            where: prefix of error messages.

        Raises:
            UserError: another number of columns, no frames, or not finite.
        """
        orders = [tuple(names)] if names is not None else self._orders()
        for order in orders:
            if values.ndim == 2 and len(values) and values.shape[1] == len(order):
                finite = files.numbers(values, where)
                return (
                    arkit.map_by_name(finite, order, where, self.ignore), arkit.missing(order)
                )  # fmt: skip
        widths = " or ".join(str(len(order)) for order in orders)
        raise UserError(
            f"{where}: shape {values.shape}, expected (frames, {widths}); "
            "source.options.channels names other columns, source.options.ignore those to leave out"
        )

    def _orders(self) -> Sequence[tuple[str, ...]]:
        if isinstance(self.channels, tuple):
            return [self.channels]
        return arkit.ORDERS[self.channels or "arkit"]
