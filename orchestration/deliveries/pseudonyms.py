"""Columns of numbers that identify people: replacing them by pseudonyms, and testing that they are what they claim."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.deliveries.keys import PseudonymKey

_TEST_RANGE_FROM = 900_000_000


Known = dict[tuple[str, str], dict[str, str]]  # by purpose and scope: the pseudonyms of the numbers met so far


def pseudonyms(
    key: PseudonymKey, purpose: str, numbers: pd.Series, scope: str = "", known: Known | None = None
) -> pd.Series:
    """Pseudonyms of a column of numbers, categorical; missing stays missing. `scope` tells organisations' own numbers apart.

    `known` holds those of the columns before, and takes up these: a number stands in many tables of a delivery.
    """
    codes, values = pd.factorize(numbers)
    met = (known if known is not None else {}).setdefault((purpose, scope), {})
    spelled = [str(value) for value in values]
    new = [number for number in spelled if number not in met]
    met.update(zip(new, key.pseudonyms(purpose, [scope + number for number in new]), strict=True))
    # Two ways to write a number are two values with one pseudonym.
    merged, names = pd.factorize(np.array([met[number] for number in spelled], dtype=object))
    places = np.append(merged, -1)[codes]
    replaced = pd.Categorical.from_codes(places, categories=pd.Index(names))  # type: ignore[arg-type]
    return pd.Series(replaced, index=numbers.index, name=numbers.name)


def is_eleven_proof(numbers: pd.Series) -> pd.Series:
    """Whether nine-digit numbers pass the eleven test (weights 9 … 2, −1); False for anything else, True for missing."""
    present = numbers.notna()
    result = pd.Series(~present, index=numbers.index)
    shaped = present & numbers.astype(str).str.fullmatch(r"[0-9]{9}")
    if shaped.any():
        digits = np.frombuffer("".join(numbers[shaped]).encode(), dtype=np.uint8).reshape(-1, 9).astype(int) - 48
        total = digits @ np.array([9, 8, 7, 6, 5, 4, 3, 2, -1])
        result[shaped] = (total % 11 == 0) & (digits.sum(axis=1) > 0)
    return result


def is_test_number(numbers: pd.Series) -> pd.Series:
    """Whether national numbers come from the range that is set aside for tests (900000000 and upwards)."""
    return pd.to_numeric(numbers, errors="coerce").ge(_TEST_RANGE_FROM)
