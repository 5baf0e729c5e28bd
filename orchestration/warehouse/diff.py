"""What differs between two versions: rows by table and column, outcomes of the past, definitions and code lists, and why.

Counts and names of columns only: no value of a person is in what is said here. Definitions and code lists are no persons'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestration.pages import rendered
from orchestration.warehouse.versions import Version, quoted, verify

TEMPLATE = Path(__file__).parent / "templates" / "diff.html.j2"
PAST = {
    "late_event": "an event on a day that had been followed before without one (registered late)",
    "event_gone": "an event that is none any more (quashed, acquitted or dismissed since)",
    "event_moved": "the event is on another day",
    "linked": "found in the registry now, not before",
    "unlinked": "found in the registry before, not now",
    "followed_shorter": "followed for a shorter time, with no event before or after",
}
CAUSES = {
    "definition": "the definition of the outcome says something else",
    "record": "something about the person was delivered differently",
    "rules": "settings, code, code lists, corrections or what is left out are not the same",
    "unexplained": "nothing that could have changed it did: this ought not to happen",
    "not_traced": "a delivery that a version was built from is gone",
}
PROGRESS = {
    "new_event": "an event after the day up to which they had been followed",
    "followed_longer": "followed for a longer time, still without an event",
    "now_followed": "under follow-up now, not before",
    "no_longer_followed": "under follow-up before, not now",
    "new_person": "not in the version before",
    "gone_person": "no longer in the version",
}


@dataclass(frozen=True)
class TableChange:
    """One table: rows in both versions, rows that came, went and changed, and in how many rows each column changed.

    `added` and `removed` go by the key of the table; `columns_added` and `columns_removed` are names.
    """

    rows_old: int
    rows_new: int
    added: int
    removed: int
    changed: int
    columns: Mapping[str, int]
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        return not (self.added or self.removed or self.changed or self.columns_added or self.columns_removed)


@dataclass(frozen=True)
class Difference:
    """Two versions held against each other.

    `outcomes` counts, by outcome and kind (`PAST`, `PROGRESS`), the clients whose outcome is not what it was;
    `by_quarter` those of `PAST` by outcome and quarter of start, `causes` (`CAUSES`) those of `PAST` over all outcomes;
    `definitions` and `code_lists` name what was added, removed and changed; `reasons` is what differs in how the two came about.
    """

    old: str
    new: str
    simulated: bool
    tables: Mapping[str, TableChange]
    outcomes: Mapping[str, Mapping[str, int]]
    by_quarter: Mapping[str, Mapping[str, int]]
    causes: Mapping[str, int]
    definitions: Mapping[str, Mapping[str, Any]]
    code_lists: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, Any]

    @property
    def is_same(self) -> bool:
        return all(change.is_same for change in self.tables.values())

    @property
    def past_changed(self) -> int:
        """Outcomes (client × definition) of the past that changed."""
        return sum(count for kinds in self.outcomes.values() for kind, count in kinds.items() if kind in PAST)

    def as_record(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "is_same": self.is_same, "past_changed": self.past_changed}


def compare(old: Version, new: Version, changed_people: frozenset[str] | None = None) -> Difference:
    """Hold two versions against each other. Raises VersionDamaged when one is not what its manifest says.

    `changed_people` are the clients of whom something was delivered differently (`evidence.py`), None where nobody knows.
    """
    for version in (old, new):
        verify(version)
    names = sorted({*old.table_hashes, *new.table_hashes})
    tables = {name: _table(old, new, name) for name in names}
    past = _changed_outcomes(old, new)
    definitions, reasons = _definitions(old, new), _reasons(old.manifest["build"], new.manifest["build"])
    code_lists = _code_lists(old.manifest["build"], new.manifest["build"])
    # A later cut-off or other deliveries are no cause by themselves: what they brought is in the person's records.
    is_ruled_otherwise = bool(code_lists) or any(name not in _BROUGHT for name, value in reasons.items() if value)
    return Difference(
        old=old.version_id,
        new=new.version_id,
        simulated=bool(old.manifest["simulated"] or new.manifest["simulated"]),
        tables=tables,
        outcomes=_counted(past, "kind"),
        by_quarter=_counted([row for row in past if row["kind"] in PAST], "quarter"),
        causes=_causes(past, definitions, changed_people, is_ruled_otherwise),
        definitions=definitions,
        code_lists=code_lists,
        reasons=reasons,
    )


_BROUGHT = ("deliveries_added", "deliveries_removed", "registry_cutoff_on", "known_on")


def _counted(rows: list[dict[str, str]], column: str) -> dict[str, dict[str, int]]:
    """How many rows of each outcome have which value of a column."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["outcome_id"], Counter())[row[column]] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}


