"""Columns of frames as numbers, so that rows are told apart and looked up without looking at texts again.

A categorical column is worked on by its categories: what is known of a value holds for every row that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST = 2**62  # below what a whole number of 64 bits holds
_SPARSE = 8  # numbers for each that is met, up to which all of them are counted through


def codes_of(values: pd.Series) -> np.ndarray:
    """A number from 0 for each different value, -1 for a missing one."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy()
    return pd.factorize(values)[0]


def in_one(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def repeated(values: pd.Series) -> np.ndarray:
    """Which rows hold what another row holds too, or nothing, (rows,)."""
    is_nothing = values.isna().to_numpy(dtype=bool)
    is_number = isinstance(values.dtype, np.dtype) and values.dtype.kind == "i"
    numbers = values.to_numpy() if is_number else codes_of(values)
    if is_nothing.any():
        numbers = numbers[~is_nothing]
    least, most = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if most - least < _SPARSE * len(numbers):
        is_met = np.zeros(most - least + 1, dtype=bool)
        is_met[numbers - least] = True
        if np.count_nonzero(is_met) == len(numbers):
            return is_nothing
    found = is_nothing.copy()
    found[~is_nothing] = pd.Series(numbers).duplicated(keep=False).to_numpy()
    return found


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
