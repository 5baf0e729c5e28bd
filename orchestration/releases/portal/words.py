"""What a portal says in a language, from `nl.yml` and `en.yml`, and how numbers read in it. No sentence stands in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from orchestration.analysis.showing.source import NBSP, is_missing, named
from orchestration.releases.catalogue import LANGUAGES, Label

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Words:
    """The texts of one language."""

    language: str
    texts: Mapping[str, Any]

    def __call__(self, key: str, /, **values: object) -> str:
        """The text at `key` (`page.sentence`), filled in. Raises KeyError for a text or value that is not there."""
        found: Any = self.texts
        for part in key.split("."):
            found = found[part]
        return str(found).format(**values)

    def name(self, kind: str, code: object) -> str:
        """What a code is called (`names` of the file); without a name, the code itself, readable."""
        return str(self.texts["names"][kind].get(str(code), named(str(code))))

    def of(self, label: Label) -> str:
        """A label in this language."""
        return label[self.language]

    @property
    def other(self) -> str:
        """The other language."""
        return next(one for one in LANGUAGES if one != self.language)

    @property
    def figure(self) -> Mapping[str, str]:
        """What stands in pictures, as the drawing code says it -> in this language."""
        return self.texts["figure_words"]

    @property
    def decimal(self) -> str:
        return str(self.texts["numbers"]["decimal"])

    def number(self, value: float, decimals: int = 2, sign: str = "") -> str:
        """A number to so many decimals; a dash where there is none."""
        return "–" if is_missing(value) else f"{value:{sign}.{decimals}f}".replace(".", self.decimal).replace("-", "−")

    def count(self, value: float) -> str:
        """A whole number, in groups of three."""
        return f"{int(value):,}".replace(",", str(self.texts["numbers"]["thousands"]))

    def percent(self, share: float, decimals: int = 0) -> str:
        """A share as a percentage."""
        return "–" if is_missing(share) else f"{self.number(100 * share, decimals)}{NBSP}%"

    def span(self, low: str, high: str) -> str:
        """An interval from two numbers."""
        return f"[{low}{self.texts['numbers']['between']}{NBSP}{high}]"

    def interval(self, row: Mapping[str, Any], decimals: int = 2, factor: float = 1, sign: str = "") -> str:
        """The 95 % interval of a row (`conf_low`, `conf_high`), as it stands."""
        return self.span(*(self.number(factor * row[part], decimals, sign) for part in ("conf_low", "conf_high")))

    def ratio(self, row: Mapping[str, Any]) -> str:
        """A log ratio and its interval, as ratios; what is above 100 says so."""
        if is_missing(row["estimate"]):
            return "–"
        value, *limits = (float(np.exp(row[part])) for part in ("estimate", "conf_low", "conf_high"))
        return f"{self._at_most(value)} {self.span(*map(self._at_most, limits))}"

    def _at_most(self, ratio: float) -> str:
        return self.number(ratio) if ratio < 100 else ">100"

    def p(self, value: float) -> str:
        """A p-value to three decimals."""
        if is_missing(value):
            return "–"
        return f"<{self.number(0.001, 3)}" if value < 0.001 else self.number(value, 3)


@cache
def read_words(language: str) -> Words:
    """The texts of `nl` or `en`."""
    return Words(language, yaml.safe_load((FOLDER / f"{language}.yml").read_text(encoding="utf-8")))