def _causes(
    rows: list[dict[str, str]],
    definitions: Mapping[str, Any],
    changed_people: frozenset[str] | None,
    is_ruled_otherwise: bool,
) -> dict[str, int]:
    """Why outcomes of the past changed, the nearest cause of each."""
    found: Counter[str] = Counter()
    for row in rows:
        if row["kind"] not in PAST:
            continue
        if row["outcome_id"] in definitions:
            cause = "definition"
        elif changed_people is not None and row["client_id"] in changed_people:
            cause = "record"
        elif is_ruled_otherwise:
            cause = "rules"
        else:
            cause = "not_traced" if changed_people is None else "unexplained"
        found[cause] += 1
    return dict(sorted(found.items()))


def _path(version: Version, table: str) -> Path | None:
    return version.folder / f"{table}.parquet" if table in version.manifest["tables"] else None


def _table(old: Version, new: Version, name: str) -> TableChange:
    entries = [version.manifest["tables"].get(name) for version in (old, new)]
    before, after = entries
    if before is None or after is None:
        there = before or after
        rows = there["rows"]
        columns = tuple(column["name"] for column in there["columns"])
        if before is None:
            return TableChange(0, rows, rows, 0, 0, {}, columns_added=columns)
        return TableChange(rows, 0, 0, rows, 0, {}, columns_removed=columns)
    had = {column["name"] for column in before["columns"]}
    has = {column["name"] for column in after["columns"]}
    common = [column["name"] for column in after["columns"] if column["name"] in had]
    added_columns = tuple(column["name"] for column in after["columns"] if column["name"] not in had)
    removed_columns = tuple(column["name"] for column in before["columns"] if column["name"] not in has)
    if before["content_hash"] == after["content_hash"]:
        return TableChange(before["rows"], after["rows"], 0, 0, 0, {})
    key = [column for column in (after.get("key") or before.get("key") or []) if column in common] or common
    added, removed, changed, by_column = _rows(old, new, name, key, common)
    return TableChange(
        before["rows"], after["rows"], added, removed, changed, by_column, added_columns, removed_columns
    )  # fmt: skip


def _rows(
    old: Version, new: Version, name: str, key: list[str], common: list[str]
) -> tuple[int, int, int, dict[str, int]]:
    import duckdb

    values = [column for column in common if column not in key]
    same_key = " and ".join(f"o.{quoted(column)} is not distinct from n.{quoted(column)}" for column in key)
    differs = [f"o.{quoted(column)} is distinct from n.{quoted(column)}" for column in values]
    with duckdb.connect() as connection:
        # A row that stands there more often than its key says (which the tests of a build exclude) is a row of its own.
        for alias, version in (("old_rows", old), ("new_rows", new)):
            columns = ", ".join(quoted(column) for column in common)
            keys = ", ".join(quoted(column) for column in key)
            connection.execute(
                f"create temp table {alias} as select {columns}, row_number() over (partition by {keys} order by {columns}) "  # noqa: S608 - columns are those of the manifest
                f"as _nth from read_parquet(?)",
                [str(_path(version, name))],
            )
        joined = f"from old_rows as o inner join new_rows as n on {same_key} and o._nth = n._nth"
        counts = [f"count(*) filter (where {condition})" for condition in differs]
        any_differs = " or ".join(differs) or "false"
        matched, changed, *each = _one(
            connection,
            f"select count(*), count(*) filter (where {any_differs}){''.join(', ' + c for c in counts)} {joined}",
        )
        (n_old,) = _one(connection, "select count(*) from old_rows")
        (n_new,) = _one(connection, "select count(*) from new_rows")
    by_column = {column: count for column, count in zip(values, each, strict=True) if count}
    return n_new - matched, n_old - matched, changed, by_column


