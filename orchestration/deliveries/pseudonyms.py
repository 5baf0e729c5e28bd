"""Columns of numbers that identify people: replacing them by pseudonyms, and testing that they are what they claim."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.deliveries.keys import PseudonymKey

_TEST_RANGE_FROM = 900_000_000


def pseudonyms(key: PseudonymKey, purpose: str, numbers: pd.Series, scope: str = "") -> pd.Series:
    """Pseudonyms of a column of numbers; missing stays missing. `scope` tells organisations' own numbers apart."""
    codes, values = pd.factorize(numbers)
    replaced = np.array([key.pseudonym(purpose, scope + str(value)) for value in values] + [None], dtype=object)
    return pd.Series(replaced[codes], index=numbers.index, name=numbers.name, dtype=object)


def is_eleven_proof(numbers: pd.Series) -> pd.Series:
    """Whether nine-digit numbers pass the eleven test (weights 9 … 2, −1); False for anything else, True for missing."""
    present = numbers.notna()
    result = pd.Series(~present, index=numbers.index)
    shaped = present & numbers.astype("string").str.fullmatch(r"[0-9]{9}").fillna(False).astype(bool)
    if shaped.any():
        digits = np.frombuffer("".join(numbers[shaped]).encode(), dtype=np.uint8).reshape(-1, 9).astype(int) - 48
        total = digits @ np.array([9, 8, 7, 6, 5, 4, 3, 2, -1])
        result[shaped] = (total % 11 == 0) & (digits.sum(axis=1) > 0)
    return result


def is_test_number(numbers: pd.Series) -> pd.Series:
    """Whether national numbers come from the range that is set aside for tests (900000000 and upwards)."""
    return pd.to_numeric(numbers, errors="coerce").ge(_TEST_RANGE_FROM)
