"""What is said of two versions: the rows that came, went and changed, and outcomes of the past that are not what they were."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.warehouse.diff import PAST, compare, page
from orchestration.warehouse.revisions import NoSuchOutcome, revisions
from orchestration.warehouse.versions import PublishedTable, Version, publish
from tests.conftest import settings_in
from tests.deliveries.making import RECORD

Rows = list[dict[str, Any]]
SCHEMA = {
    "client": pa.schema([("client_id", pa.string()), ("start_quarter", pa.string()), ("age", pa.int32())]),
    "followup": pa.schema(
        [("client_id", pa.string()), ("outcome_id", pa.string()), ("exit_day", pa.int32()), ("event", pa.bool_()), ("exit_reason", pa.string())]
    ),
    "outcome_definition": pa.schema([("outcome_id", pa.string()), ("lag_months", pa.int32())]),
}  # fmt: skip
KEYS = {"client": ("client_id",), "followup": ("client_id", "outcome_id"), "outcome_definition": ("outcome_id",)}


def version(settings: Settings, tables: dict[str, Rows], **record: Any) -> Version:
    marts = {name: pa.Table.from_pylist(rows, SCHEMA[name]) for name, rows in tables.items()}
    published = [PublishedTable(name, name, f"one row per {name}", {}, KEYS[name]) for name in marts]
    return publish(settings, marts, published, {**RECORD, **record})[0]


def clients(*names: str) -> Rows:
    return [{"client_id": name, "start_quarter": "2022-Q1", "age": 30} for name in names]


def followed(
    name: str, exit_day: int | None, event: bool | None, reason: str = "cutoff", outcome: str = "o"
) -> dict[str, Any]:
    return {"client_id": name, "outcome_id": outcome, "exit_day": exit_day, "event": event, "exit_reason": reason}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (followed("a", 500, False), followed("a", 400, True, "event"), "late_event"),
        (followed("a", 500, False), followed("a", 600, True, "event"), "new_event"),
        (followed("a", 400, True, "event"), followed("a", 600, False), "event_gone"),
        (followed("a", 400, True, "event"), followed("a", 390, True, "event"), "event_moved"),
        (followed("a", 400, True, "event"), followed("a", 400, True, "event"), None),
        (followed("a", 500, False), followed("a", 600, False), "followed_longer"),
        (followed("a", 500, False), followed("a", 450, False, "death"), "followed_shorter"),
        (followed("a", None, None, "not_linked"), followed("a", 500, False), "linked"),
        (followed("a", 500, True, "event"), followed("a", None, None, "not_linked"), "unlinked"),
        (followed("a", None, None, ""), followed("a", 500, False), "now_followed"),
    ],
)
def test_how_an_outcome_changed_is_told_apart(
    settings: Settings, before: dict[str, Any], after: dict[str, Any], kind: str | None
) -> None:
    old = version(settings, {"client": clients("a"), "followup": [before]})
    new = version(settings, {"client": clients("a"), "followup": [after]})
    found = compare(old, new)
    assert found.outcomes == ({"o": {kind: 1}} if kind else {})
    assert found.past_changed == (kind in PAST)
    assert found.by_quarter == ({"o": {"2022-Q1": 1}} if kind in PAST else {})


def test_rows_are_told_by_key_and_changes_by_column(settings: Settings) -> None:
    old = version(settings, {"client": clients("a", "b", "c")})
    changed = clients("b", "c", "d", "e")
    changed[0]["age"] = 31
    found = compare(old, version(settings, {"client": changed})).tables["client"]
    assert (found.rows_old, found.rows_new, found.added, found.removed, found.changed) == (3, 4, 2, 1, 1)
    assert found.columns == {"age": 1}


def test_definitions_and_code_lists_that_changed_are_named(settings: Settings) -> None:
    old = version(
        settings, {"outcome_definition": [{"outcome_id": "o", "lag_months": 6}, {"outcome_id": "p", "lag_months": 6}]},
        code_lists={"offence_class": [{"article": "Sr 310", "max": "4"}]},
    )  # fmt: skip
    new = version(
        settings, {"outcome_definition": [{"outcome_id": "o", "lag_months": 12}, {"outcome_id": "q", "lag_months": 6}]},
        code_lists={"offence_class": [{"article": "Sr 310", "max": "6"}, {"article": "Sr 999", "max": "1"}]}, code="other",
    )  # fmt: skip
    found = compare(old, new)
    assert found.definitions == {
        "o": {"change": "changed", "columns": {"lag_months": [6, 12]}}, "p": {"change": "removed"}, "q": {"change": "added"},
    }  # fmt: skip
    assert found.code_lists == {"offence_class": {"added": 2, "removed": 1}}
    assert found.reasons["code_changed"]


def test_each_outcome_of_the_past_that_changed_has_its_nearest_cause(settings: Settings) -> None:
    people = ["defined", "mended", "ruled"]
    definitions = [{"outcome_id": "o", "lag_months": 6}, {"outcome_id": "redefined", "lag_months": 6}]

    def tables(exit_day: int, lag: int) -> dict[str, Rows]:
        rows = [followed(name, exit_day, True, "event") for name in people[1:]]
        rows.append(followed("defined", exit_day, True, "event", "redefined"))
        return {"client": clients(*people), "followup": rows, "outcome_definition": [definitions[0], {**definitions[1], "lag_months": lag}]}  # fmt: skip

    old = version(settings, tables(400, 6))
    new = version(settings, tables(390, 12), code="other")
    same_code = version(settings, tables(391, 12))
    changed = frozenset({"mended"})
    assert compare(old, new, changed).causes == {"definition": 1, "record": 1, "rules": 1}
    assert compare(old, same_code, changed).causes == {"definition": 1, "record": 1, "unexplained": 1}
    assert compare(old, same_code).causes == {"definition": 1, "not_traced": 2}


def test_the_events_of_a_cohort_are_followed_over_versions(settings: Settings) -> None:
    early = version(settings, {"client": clients("a", "b"), "followup": [followed("a", 300, False), followed("b", None, None, "not_linked")]}, registry_cutoff_on="2024-12-31")  # fmt: skip
    late = version(settings, {"client": clients("a", "b"), "followup": [followed("a", 290, True, "event"), followed("b", 400, False)]})  # fmt: skip
    found = revisions([early, late], "o").to_dict("records")
    assert [(row["quarter"], row["registry_cutoff_on"], row["followed"], row["events"]) for row in found] == [
        ("2022-Q1", "2024-12-31", 1, 0),
        ("2022-Q1", "2025-12-31", 2, 1),
    ]
    with pytest.raises(NoSuchOutcome, match="there are o"):
        revisions([early, late], "p")


PEOPLE = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(20, 24), max_size=8)


@examples(max_examples=60)
@given(PEOPLE, PEOPLE)
def test_what_is_said_is_exactly_what_was_edited(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, int], after: dict[str, int]
) -> None:
    settings = settings_in(tmp_path_factory.mktemp("edited"))
    old, new = (
        version(settings, {"client": [{"client_id": name, "start_quarter": "2022-Q1", "age": age} for name, age in people.items()]})
        for people in (before, after)
    )  # fmt: skip
    found = compare(old, new).tables["client"]
    changed = sum(before[name] != after[name] for name in before.keys() & after.keys())
    assert (found.added, found.removed, found.changed) == (len(after.keys() - before.keys()), len(before.keys() - after.keys()), changed)  # fmt: skip
    assert found.is_same == (before == after)


def test_no_value_of_a_person_is_in_what_is_said(settings: Settings) -> None:
    old = version(settings, {"client": clients("canary-one"), "followup": [followed("canary-one", 98765, False)]})
    new = version(
        settings, {"client": clients("canary-two"), "followup": [followed("canary-two", 87654, True, "event")]}
    )
    found = compare(old, new)
    said = json.dumps(found.as_record()) + page(found)
    assert "SIMULATED" in page(found)
    assert not [value for value in ("canary", "98765", "87654") if value in said]


def test_the_command_leaves_with_one_when_versions_differ(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.cli import main
    from orchestration.home import initialise

    initialise(settings)
    gone = [{"organisation": "rn", "period": "2025-Q4", "content_hash": "gone", "manifest_sha256": "gone"}]
    old = version(settings, {"client": clients("a")}, deliveries=gone)
    new = version(settings, {"client": clients("a", "b")}, deliveries=gone)
    monkeypatch.setenv("DELICTVRIJ_HOME", str(settings.home))
    monkeypatch.setenv("DELICTVRIJ_KEY_FILE", str(settings.key_file))
    out = settings.home_path / "diff.html"
    differs = CliRunner().invoke(main, ["diff", old.version_id, new.version_id, "--json", "--html", str(out)])
    assert differs.exit_code == 1
    assert json.loads(differs.stdout)["tables"]["client"]["added"] == 1
    assert "default-src 'none'" in out.read_text()
    assert CliRunner().invoke(main, ["diff", "current"]).exit_code == 0
    unknown = CliRunner().invoke(main, ["diff", "nobody"])
    assert unknown.exit_code == 1
    assert "delictvrij versions" in unknown.output