def _one(connection: Any, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    return tuple(int(value) for value in row)


def _changed_outcomes(old: Version, new: Version) -> list[dict[str, str]]:
    """A row for each client and definition whose outcome is not what it was: its kind, and the quarter of start."""
    import pyarrow.parquet as pq

    frames = []
    for version in (old, new):
        if _path(version, "followup") is None or _path(version, "client") is None:
            return []
        rows = pq.read_table(
            version.folder / "followup.parquet", columns=["client_id", "outcome_id", "exit_day", "event", "exit_reason"]
        ).to_pandas()
        people = pq.read_table(version.folder / "client.parquet", columns=["client_id", "start_quarter"]).to_pandas()
        frames.append(rows.merge(people, on="client_id", how="left", validate="many_to_one"))
    both = frames[0].merge(
        frames[1],
        on=["client_id", "outcome_id"],
        how="outer",
        suffixes=("_old", "_new"),
        validate="one_to_one",
        indicator="side",
    )
    # A definition that only one of the two versions has says nothing about people.
    shared = set(frames[0]["outcome_id"]) & set(frames[1]["outcome_id"])
    both = both[both["outcome_id"].isin(shared)]
    found = []
    row: Any
    for row in both.itertuples(index=False):
        kind = _kind(row)
        if kind is not None:
            quarter = row.start_quarter_new if isinstance(row.start_quarter_new, str) else row.start_quarter_old
            found.append({"outcome_id": row.outcome_id, "client_id": row.client_id, "kind": kind, "quarter": quarter})
    return found


def _kind(row: Any) -> str | None:
    """How the outcome of one client under one definition changed; None when it did not."""
    import pandas as pd

    if row.side == "right_only":
        return "new_person"
    if row.side == "left_only":
        return "gone_person"
    was_linked, is_linked = row.exit_reason_old != "not_linked", row.exit_reason_new != "not_linked"
    if was_linked != is_linked:
        return "linked" if is_linked else "unlinked"
    was_followed, is_followed = not pd.isna(row.event_old), not pd.isna(row.event_new)
    if not (was_followed and is_followed):
        return None if was_followed == is_followed else "now_followed" if is_followed else "no_longer_followed"
    had, has = bool(row.event_old), bool(row.event_new)
    if had and has:
        return "event_moved" if row.exit_day_old != row.exit_day_new else None
    if had:
        return "event_gone"
    if has:
        return "late_event" if row.exit_day_new <= row.exit_day_old else "new_event"
    if row.exit_day_new == row.exit_day_old:
        return None
    return "followed_longer" if row.exit_day_new > row.exit_day_old else "followed_shorter"


def _definitions(old: Version, new: Version) -> dict[str, dict[str, Any]]:
    """Outcome definitions that came, went, or say something else, with what they said and say."""
    import pandas as pd
    import pyarrow.parquet as pq

    found: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, dict[str, Any]]] = []
    for version in (old, new):
        path = _path(version, "outcome_definition")
        frame = pq.read_table(path).to_pandas() if path else pd.DataFrame(columns=["outcome_id"])
        rows.append({str(row["outcome_id"]): {str(k): v for k, v in row.items()} for row in frame.to_dict("records")})
    before, after = rows
    for name in sorted({*before, *after}):
        if name not in before:
            found[name] = {"change": "added"}
        elif name not in after:
            found[name] = {"change": "removed"}
        else:
            columns = {
                column: [_plain(before[name].get(column)), _plain(after[name].get(column))]
                for column in sorted({*before[name], *after[name]})
                if _plain(before[name].get(column)) != _plain(after[name].get(column))
            }
            if columns:
                found[name] = {"change": "changed", "columns": columns}
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _code_lists(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Rows that came and went in each code list; a changed row is one of each."""
    before, after = old.get("code_lists", {}), new.get("code_lists", {})
    found = {}
    for name in sorted({*before, *after}):
        was, is_now = (Counter(tuple(sorted(row.items())) for row in lists.get(name, [])) for lists in (before, after))
        added, removed = sum((is_now - was).values()), sum((was - is_now).values())
        if added or removed:
            found[name] = {"added": added, "removed": removed}
    return found


def _reasons(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What differs in how two versions came about."""
    before, after = (
        {(item["organisation"], item["period"], item["content_hash"]) for item in record["deliveries"]}
        for record in (old, new)
    )
    found: dict[str, Any] = {
        "deliveries_added": [f"{organisation} {period}" for organisation, period, _ in sorted(after - before)],
        "deliveries_removed": [f"{organisation} {period}" for organisation, period, _ in sorted(before - after)],
    }
    for name in ("registry_cutoff_on", "settings", "known_on"):
        if old.get(name) != new.get(name):
            found[name] = [old.get(name), new.get(name)]
    for name in ("code", "packages", "key_id", "corrections", "without", "withdrawals"):
        if old.get(name) != new.get(name):
            found[f"{name}_changed"] = True
    return found


def page(difference: Difference) -> str:
    """The difference as one HTML page that needs nothing from elsewhere."""
    return rendered(TEMPLATE, difference=difference, past=PAST, progress=PROGRESS, causes=CAUSES)
