"""What shows only against the snapshot before, the other organisations or the other answers, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from orchestration.deliveries.contracts import Code, Rule
from orchestration.deliveries.history import (
    judge_changes,
    judge_directions,
    judge_dummies,
    judge_units,
    judge_values,
    middles,
)
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.deliveries.letter import letter
from orchestration.deliveries.page import page
from orchestration.deliveries.readers import Reading
from orchestration.home import initialise, opened
from orchestration.simulation import simulate
from orchestration.simulation.mutations import mutate
from tests.conftest import Platform, settings_in
from tests.deliveries.making import change_rows, column, deliver, delivery_in, table


def codes(*terms: str) -> tuple[Code, ...]:
    return tuple(Code(term, term, {"nl": term, "en": term}) for term in terms)


ANSWERS = table(
    column("number"),
    column("item", "code", codes=codes("a", "b")),
    column("response", "integer", missing={"9": {"nl": "-", "en": "-"}}),
    column("on", "date"),
    key=("number", "item"),
)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def answers(count: int, seed: int = 0) -> pd.DataFrame:
    """`count` people's answers to two items, and a day."""
    draw = np.random.default_rng(seed)
    people = [str(number) for number in range(count)]
    return frame(
        number=people * 2,
        item=["a"] * count + ["b"] * count,
        response=draw.integers(1, 6, 2 * count),
        on=pd.Timestamp("2024-01-05") + pd.to_timedelta(draw.integers(0, 400, 2 * count), unit="D"),
    )


def changes(now: pd.DataFrame, before: pd.DataFrame | None, tolerance: float = 0.1) -> dict[str, Judgement]:
    return {found.column: found for found in judge_changes(ANSWERS, now, before, tolerance)}


def test_without_a_snapshot_before_there_is_nothing_to_compare() -> None:
    assert {found.status for found in changes(answers(20), None).values()} == {Status.NOT_APPLICABLE}
    other = answers(20).assign(number=lambda rows: "x" + rows["number"])
    assert {found.status for found in changes(other, answers(20)).values()} == {Status.NOT_APPLICABLE}


def test_what_is_delivered_again_in_another_order_has_not_changed() -> None:
    before = answers(30)
    found = changes(before.sample(frac=1, random_state=1), before)
    assert {item.status for item in found.values()} == {Status.PASSED}
    assert found["response"].evaluated == 60


