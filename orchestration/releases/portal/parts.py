"""What pages are made of, what every figure and table states of itself, and what stands where something did not leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from orchestration.analysis.showing.drawing import Stamp
from orchestration.analysis.showing.source import Record, Table, quarter, records
from orchestration.releases.disclosure import PASS
from orchestration.releases.portal.content import PortalContent
from orchestration.releases.portal.words import Words


@dataclass(frozen=True)
class Figure:
    """A picture: its file's name, its bytes, the text that stands for it where it is not seen, and its caption."""

    name: str
    png: bytes
    alternative: str
    caption: str
    stated: str
    is_simulated: bool
    kind: str = "figure"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the file says them."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")


@dataclass(frozen=True)
class Said:
    """A paragraph; `kind` says how it looks: `text`, or `absent` for what did not leave."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Link:
    """A name with what it is; without `href` it leads nowhere."""

    name: str
    text: str
    href: str | None = None


@dataclass(frozen=True)
class Links:
    """A list of links."""

    items: tuple[Link, ...]
    kind: str = "links"


@dataclass(frozen=True)
class Quote:
    """Text that is to be copied as it is."""

    text: str
    kind: str = "quote"


Part = Figure | Table | Said | Links | Quote


@dataclass(frozen=True)
class Block:
    """Parts under a small heading; behind it where `is_open` is false."""

    title: str
    parts: Sequence[Part]
    is_open: bool = True


@dataclass(frozen=True)
class Section:
    """A section of a page: its address, title and blocks."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A page of the site. `path`: below the folder of a language, without `.html`."""

    path: str
    title: str
    lead: str
    sections: Sequence[Section]
    extra: Mapping[str, object] = field(default_factory=dict)
    template: str = "page"

    @property
    def up(self) -> str:
        """The root of the site from here."""
        return "../" * (1 + self.path.count("/"))


