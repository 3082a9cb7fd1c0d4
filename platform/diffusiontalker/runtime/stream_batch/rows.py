"""Arrays with a row for each of many streams."""

import numpy as np


def double_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (N, ...) and as many of zeros behind them: (2N, ...)."""
    return np.concatenate([rows, np.zeros_like(rows)])
