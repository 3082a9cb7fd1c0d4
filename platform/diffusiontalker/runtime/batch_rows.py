"""Arrays with a row for each of many streams."""

import numpy as np


def doubled(rows: np.ndarray) -> np.ndarray:
    """Rows (N, ...), and as many of zeros behind them."""
    return np.concatenate([rows, np.zeros_like(rows)])