@dataclass(frozen=True)
class Writer:
    """The content in one language, and what every part states: release, sizes, end of follow-up, suppression, SIMULATED."""

    content: PortalContent
    words: Words

    @property
    def outcomes(self) -> dict[str, str]:
        """What each outcome definition that something left of is called, in their order."""
        named = [frame["outcome_id"] for frame in self.content.frames.values() if "outcome_id" in frame]
        found = dict.fromkeys(str(name) for names in named for name in names.dropna())
        modelled = map(str, self.frame("estimates")["outcome_id"]) if self.has("estimates") else ()
        ordered = dict.fromkeys([*modelled, *found])
        return {name: self.words.name("outcome", name) for name in ordered}

    def has(self, item: str) -> bool:
        """Whether anything of a table of the fit left."""
        return bool(len(self.content.frames.get(item, ())))

    def frame(self, item: str) -> pd.DataFrame:
        """What left of a table of the fit. Raises KeyError where nothing did: ask `has` first."""
        frame = self.content.frames[item]
        return frame.assign(count=pd.to_numeric(frame["count"]).astype(float)) if "count" in frame else frame

    def rows(self, item: str) -> list[Record]:
        """The rows that left of a table of the fit."""
        return records(self.frame(item)) if self.has(item) else []

    def absent(self, item: str) -> Said:
        """What stands where nothing of a table left: that, and by which rule."""
        rule = self._verdict(item, "rule")
        why = self.reasons(rule) if rule is not None else self.words("absent.not_made")
        return Said(self.words("absent.said", what=self.words.name("item", item), why=why), "absent")

    def reasons(self, rules: str) -> str:
        """Rule codes in words."""
        return "; ".join(self.words.name("rule", code) for code in rules.split() or [""])

    def _verdict(self, item: str, column: str) -> str | None:
        own = self.content.verdicts[self.content.verdicts["item"] == item]
        return str(own[column].iloc[0]) if len(own) else None

    def suppression(self, items: Sequence[str]) -> str:
        """That small counts are not shown, and what was hidden of these tables of the fit."""
        least = self.words("stated.least", threshold=self.content.rules.threshold)
        if not items:
            return least
        own = self.content.verdicts[self.content.verdicts["item"].isin(list(items))]
        hidden = own[own["verdict"] != PASS]
        if not len(hidden):
            return f"{least}, {self.words('stated.nothing_hidden')}"
        why = self.reasons(" ".join(dict.fromkeys(" ".join(hidden["rule"]).split())))
        return f"{least}, {self.words('stated.hidden', hidden=self.words.count(hidden['hidden'].sum()), why=why)}"

    def stated(self, sizes: str, items: Sequence[str] = ()) -> str:
        """The line of a part. `sizes` names n and events; `items` are the tables of the fit that it is made from."""
        about = self.content.about
        parts = [
            self.words("stated.release", tag=about.tag), sizes, self.words("stated.register", quarter=quarter(about.registry_cutoff_on)),
            self.suppression(items),
        ]  # fmt: skip
        return " · ".join(parts)

    def no_people(self) -> str:
        """The sizes of what counts nobody."""
        return self.words("stated.no_people")

    def sizes(self, rows: pd.DataFrame) -> str:
        """n and events of each outcome of rows that hold them: those of its largest cohort, as they left, that is rounded or hidden."""
        said = []
        for outcome, own in rows.groupby("outcome_id", sort=False):
            one = own.sort_values("n").iloc[-1]
            name = self.words.name("outcome", outcome)
            if "events" in own:
                said.append(self.words("stated.sizes", outcome=name, n=self.count(one["n"]), events=self.count(one["events"])))  # fmt: skip
            else:
                said.append(self.words("stated.people", outcome=name, n=self.count(one["n"]), events=self._events(str(outcome))))  # fmt: skip
        return "; ".join(said) or self.words("stated.nobody")

    def all_sizes(self, rows: pd.DataFrame) -> str:
        """n and events of many outcomes in one line: how many outcomes, and between which numbers both lie."""
        n, events = (self._between(rows[name]) for name in ("n", "events"))
        return self.words("stated.many", outcomes=rows["outcome_id"].nunique(), n=n, events=events)

    def _between(self, counts: pd.Series) -> str:
        known = counts.dropna()
        if not len(known):
            return self.words("hidden")
        low, high = self.words.count(known.min()), self.words.count(known.max())
        return low if low == high else self.words("stated.from_to", low=low, high=high)

    def count(self, value: Any) -> str:
        """A number of people, or the mark of one that did not leave."""
        return self.words("hidden") if pd.isna(value) else self.words.count(value)

    def _events(self, outcome: str) -> str:
        """The events of an outcome as the models have them, for what itself holds none."""
        own = self.frame("estimates") if self.has("estimates") else pd.DataFrame({"outcome_id": []})
        own = own[own["outcome_id"] == outcome]
        return self.words.count(own["events"].max()) if len(own) else self.words("stated.not_counted")

    def ratings(self, counts: pd.Series) -> str:
        """The sizes of what is about ratings alone, where no event is counted."""
        return self.words("stated.ratings", n=self._between(counts)) if counts.notna().any() else self.words("stated.nobody")  # fmt: skip

    def table(
        self, caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]], sizes: str, items: Sequence[str] = (), note: str = "",
        is_wordy: bool = False,
    ) -> Table:  # fmt: skip
        """A table that states what it is of; `is_wordy` where its cells are words and not numbers."""
        return Table(
            caption, list(headers), [list(row) for row in rows], self.stated(sizes, items), self.content.about.is_simulated, note,
            kind="words" if is_wordy else "table",
        )  # fmt: skip

    def figure(
        self, name: str, draw: Callable[[Stamp], bytes], caption: str, alternative: str, sizes: str, items: Sequence[str], short: str = ""
    ) -> Figure:  # fmt: skip
        """A picture that states what it is of, under it and, shorter, in it; `short`: sizes as they stand in it, where they are many."""
        about = self.content.about
        inside = " · ".join(
            [
                self.words("stated.release", tag=about.tag), (short or sizes) + "\n" + self.words("stated.register", quarter=quarter(about.registry_cutoff_on)),
                self.words("stated.least", threshold=self.content.rules.threshold),
            ]
        )  # fmt: skip
        stamp = Stamp(inside, about.is_simulated, self.words.figure, self.words.decimal)
        return Figure(name, draw(stamp), alternative, caption, self.stated(sizes, items), about.is_simulated)
