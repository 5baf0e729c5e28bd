"""Columns of frames as numbers, so that rows are told apart and looked up without looking at texts again.

A categorical column is worked on by its categories: what is known of a value holds for every row that has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

_LARGEST = 2**62  # below what a whole number of 64 bits holds


def codes_of(values: pd.Series) -> np.ndarray:
    """A number from 0 for each different value, -1 for a missing one."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy()
    return pd.factorize(values)[0]


def numbers_of(values: pd.Series) -> np.ndarray:
    """A finite number for each value, the same for the same: the value itself where it is one, else its code. A missing one has -1."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return codes_of(values)
    if pd.api.types.is_integer_dtype(values.dtype) and not values.hasnans:
        return values.to_numpy(dtype=np.int64)
    return np.nan_to_num(values.to_numpy(dtype=float, na_value=np.nan), nan=-1, posinf=-2, neginf=-3)


def by_category(values: pd.Series, of_each: np.ndarray, missing: object) -> np.ndarray:
    """What is known of each category of a categorical column, for each row; `missing` where there is none."""
    return np.append(of_each, np.array([missing], dtype=of_each.dtype))[values.cat.codes.to_numpy()]


def together(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """One number of at least 0 for each combination of codes (of at least -1), however far apart."""
    joined, most = np.zeros(rows, dtype=np.int64), 1
    for codes in columns:
        width = int(codes.max(initial=-1)) + 2
        if most * width >= _LARGEST:
            joined = condensed(joined)
            most = int(joined.max(initial=-1)) + 1
        joined = joined * width + codes + 1
        most *= width
    return joined


def condensed(numbers: np.ndarray) -> np.ndarray:
    """The same numbers told apart by numbers from 0, as they come; as they are where they are few enough for their rows."""
    if numbers.max(initial=0) < 2 * len(numbers):
        return numbers
    return pd.factorize(numbers)[0].astype(np.int64)
