"""TRIPOD+AI and STROBE, filled in as far as the platform knows: the items are `checklists.yml`, the values `facts`; the rest is the author's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestration.analysis.showing.source import Source, Table

ITEMS = Path(__file__).with_name("checklists.yml")
AUTHOR = "author"


@dataclass(frozen=True)
class Item:
    """An item of a checklist: its number, what it asks for in few words, and the names of the facts that fill it; none: the author's."""

    number: str
    asks: str
    known: tuple[str, ...]


@dataclass(frozen=True)
class Checklist:
    """A checklist: its name, where it is from, and its items."""

    name: str
    source: str
    items: tuple[Item, ...]


def read_checklists(path: Path = ITEMS) -> list[Checklist]:
    """The checklists of the file, in its order."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Checklist(one["name"], one["source"], tuple(Item(str(item["number"]), item["asks"], tuple(item.get("known", ()))) for item in one["items"]))
        for one in content
    ]  # fmt: skip


def filled(item: Item, known: Mapping[str, str]) -> str:
    """What the platform says to an item; `author` where the item is the author's alone. Raises KeyError for a fact that there is not."""
    return " ".join(known[name] for name in item.known if known[name]) if item.known else AUTHOR


def unfilled(checklist: Checklist, known: Mapping[str, str]) -> list[str]:
    """Numbers of the items that the platform should know and has nothing to say to."""
    return [item.number for item in checklist.items if not filled(item, known)]


def checklist_table(checklist: Checklist, known: Mapping[str, str], sizes: str, source: Source) -> Table:
    """One row per item; what is the author's is marked."""
    rows = [[f"{item.number}. {item.asks}", filled(item, known) or "not known of this fit"] for item in checklist.items]
    machine = sum(bool(item.known) for item in checklist.items)
    return source.table(
        checklist.name, ["Item", "What the platform knows"], rows, sizes,
        f"{checklist.source}. Items in our own words: read the original beside it. {machine} of {len(rows)} rows are filled from the fit; the others are the author's.",
        ["" if item.known else AUTHOR for item in checklist.items],
    )  # fmt: skip
