"""Contracts that contradict themselves are not read, and periods are what the calendar says."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.deliveries.contracts import ContractError, Organisation, read_organisation, read_table
from orchestration.deliveries.manifest import Manifest, ManifestFile, ManifestTable
from orchestration.deliveries.periods import first_month, is_period, last_day, quarter_of_month
from orchestration.deliveries.readers import in_present_words, read_delivery

LABEL = {"nl": "x", "en": "x"}
NUMBER = {"name": "number", "type": "text", "personal": "identifier", "pseudonym": "client", "label": LABEL}
KIND = {"name": "kind", "type": "code", "personal": "none", "label": LABEL, "codes": {1: {"as": "one", **LABEL}}}


def _table(folder: Path, columns: list[dict[str, Any]], **terms: Any) -> Path:
    path = folder / "people.yml"
    content = {"table": "people", "description": LABEL, "key": ["number"], "columns": columns, **terms}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_contract_is_read_with_its_defaults(tmp_path: Path) -> None:
    rule = {"rule": "unique", "columns": ["number"], "why": "one person, one row"}
    contract = read_table(_table(tmp_path, [NUMBER, {**KIND, "missing": {9: LABEL}}], rules=[rule]), "rn")
    assert contract.column("number").source == "number"
    assert contract.column("number").is_required
    assert [(code.source, code.term) for code in contract.column("kind").codes] == [("1", "one")]
    assert list(contract.column("kind").missing) == ["9"]
    assert (contract.rules[0].severity, contract.may_be_empty) == ("error", False)


@pytest.mark.parametrize(
    ("columns", "terms", "says"),
    [
        ([{**NUMBER, "name": "Number"}], {}, "lower-case identifier"),
        ([{**NUMBER, "type": "number"}], {}, "type must be one of"),
        ([{**NUMBER, "personal": "secret"}], {}, "personal must be one of"),
        ([{**KIND, "codes": {}}], {}, "lists its codes"),
        ([{**NUMBER, "pseudonym": None}], {}, "given a pseudonym or not kept"),
        ([NUMBER, NUMBER], {}, "declared twice"),
        ([NUMBER, {**KIND, "source": "number"}], {}, "declared twice"),
        ([NUMBER], {"key": ["other"]}, "undeclared columns"),
        ([NUMBER], {"rules": [{"rule": "unique", "columns": ["other"], "why": "x"}]}, "undeclared columns"),
        ([NUMBER], {"rules": [{"rule": "hope", "columns": ["number"], "why": "x"}]}, "rule must be one of"),
        ([NUMBER], {"rules": [{"rule": "unique", "columns": ["number"]}]}, "does not say why"),
    ],
)
def test_a_contract_that_contradicts_itself_is_not_read(
    tmp_path: Path, columns: list[dict[str, Any]], terms: dict[str, Any], says: str
) -> None:
    with pytest.raises(ContractError, match=says):
        read_table(_table(tmp_path, columns, **terms), "rn")


def test_an_organisation_is_called_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "_organisation.yml").write_text(yaml.safe_dump({"organisation": "another"}))
    with pytest.raises(ContractError, match="must be the folder's name"):
        read_organisation(tmp_path)


@pytest.mark.parametrize(
    ("cadence", "days", "says"),
    [
        ("quarterly", -1, "whole number of days"),
        ("quarterly", 366, "whole number of days"),
        ("yearly", "45", "whole number of days"),
        ("yearly", True, "whole number of days"),
        ("once", 45, "delivers once"),
    ],
)
def test_a_grace_is_a_number_of_days_of_who_delivers_again(
    tmp_path: Path, cadence: str, days: object, says: str
) -> None:
    content = {"organisation": tmp_path.name, "kind": "partner", "title": LABEL, "cadence": cadence, "tables": []}
    more = {"schema_version": "1", "forms": {}, "grace_days": days}
    (tmp_path / "_organisation.yml").write_text(yaml.safe_dump({**content, **more}))
    with pytest.raises(ContractError, match=says):
        read_organisation(tmp_path)


@pytest.mark.parametrize(
    ("period", "cadence", "is_one"),
    [
        ("2024-Q1", "quarterly", True),
        ("2024-Q5", "quarterly", False),
        ("2024", "quarterly", False),
        ("2024-Q1\n", "quarterly", False),
        ("x2024-Q1", "quarterly", False),
        ("２０２４-Q1", "quarterly", False),
        ("2024", "yearly", True),
        ("2024", "once", True),
        ("2024\n", "yearly", False),
        ("2024-Q1", "yearly", False),
    ],
)
def test_a_period_is_a_quarter_or_a_year(period: str, cadence: str, is_one: bool) -> None:
    assert is_period(period, cadence) == is_one


def test_a_period_ends_on_its_last_day() -> None:
    quarters = [last_day(f"2024-Q{quarter}") for quarter in range(1, 5)]
    assert quarters == [date(2024, 3, 31), date(2024, 6, 30), date(2024, 9, 30), date(2024, 12, 31)]
    assert last_day("2024") == date(2024, 12, 31)
    with pytest.raises(ValueError, match="not a period"):
        last_day("2024-13")


@pytest.mark.parametrize("quarter", ["2024-Q1", "2024-Q2", "2024-Q3", "2024-Q4"])
def test_a_quarter_is_known_by_its_first_month(quarter: str) -> None:
    assert quarter_of_month(first_month(quarter)) == quarter
    with pytest.raises(ValueError, match="not a quarter"):
        first_month("2024")


def _two_versions(folder: Path) -> Organisation:
    columns = [
        {**NUMBER, "source": {"1": "Nummer", "2": "Number"}},
        {**KIND, "source": {"1": "Soort", "2": "Kind"}, "required": False},
        {
            "name": "weight",
            "type": "decimal",
            "personal": "none",
            "label": LABEL,
            "required": False,
            "source": {"2": "Weight"},
        },
    ]
    _table(folder, columns, rules=[{"rule": "missing_share", "columns": ["weight"], "threshold": 0.5, "why": "x"}])
    terms = {
        "organisation": folder.name, "kind": "partner", "title": LABEL, "cadence": "quarterly", "schema_version": "2",
        "earlier_versions": ["1"], "tables": ["people"], "forms": {"csv": {}},
    }  # fmt: skip
    (folder / "_organisation.yml").write_text(yaml.safe_dump(terms))
    return read_organisation(folder)


def test_headers_follow_the_schema_version_and_the_raw_store_keeps_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "rn"
    folder.mkdir()
    organisation = _two_versions(folder)
    headers = {
        version: [column.source for column in organisation.as_of(version).table("people").columns] for version in "12"
    }
    assert headers == {"1": ["Nummer", "Soort"], "2": ["Number", "Kind", "Weight"]}
    assert [column.raw_name for column in organisation.table("people").columns] == ["Nummer", "Soort", "Weight"]
    assert organisation.as_of("1").table("people").rules == ()


def test_a_delivery_in_an_earlier_version_is_read_into_the_words_of_the_raw_store(tmp_path: Path) -> None:
    folder = tmp_path / "rn"
    folder.mkdir()
    organisation = _two_versions(folder)
    terms = dict.fromkeys(("encoding", "delimiter", "decimal", "date_format"))
    terms |= {"encoding": "utf-8", "delimiter": ",", "decimal": ".", "date_format": "%Y-%m-%d"}
    for version, text in (("1", "Nummer,Soort\n007,1\n"), ("2", "Kind,Weight,Number\n1,1.5,007\n")):
        (tmp_path / "people.csv").write_text(text)
        file = ManifestFile(name="people.csv", bytes=1, sha256="0" * 64, **terms)
        manifest = Manifest.model_construct(
            files=(file,), tables=(ManifestTable(table="people", file="people.csv", rows=1),)
        )
        (read,) = read_delivery(tmp_path, manifest, organisation.as_of(version).tables, admit_test_numbers=True)
        (row,) = in_present_words(read, organisation.table("people")).rows.to_pylist()
        assert list(row) == ["Nummer", "Soort", "Weight"]
        assert (row["Nummer"], row["Soort"]) == ("007", "1")
        assert (row["Weight"] is None) == (version == "1")


@pytest.mark.parametrize("sources", [{"1": "Nummer"}, {"3": "x", "2": "y"}, {"2": "Number"}])
def test_headers_by_version_name_accepted_versions_and_a_required_column_all_of_them(
    tmp_path: Path, sources: dict[str, str]
) -> None:
    folder = tmp_path / "rn"
    folder.mkdir()
    _two_versions(folder)
    _table(folder, [{**NUMBER, "source": sources}])
    with pytest.raises(ContractError, match="version"):
        read_organisation(folder)
