"""Columns of numbers that identify people: replacing them by pseudonyms, and testing that they are what they claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.deliveries.keys import PseudonymKey

_TEST_RANGE_FROM = 900_000_000
_FIRST_VISIBLE, _LAST_VISIBLE = ord("!"), ord("~")


class Known:
    """The pseudonyms of the numbers that were met so far, by purpose and scope: a number stands in many tables of a delivery."""

    def __init__(self) -> None:
        self._met: dict[tuple[str, str], tuple[pa.StringArray, pa.StringArray]] = {}

    def of(self, key: PseudonymKey, purpose: str, scope: str, numbers: pa.StringArray) -> pa.StringArray:
        """The pseudonyms of different numbers; those that are new are worked out, and known from now on."""
        met, names = self._met.get((purpose, scope), (numbers[:0], numbers[:0]))
        places = pc.index_in(numbers, value_set=met)
        is_new = places.is_null()
        new = numbers.filter(is_new)
        made = pa.array(key.pseudonyms(purpose, [scope + number for number in new.to_pylist()]), pa.string())
        self._met[purpose, scope] = (pa.concat_arrays([met, new]), pa.concat_arrays([names, made]))
        return pc.replace_with_mask(names.take(places), is_new, made)


def pseudonyms(
    key: PseudonymKey, purpose: str, numbers: pa.DictionaryArray, scope: str = "", known: Known | None = None
) -> pa.DictionaryArray:
    """Pseudonyms of a column of numbers; missing stays missing. `scope` tells organisations' own numbers apart.

    `known` goes from column to column of a delivery.
    """
    names = (known or Known()).of(key, purpose, scope, numbers.dictionary)
    if _are_plain(numbers.dictionary):
        return pa.DictionaryArray.from_arrays(numbers.indices, names)
    # Two ways to write a number are two values with one pseudonym.
    merged = names.dictionary_encode()
    return pa.DictionaryArray.from_arrays(merged.indices.take(numbers.indices), merged.dictionary)


def _are_plain(numbers: pa.StringArray) -> bool:
    """Whether numbers are spelled in visible ASCII alone, so that no two of them are the same one (`PseudonymKey.pseudonyms`)."""
    _, offsets, content = numbers.buffers()
    if content is None:
        return True
    first, last = (np.frombuffer(offsets, np.int32)[place] for place in (numbers.offset, numbers.offset + len(numbers)))
    spelled = np.frombuffer(content, np.uint8)[first:last]
    return bool((spelled.min(initial=_FIRST_VISIBLE) >= _FIRST_VISIBLE) and (spelled.max(initial=0) <= _LAST_VISIBLE))


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
