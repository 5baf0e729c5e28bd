"""What every part of the page is made of: tables, pictures and texts, and what each states of itself. No number is worked out here."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.showing.drawing import Stamp
from orchestration.analysis.showing.small_cells import rounded

Record = dict[str, Any]
HIDDEN = "·"
NBSP = "\N{NO-BREAK SPACE}"  # an interval stays on its line
NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Table:
    """A table as it is shown: text in cells, the first column being the row's header; `flags` marks whole rows.

    `stated` is the line of sizes, follow-up, suppression and source that stands in its foot.
    """

    caption: str
    headers: list[str]
    rows: list[list[str]]
    stated: str
    is_simulated: bool
    note: str = ""
    flags: list[str] = field(default_factory=list)
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI, with the text that stands for it where it is not seen."""

    uri: str
    alternative: str
    caption: str
    stated: str
    is_simulated: bool
    kind: str = "picture"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


Part = Table | Picture | Text


@dataclass(frozen=True)
class Block:
    """Parts that stand under one small heading; open to the eye at once, or behind it."""

    title: str
    parts: list[Part]
    is_open: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page: what it is called in the contents, its address, a first sentence, and its blocks."""

    anchor: str
    title: str
    lead: str
    blocks: list[Block]
    is_real: bool = False


@dataclass(frozen=True)
class Source:
    """Where numbers come from, and what every figure and table says of that. `follow_up_end` is a quarter, never a day."""

    version_id: str
    fit_id: str
    is_simulated: bool
    threshold: int
    follow_up_end: str = "not known"

    def stated(self, sizes: str) -> str:
        """`sizes` names n and events; added are follow-up end, suppression, version and fit, and SIMULATED where it is."""
        parts = [
            sizes, f"register to {self.follow_up_end}", f"counts below {self.threshold} not shown", f"version {self.version_id}",
            f"fit {self.fit_id}",
        ]  # fmt: skip
        return " · ".join(["SIMULATED", *parts] if self.is_simulated else parts)

    def table(self, caption: str, headers: list[str], rows: list[list[str]], sizes: str, note: str = "",
              flags: list[str] | None = None) -> Table:  # fmt: skip
        """A table that states where it is from."""
        return Table(caption, headers, rows, self.stated(sizes), self.is_simulated, note, flags or [])

    def stamp(self, sizes: str) -> Stamp:
        """What is drawn into a picture: the same in two lines, apart from the mark, which a picture has of its own."""
        return Stamp(
            self.stated(sizes).removeprefix("SIMULATED · ").replace(" · register", "\nregister", 1), self.is_simulated
        )

    def picture(self, png: bytes, alternative: str, caption: str, sizes: str) -> Picture:
        """A picture that states where it is from, under it as in it."""
        uri = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
        return Picture(uri, alternative, caption, self.stated(sizes), self.is_simulated)

    def less(self) -> str:
        """How a small count reads."""
        return f"<{self.threshold}"

    def count(self, value: int | None) -> str:
        """A count of the whole of a cohort, hidden where it is small."""
        return self.less() if value is None or 0 < value < self.threshold else f"{value:,}"

    def about(self, value: int) -> str:
        """The count of a part, to the nearest 5: two exact ones could be subtracted."""
        return self.less() if value < self.threshold else f"{rounded(int(value)):,}"


def quarter(day: object) -> str:
    """The quarter of a day as text (`2025-12-31` is `2025-Q4`); `not known` where there is none."""
    text = str(day or "")
    return f"{text[:4]}-Q{(int(text[5:7]) + 2) // 3}" if len(text) >= 7 and text[5:7].isdigit() else "not known"


def sizes_of(rows: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> str:
    """n and events of each outcome, from rows that hold them (`outcome_id`, `n`, `events`): those of its largest cohort."""
    said = []
    for outcome, part in rows.groupby("outcome_id", sort=False):
        one = part.sort_values(["n", "events"]).iloc[-1]
        said.append(f"{outcomes.get(str(outcome), named(str(outcome)))}: n = {source.count(int(one['n']))}, {source.count(int(one['events']))} events")  # fmt: skip
    return "; ".join(said) or "n = 0, 0 events"


def about_sizes(rows: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> str:
    """The same to the nearest 5, for a part of a cohort."""
    said = []
    for outcome, part in rows.groupby("outcome_id", sort=False):
        one = part.sort_values(["n", "events"]).iloc[-1]
        said.append(f"{outcomes.get(str(outcome), named(str(outcome)))}: n = about {source.about(int(one['n']))}, about {source.about(int(one['events']))} events")  # fmt: skip
    return "; ".join(said) or "n = 0, 0 events"


def ratings_sizes(smallest: int, largest: int, source: Source) -> str:
    """The sizes of what is about ratings alone, where no event is counted."""
    low, high = source.about(smallest), source.about(largest)
    return f"n = {'about ' if high[0] != '<' else ''}{low if low == high else f'{low} to {high}'}, ratings alone: no events counted"


def named(code: str) -> str:
    """How a code reads where it has no label."""
    return code.replace("_", " ").capitalize()


def records(frame: pd.DataFrame) -> list[Record]:
    """The rows of a frame, each as a dictionary by column."""
    names, columns = [str(name) for name in frame], [frame[name].tolist() for name in frame]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def is_missing(value: Any) -> bool:
    """None or NaN."""
    return value is None or bool(value != value)


def in_order(frame: pd.DataFrame, column: str, order: list[str]) -> pd.DataFrame:
    """Rows ordered by the place of a column's value in `order`; others after them."""
    place = {name: number for number, name in enumerate(order)}
    return (
        frame.assign(_place=frame[column].map(place).fillna(len(order)))
        .sort_values("_place", kind="stable")
        .drop(columns="_place")
    )


def percent(value: float, decimals: int = 0) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{decimals}f} %"


def p_text(p: float) -> str:
    """A p-value without its leading zero."""
    return "–" if is_missing(p) else "<.001" if p < 0.001 else f"{p:.3f}"[1:] if p < 0.9995 else "1"


def interval(row: Record, decimals: int = 2) -> str:
    """`[low, high]` of a row."""
    return f"[{row['conf_low']:.{decimals}f},{NBSP}{row['conf_high']:.{decimals}f}]"


def ratio_interval(row: Record) -> str:
    """The interval of a log ratio, as ratios, without brackets."""
    low, high = np.exp([row["conf_low"], row["conf_high"]])
    return f"{low:.2f},{NBSP}{high:.2f}" if high < 100 else f"{low:.2f},{NBSP}>100"


def ratio(row: Record) -> str:
    """A log ratio and its interval, as ratios."""
    return f"{np.exp(row['estimate']):.2f} [{ratio_interval(row)}]"


def without_small_counts(note: str, threshold: int) -> str:
    """A reason as a model gave it, counts of people and events below `threshold` as `few`."""
    counted = re.compile(r"(?<![\d.,])[1-9]\d*(?= (?:clients|events|people|pairs|officers)\b)")
    return counted.sub(lambda found: "few" if int(found[0]) < threshold else found[0], note)