def test_a_few_corrections_pass_and_many_do_not() -> None:
    before = answers(50)
    for count, status in ((4, Status.PASSED), (9, Status.PASSED), (40, Status.FAILED)):
        now = before.copy()
        some = now.index[:: 100 // count][:count]
        now.loc[some, "response"] = now.loc[some, "response"] % 5 + 1
        assert changes(now, before)["response"].status is status, count


def test_one_flipped_item_is_named_though_it_is_few_of_all_answers() -> None:
    before = pd.concat([answers(20), answers(200, 1).assign(item="b").drop_duplicates("number")], ignore_index=True)
    before = before.drop_duplicates(["number", "item"])
    now = before.assign(response=before["response"].where(before["item"] != "a", 6 - before["response"]))
    found = changes(now, before)["response"]
    assert found.status is Status.FAILED and "item a" in found.expected
    assert found.evaluated == 20 and found.failed is not None and found.failed >= 10


def test_what_was_missing_and_is_filled_in_has_not_changed() -> None:
    now = answers(30)
    before = now.assign(response=now["response"].astype("Int64").mask(np.arange(60) % 2 == 0))
    found = changes(now, before)["response"]
    assert (found.status, found.evaluated, found.failed) == (Status.PASSED, 30, 0)


@pytest.mark.parametrize("kind", ["shifted", "swapped"])
def test_days_that_moved_together_are_named_with_what_they_have_in_common(kind: str) -> None:
    before = answers(60)
    if kind == "shifted":
        now = before.assign(on=before["on"] - pd.Timedelta(days=1))
    else:
        now = before.assign(
            on=[day if day.day > 12 else day.replace(day=day.month, month=day.day) for day in before["on"]]
        )
    found = changes(now, before)["on"]
    assert (found.rule, found.status) == ("history.dates", Status.FAILED)
    assert ("the same number of days" if kind == "shifted" else "day and month are swapped") in found.expected


PEOPLE = table(
    column("key"),
    column("person", pseudonym="client"),
    rules=(Rule("unique", ("person",), "error", "one person, one key"),),
)


def test_one_person_under_two_keys_and_two_under_one_are_counted() -> None:
    before = frame(key=["1", "2", "3", "4"], person=["p", "q", "r", "s"])

    def counted(now: pd.DataFrame) -> tuple[Status, int | None, str]:
        (found,) = judge_changes(PEOPLE, now, before, 0.1)
        return found.status, found.failed, found.severity

    assert counted(before) == (Status.PASSED, 0, "warning")
    assert counted(frame(key=["1", "2", "3", "4"], person=["q", "p", "r", "s"])) == (Status.FAILED, 2, "warning")
    assert counted(frame(key=["1", "2", "3", "5"], person=["p", "q", "r", "s"])) == (Status.FAILED, 1, "warning")
    assert counted(frame(key=["1", "2", "3", "4"], person=["p", "q", "r", "new"])) == (Status.FAILED, 1, "warning")
    assert counted(frame(key=["1", "2", "5"], person=["p", "q", "new"])) == (Status.PASSED, 0, "warning")


NUMBERS = table(column("key"), column("years", "decimal"), column("on", "date"))


def values(years: list[float], on: list[str] | None = None) -> dict[str, Judgement]:
    days = pd.to_datetime(on or ["2024-01-20"] * len(years))
    rows = frame(key=[str(number) for number in range(len(years))], years=years, on=days)
    return {found.rule: found for found in judge_values(NUMBERS, rows)}


def test_a_frequent_extreme_far_from_the_rest_is_a_spike_and_a_long_tail_is_none() -> None:
    plain = list(np.random.default_rng(0).normal(12, 4, 200))
    assert values(plain)["value.sentinel"].status is Status.PASSED
    assert values([*plain, 99.0, 99.0])["value.sentinel"].status is Status.PASSED
    spiked = values([*plain, *[99.0] * 8])["value.sentinel"]
    assert (spiked.status, spiked.failed, spiked.severity) == (Status.FAILED, 8, "warning")
    assert values([*plain, *[-99.0] * 8])["value.sentinel"].status is Status.FAILED
    assert (
        values(list(np.random.default_rng(0).exponential(100, 300).round()))["value.sentinel"].status is Status.PASSED
    )
    assert values([0.0] * 100 + [1.0] * 20)["value.sentinel"].status is Status.NOT_APPLICABLE


def test_days_that_are_all_months_are_noticed() -> None:
    days = pd.date_range("2023-01-01", periods=300)
    plain = [day.date().isoformat() for day in days]
    early = [day.date().isoformat() for day in days if day.day <= 12]
    first = [day.replace(day=1).date().isoformat() for day in days]
    assert values([1.0] * 300, plain)["value.day_month"].status is Status.PASSED
    assert values([1.0] * len(early), early)["value.day_month"].status is Status.FAILED
    assert values([1.0] * 300, first)["value.day_month"].status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(("name", "is_made_up"), [
    ("Test", True), ("testpersoon", True), ("TEST 2", True), ("Jan Test", True), ("dummy1", True), ("xxx", True),
    ("Testa", False), ("Van der Test-Bakker", False), ("Jansen", False), ("Dummer", False), ("", False),
])  # fmt: skip
def test_made_up_people_are_known_by_their_names(name: str, is_made_up: bool) -> None:
    people = table(column("key"), column("surname", keep=False))
    names = pa.array(["Jansen", name or None]).dictionary_encode()
    rows = pa.table({"key": pa.array(["1", "2"]).dictionary_encode(), "surname": names})
    (found,) = judge_dummies(Reading(people, rows, (), has_test_numbers=False))
    assert found.failed == int(is_made_up) and found.rows == ((2,) if is_made_up else ())


def test_a_number_in_another_unit_is_noticed_against_the_other_organisations() -> None:
    own, minutes = (
        frame(key=list("abcdef"), years=[factor * n for n in range(1, 7)], on=None) for factor in (1.0, 60.0)
    )
    others = [middles(NUMBERS, own), middles(NUMBERS, own)]
    assert [found.status for found in judge_units(NUMBERS, own, others)] == [Status.PASSED]
    assert [found.status for found in judge_units(NUMBERS, minutes, others)] == [Status.FAILED]
    assert [found.status for found in judge_units(NUMBERS, minutes, [])] == [Status.NOT_APPLICABLE]


def test_a_flipped_item_is_seen_without_a_snapshot_before_and_what_can_be_seen_is_stated() -> None:
    asked = pd.DataFrame(
        {"rater": "client", "scale": "bond", "item": list("abcd"), "is_reversed": [False, False, True, False]}
    )
    sheet = table(
        column("number"),
        column("rater", "code", codes=codes("client")),
        column("item", "code", codes=codes(*"abcd")),
        column("response", "integer", missing={"9": {"nl": "-", "en": "-"}}),
        key=("number", "rater", "item"),
    )
    draw = np.random.default_rng(5)
    bond = draw.normal(0, 1, 80)
    given = {
        name: np.clip(np.round(3 + sign * bond + draw.normal(0, 0.7, 80)), 1, 5)
        for name, sign in zip("abcd", (1, 1, -1, 1), strict=True)
    }
    rows = pd.concat(
        [
            frame(number=[str(n) for n in range(80)], rater="client", item=name, response=cells)
            for name, cells in given.items()
        ]
    )
    rows.loc[rows.index[:3], "response"] = 9
    (good,) = judge_directions(sheet, rows, asked)
    assert (good.status, good.evaluated, good.failed) == (Status.PASSED, 4, 0)
    assert "80 answers" in good.expected or "77 answers" in good.expected
    flipped = rows.assign(
        response=rows["response"].where((rows["item"] != "b") | (rows["response"] == 9), 6 - rows["response"])
    )
    (bad,) = judge_directions(sheet, flipped, asked)
    assert (bad.rule, bad.status, bad.severity) == ("value.direction", Status.FAILED, "warning")
    few = rows[rows["number"].astype(int) < 20]
    (none,) = judge_directions(sheet, few, asked)
    assert none.status is Status.NOT_APPLICABLE


def test_a_warning_does_not_keep_a_delivery_out_and_stands_in_letter_page_and_ledger(
    settled: Platform, contracts: Any
) -> None:
    odd = deliver(delivery_in(settled.settings.inbox_path, "rn"), settled.settings.inbox_path, "odd", "2026-Q1")
    mutate(odd, "two_people_exchanged")
    receipt = ingest(odd, settled.settings, settled.ledger)
    assert receipt.status == "accepted"
    assert [(item.rule, item.failed) for item in receipt.warnings] == [("history.identity", 2)]
    for text in (letter(receipt, contracts["rn"], "nl"), page(receipt, contracts["rn"], "nl")):
        assert "Opvallend" in text and "history.identity" in text
    kept = [item for item in settled.ledger.judgements(receipt.sha256) if item["rule"] == "history.identity"]
    assert {(item["status"], item["severity"]) for item in kept} >= {("failed", "warning")}


def test_a_first_delivery_is_warned_of_a_flipped_item(platform: Platform, tmp_path: Path) -> None:
    simulate(tmp_path / "made", clients=150, seed=11, periods="last")
    first = deliver(delivery_in(tmp_path / "made", "rn"), platform.settings.inbox_path)
    good = ingest(first, platform.settings, platform.ledger)
    assert (good.status, [item.rule for item in good.warnings]) == ("accepted", [])
    settings = settings_in(tmp_path / "other")
    initialise(settings)
    again = deliver(delivery_in(tmp_path / "made", "rn"), settings.inbox_path)
    change_rows(
        again,
        "item_responses",
        lambda rows: [
            {**row, "Antwoord": str(6 - int(row["Antwoord"]))}
            if row["Item"] == "binding_01" and row["Antwoord"] in "12345" and row["Antwoord"]
            else row
            for row in rows
        ],
    )
    receipt = ingest(again, settings, opened(settings))
    assert receipt.status == "accepted"
    assert {item.rule for item in receipt.warnings} == {"value.direction"}
