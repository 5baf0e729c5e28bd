"""The gate: each rule fails on what it guards, passes on what is right, and never passes on nothing."""

from __future__ import annotations

import contextlib
from datetime import date
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pytest

from orchestration.deliveries import gate, raw
from orchestration.deliveries.contracts import Code, Organisation, Rule, Table, tables_of
from orchestration.deliveries.gate import (
    COUNTS_ONLY,
    Limits,
    judge_evaluated,
    judge_shrinkage,
    judge_table,
    missing_in,
    prepare,
    referred_to,
    relations,
)
from orchestration.deliveries.judgement import Judgement, Status
from tests.deliveries.making import column, table

LIMITS = Limits(date(2024, 3, 31), {"offence_class.article": frozenset({"310", "311"})})
CANARY = "Zwaluwstaart"


def judge(contract: Table, frames: dict[str, pd.DataFrame] | None = None, **columns: list[Any]) -> dict[str, Judgement]:
    """Judgements of a small table by rule code (the last one where a rule is asked of several columns)."""
    frame = pd.DataFrame(columns)
    every = {name: pa.Table.from_pandas(one) for name, one in {contract.name: frame, **(frames or {})}.items()}
    referred = referred_to({contract.name: contract, "others": table(column("id"))}, every)
    related = relations(contract, every[contract.name], referred)
    return {item.rule: item for item in judge_table(contract, prepare(contract, frame, related), LIMITS)}


def outcome(judgement: Judgement) -> tuple[Status, int | None, int | None]:
    return judgement.status, judgement.evaluated, judgement.failed


# counts only ---------------------------------------------------------------------------------------------------------
def test_great_expectations_is_asked_for_counts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COUNTS_ONLY == {"result_format": "BASIC", "partial_unexpected_count": 0}
    from great_expectations.datasource.fluent.interfaces import Batch

    asked, answers = [], []
    original = Batch.validate

    def validate(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(options["result_format"])
        answers.append(original(self, *args, **options))
        return answers[-1]

    monkeypatch.setattr(Batch, "validate", validate)
    contract = table(
        column("id"),
        column("article", seed="offence_class.article"),
        column("score", "integer", minimum=0, maximum=5, is_required=False),
        column("other", references="others.id"),
        rules=(Rule("unique", ("id", "article"), "error", "why"),),
    )
    found = judge(
        contract, {"others": pd.DataFrame({"id": ["x"]})},
        id=[CANARY, CANARY], article=[CANARY, CANARY], score=[77123, 88321], other=[CANARY, CANARY],
    )  # fmt: skip
    assert asked == [COUNTS_ONLY]
    failed = {rule for rule, item in found.items() if item.status is Status.FAILED}
    assert failed == {"key.unique", "value.seed", "value.range", "relation.unknown", "rule.unique"}
    shown = repr(found) + repr([item.for_ledger() for item in found.values()])
    said = repr([[result.result for result in answer.results] for answer in answers])
    for value in (CANARY, "77123", "88321"):
        assert value not in shown
        assert value not in said


def test_what_is_worked_out_once_or_one_by_one_is_what_would_be_worked_out_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contract = table(
        column("id"),
        column("wave"),
        column("score", "integer", minimum=0, maximum=5, missing={"9": {}}),
        column("article", seed="offence_class.article", is_required=False),
        column("start", "date", minimum="2020-01-01"),
        column("end", "date", is_required=False),
        key=("id", "wave"),
        rules=(
            Rule("order", ("start", "end"), "error", "why"),
            Rule("missing_share", ("score",), "warning", "why", threshold=0.5),
            Rule("unique", ("score",), "warning", "why"),
            Rule("unique", ("article",), "warning", "why"),
        ),
    )  # fmt: skip
    days = pd.to_datetime(["2024-01-01", "2019-01-01", "2024-01-03", "2024-01-04"])
    frame = pd.DataFrame(
        {
            "id": ["1", "1", "1", "2"], "wave": ["a", "a", "b", None], "score": [1, 7, 9, 9], "start": days,
            "article": ["310", None, "9", "8"], "end": [*days[:3], pd.Timestamp("2024-01-01")],
        }
    )  # fmt: skip
    prepared = prepare(contract, frame, {})
    quickly = judge_table(contract, prepared, LIMITS)
    assert sum(item.status is Status.FAILED for item in quickly) >= 5
    for rows in (1, 2, 3):
        monkeypatch.setattr(gate, "LARGE", rows)
        assert judge_table(contract, prepared, LIMITS) == quickly
    monkeypatch.setattr(gate, "_once", contextlib.nullcontext)
    assert judge_table(contract, prepared, LIMITS) == quickly


# nothing passes on nothing -------------------------------------------------------------------------------------------
def test_an_empty_table_fails_and_no_other_rule_passes_on_it() -> None:
    found = judge(table(column("id"), column("score", "integer", minimum=0)), id=[], score=[])
    assert {rule: item.status for rule, item in found.items()} == {"table.empty": Status.FAILED}


def test_an_empty_table_that_may_be_empty_is_no_failure() -> None:
    found = judge(table(column("id"), may_be_empty=True), id=[])
    assert {rule: item.status for rule, item in found.items()} == {"table.empty": Status.PASSED}


def test_a_required_column_without_a_value_fails() -> None:
    contract = table(column("id"), column("score", "integer"), column("note", is_required=False))
    frame = pd.DataFrame({"id": ["1", "2"], "score": [None, None], "note": [None, None]})
    (found,) = judge_evaluated(contract, missing_in(contract, frame), len(frame))
    assert (found.rule, found.column, found.status) == ("table.evaluated", "score", Status.FAILED)
    given = frame.assign(score=pd.Series([None, 1.0]))
    assert judge_evaluated(contract, missing_in(contract, given), len(given)) == []


def test_a_rule_over_a_column_without_a_value_is_not_applicable() -> None:
    contract = table(
        column("id"),
        column("score", "integer", minimum=0, is_required=False),
        column("article", seed="offence_class.article", is_required=False),
        column("other", references="others.id", is_required=False),
        column("start", "date", is_required=False),
        column("end", "date", is_required=False),
        column("kind", "code", codes=(Code("d", "done", {}), Code("m", "missed", {}))),
        column("day", is_required=False),
        rules=(
            Rule("order", ("start", "end"), "error", "why"),
            Rule("required_when", ("day",), "error", "why", {"kind": "done"}),
        ),
    )
    days = [pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 1, 2)]
    found = judge(
        contract, {"others": pd.DataFrame({"id": ["x"]})}, id=["1", "2"], score=[None, None], article=[None, None],
        other=[None, None], start=days, end=[pd.NaT, pd.NaT], kind=["m", "m"], day=[None, None],
    )  # fmt: skip
    never = {rule for rule, item in found.items() if item.status is Status.NOT_APPLICABLE}
    assert never == {"value.range", "value.seed", "relation.unknown", "rule.order", "rule.required_when"}
    assert all(found[rule].evaluated == 0 for rule in never)


def test_a_rule_that_cannot_be_applied_is_an_error_and_blocks() -> None:
    contract = table(column("id"), column("score", "integer", minimum=0))
    frame = pd.DataFrame({"id": ["1"], "score": [1]})
    prepared = prepare(contract, frame, {}).drop(columns="score")
    (found,) = [item for item in judge_table(contract, prepared, LIMITS) if item.status is Status.ERROR]
    assert (found.rule, found.expected, found.column) == ("platform.error", "value.range", "score")
    assert found.blocks


def test_an_answer_that_counts_no_row_is_an_error_and_never_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = table(column("id"), column("score", "integer", minimum=0))
    prepared = prepare(contract, pd.DataFrame({"id": ["1", "2", "3"], "score": [1, 2, 3]}), {})
    of = gate._Outcome.of
    for rows in (3, 1):  # at once, and in parts
        monkeypatch.setattr(gate, "LARGE", rows)
        monkeypatch.setattr(gate._Outcome, "of", lambda result: of(SimpleNamespace(**vars(result) | {"result": {}})))
        found = judge_table(contract, prepared, LIMITS)
        assert [(item.rule, item.status) for item in found] == [
            ("table.empty", Status.PASSED), ("platform.error", Status.ERROR), ("platform.error", Status.ERROR),
        ]  # fmt: skip


# each rule -----------------------------------------------------------------------------------------------------------
def test_a_key_that_comes_twice_fails() -> None:
    contract = table(column("id"))
    assert outcome(judge(contract, id=["1", "2"])["key.unique"]) == (Status.PASSED, 2, 0)
    assert outcome(judge(contract, id=["1", "1", "2"])["key.unique"]) == (Status.FAILED, 3, 2)


def test_keys_that_are_nearly_the_same_are_two_keys_beside_one_that_is_missing() -> None:
    many = [f"{number:06d}" for number in range(300_000)]
    contract = table(column("id"), column("wave"), column("item"), key=("id", "wave", "item"))
    frame = pd.DataFrame(
        {"id": [*many, many[-1], None], "wave": [*many, many[-1], None], "item": [*many, many[-2], None]}
    )
    prepared = prepare(contract, frame.astype("category"), {})
    found = {item.rule: item for item in judge_table(contract, prepared, LIMITS)}
    assert outcome(found["key.unique"]) == (Status.PASSED, 300_001, 0)


def test_a_key_of_two_columns_may_repeat_in_each_of_them() -> None:
    contract = table(column("id"), column("wave"), key=("id", "wave"))
    assert judge(contract, id=["1", "1"], wave=["a", "b"])["key.unique"].status is Status.PASSED
    assert judge(contract, id=["1", "1"], wave=["a", "a"])["key.unique"].status is Status.FAILED


TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=8)


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(rows=TEXTS, others=TEXTS, cut=st.integers(0, 3), is_coded=st.booleans())
def test_a_row_is_related_where_what_it_refers_to_is_there(
    rows: list[str | None], others: list[str | None], cut: int, is_coded: bool
) -> None:
    contract, other = table(column("id", references="others.id")), table(column("id"))
    contents = [pa.table({"id": pa.array(given, pa.string())}).slice(cut) for given in (rows, others)]
    if is_coded:  # what is in a dictionary alone is nowhere
        contents = [
            pa.table({"id": pa.array(given, pa.string()).dictionary_encode()}).slice(cut) for given in (rows, others)
        ]
    referred = referred_to({"one": contract, "others": other}, {"one": contents[0], "others": contents[1]})
    there = set(others[cut:]) - {None}
    assert relations(contract, contents[0], referred)["id"].tolist() == [cell in there for cell in rows[cut:]]
    assert relations(contract, contents[0], {})["id"].tolist() == [False] * len(rows[cut:])


@pytest.mark.parametrize(
    ("given", "others", "known"),
    [
        (pa.array([1, 2**40, None]), pa.array([1], pa.int32()), [True, False, False]),
        (pa.array([1.0, 1.5]), pa.array([1, 2, 3]), [True, False]),
        (pa.array(["x", "1"]), pa.array([1]), [False, False]),
        (pa.array([1, 2]), pa.array(["x", "1"]), [False, False]),
    ],
)
def test_a_row_is_related_to_the_same_number_and_to_no_text_that_spells_it(
    given: pa.Array, others: pa.Array, known: list[bool]
) -> None:
    contract = table(column("id", references="others.id"))
    assert relations(contract, pa.table({"id": given}), {"others.id": others})["id"].tolist() == known


def test_what_only_tells_rows_apart_is_judged_the_same_without_its_text() -> None:
    contract = table(
        column("id"), column("person", references="persons.id", is_required=False), column("day", "date", is_required=False),
        rules=(
            Rule("unique", ("person", "day"), "error", "why"), Rule("unique", ("person",), "warning", "why"),
            Rule("required_when", ("person",), "error", "why", {}),
        ),
    )  # fmt: skip
    content = pa.table(
        {
            "id": pa.array(["1", "1", "2", "3"]).dictionary_encode(),
            "person": pa.array(["x", "x", None, "y"]).dictionary_encode(),
            "day": pa.array([date(2024, 1, 1), date(2024, 1, 1), None, date(2024, 1, 2)]),
        }
    )
    related = relations(contract, content, {"persons.id": pa.array(["x"])})
    found = [
        judge_table(contract, prepare(contract, raw.to_frame(given, coded), related), LIMITS)
        for given in (content, raw.decoded(content))
        for coded in ([], ["id", "person"])
    ]
    assert all(judgements == found[0] for judgements in found)
    assert [item.rule for item in found[0] if item.status is Status.FAILED] == [
        "key.unique", "relation.unknown", "rule.unique", "rule.unique", "rule.required_when",
    ]  # fmt: skip


def test_a_unique_rule_finds_the_second_registration() -> None:
    contract = table(column("id"), column("person"), rules=(Rule("unique", ("person",), "error", "why"),))
    assert judge(contract, id=["1", "2"], person=["a", "b"])["rule.unique"].status is Status.PASSED
    assert outcome(judge(contract, id=["1", "2"], person=["a", "a"])["rule.unique"]) == (Status.FAILED, 2, 2)


def test_a_range_holds_at_its_ends_and_spares_missing_codes() -> None:
    contract = table(column("id"), column("score", "integer", minimum=1, maximum=5, missing={"9": {}}))
    assert outcome(judge(contract, id=["1", "2", "3"], score=[1, 5, 9])["value.range"]) == (Status.PASSED, 2, 0)
    assert outcome(judge(contract, id=["1", "2", "3"], score=[0, 6, 9])["value.range"]) == (Status.FAILED, 2, 2)


def test_a_range_with_only_an_upper_end_and_missing_codes_is_applied() -> None:
    contract = table(column("id"), column("day", "date", maximum="period_end", missing={"x": {}}))
    assert judge(contract, id=["1"], day=[pd.Timestamp(2024, 4, 1)])["value.range"].status is Status.FAILED


@pytest.mark.parametrize(("day", "status"), [(31, Status.PASSED), (30, Status.PASSED)])
def test_a_row_may_not_speak_of_a_day_after_the_period(day: int, status: Status) -> None:
    contract = table(column("id"), column("day", "date", minimum="2015-01-01", maximum="period_end"))
    assert judge(contract, id=["1"], day=[pd.Timestamp(2024, 3, day)])["value.range"].status is status
    for wrong in (pd.Timestamp(2024, 4, 1), pd.Timestamp(2014, 12, 31)):
        assert judge(contract, id=["1"], day=[wrong])["value.range"].status is Status.FAILED


def test_a_year_of_birth_is_held_against_the_years_of_its_limits() -> None:
    contract = table(
        column("id"),
        column("birth", "date", minimum="1920-06-01", maximum="2012-12-31", reduce="year", published_as="year"),
    )
    assert judge(contract, id=["1", "2"], birth=[1920, 2012])["value.range"].status is Status.PASSED
    assert outcome(judge(contract, id=["1", "2"], birth=[1919, 2013])["value.range"]) == (Status.FAILED, 2, 2)


def test_a_value_that_is_in_no_list_fails() -> None:
    contract = table(column("id"), column("article", seed="offence_class.article"))
    assert outcome(judge(contract, id=["1", "2"], article=["310", "312"])["value.seed"]) == (Status.FAILED, 2, 1)
    assert judge(contract, id=["1"], article=["311"])["value.seed"].status is Status.PASSED


def test_a_reference_to_a_row_that_is_not_there_fails_and_an_empty_one_does_not_count() -> None:
    contract = table(column("id"), column("other", references="others.id", is_required=False))
    others = {"others": pd.DataFrame({"id": ["x", "y"]})}
    assert outcome(judge(contract, others, id=["1", "2"], other=["x", None])["relation.unknown"]) == (
        Status.PASSED,
        1,
        0,
    )
    assert outcome(judge(contract, others, id=["1", "2"], other=["x", "z"])["relation.unknown"]) == (
        Status.FAILED,
        2,
        1,
    )


def test_an_end_before_its_start_fails_and_the_same_day_does_not() -> None:
    rule = Rule("order", ("start", "end"), "error", "why")
    contract = table(column("id"), column("start", "date"), column("end", "date", is_required=False), rules=(rule,))
    start = [pd.Timestamp(2024, 1, 2)] * 3
    right = [pd.Timestamp(2024, 1, 2), pd.Timestamp(2024, 1, 3), pd.NaT]
    assert outcome(judge(contract, id=["1", "2", "3"], start=start, end=right)["rule.order"]) == (Status.PASSED, 2, 0)
    wrong = [pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 1, 3), pd.NaT]
    assert outcome(judge(contract, id=["1", "2", "3"], start=start, end=wrong)["rule.order"]) == (Status.FAILED, 2, 1)


def test_a_field_is_required_only_when_its_condition_holds() -> None:
    codes = (Code("af", "done", {}), Code("mis", "missed", {}))
    rule = Rule("required_when", ("day",), "error", "why", {"status": "done"})
    contract = table(
        column("id"), column("status", "code", codes=codes), column("day", is_required=False), rules=(rule,)
    )
    right = judge(contract, id=["1", "2"], status=["af", "mis"], day=["x", None])
    assert outcome(right["rule.required_when"]) == (Status.PASSED, 1, 0)
    wrong = judge(contract, id=["1", "2"], status=["af", "af"], day=["x", None])
    assert outcome(wrong["rule.required_when"]) == (Status.FAILED, 2, 1)


@pytest.mark.parametrize(("kind", "missing"), [("integer", 9), ("code", "x")])
def test_too_many_missing_answers_fail(kind: str, missing: object) -> None:
    rule = Rule("missing_share", ("answer",), "error", "why", threshold=0.4)
    codes = (Code("1", "one", {}),) if kind == "code" else ()
    contract = table(
        column("id"), column("answer", kind, missing={str(missing): {}}, codes=codes, is_required=False), rules=(rule,)
    )
    good = 1 if kind == "integer" else "1"
    ids = list("12345")
    two = judge(contract, id=ids, answer=[good, good, good, missing, None])
    assert outcome(two["rule.missing_share"]) == (Status.PASSED, 5, 2)
    three = judge(contract, id=ids, answer=[good, good, missing, missing, None])
    assert outcome(three["rule.missing_share"]) == (Status.FAILED, 5, 3)


def test_one_column_may_have_a_share_that_warns_and_one_that_blocks() -> None:
    rules = (
        Rule("missing_share", ("answer",), "warning", "why", threshold=0.2),
        Rule("missing_share", ("answer",), "error", "why", threshold=0.6),
    )
    contract = table(column("id"), column("answer", "integer", is_required=False), rules=rules)
    frame = pd.DataFrame({"id": list("12345"), "answer": [1, 1, 1, None, None]})
    found = gate.judge_table(contract, gate.prepare(contract, frame, {}), LIMITS)
    shares = [(item.threshold, item.warns, item.blocks) for item in found if item.rule == "rule.missing_share"]
    assert shares == [(0.2, True, False), (0.6, False, False)]


def test_a_warning_is_recorded_and_does_not_block() -> None:
    contract = table(column("id"), column("person"), rules=(Rule("unique", ("person",), "warning", "why"),))
    found = judge(contract, id=["1", "2"], person=["a", "a"])["rule.unique"]
    assert (found.status, found.severity, found.blocks) == (Status.FAILED, "warning", False)


# shrinkage -----------------------------------------------------------------------------------------------------------
SHRINKING = table(column("id"), column("day", "date"), key=("id", "day"))


def _snapshot(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"id": [str(number) for number in numbers], "day": pd.Timestamp(2024, 1, 5)})


@pytest.mark.parametrize(
    ("gone", "status"), [(0, Status.PASSED), (2, Status.PASSED), (3, Status.FAILED), (100, Status.FAILED)]
)
def test_more_than_two_in_a_hundred_missing_rows_block(gone: int, status: Status) -> None:
    after, before = _snapshot(*range(gone, 100), *range(100, 200)), _snapshot(*range(100))
    found = judge_shrinkage(SHRINKING, after, before, [], 0.02)
    assert outcome(found) == (status, 100, gone)


def test_declared_rows_are_not_missing_but_only_those() -> None:
    before, after = _snapshot(*range(100)), _snapshot(*range(5, 100))
    declared = [(str(number), "2024-01-05") for number in range(5)]
    assert outcome(judge_shrinkage(SHRINKING, after, before, declared, 0.02)) == (Status.PASSED, 100, 0)
    assert outcome(judge_shrinkage(SHRINKING, after, before, declared[:2], 0.02)) == (Status.FAILED, 100, 3)
    other_day = [(number, "2024-05-01") for number, _ in declared]
    assert judge_shrinkage(SHRINKING, after, before, other_day, 0.02).status is Status.FAILED


def test_days_of_a_stored_snapshot_are_the_days_of_the_new_one() -> None:
    stored = _snapshot(*range(100)).assign(day=date(2024, 1, 5))
    assert judge_shrinkage(SHRINKING, _snapshot(*range(100)), stored, [], 0.02).failed == 0


def test_a_first_snapshot_cannot_have_shrunk() -> None:
    assert judge_shrinkage(SHRINKING, _snapshot(1), None, [], 0.02).status is Status.NOT_APPLICABLE


# the contracts that are there ----------------------------------------------------------------------------------------
def test_every_condition_and_reference_of_a_contract_can_be_met(contracts: dict[str, Organisation]) -> None:
    for contract in tables_of(contracts):
        for rule in contract.rules:
            for name, term in rule.when.items():
                assert term in {code.term for code in contract.column(name).codes}, (
                    contract.organisation,
                    contract.name,
                )
        for entry in contract.columns:
            if entry.references:
                other, name = entry.references.split(".")
                assert contracts[contract.organisation].table(other).column(name).pseudonym == entry.pseudonym


def test_every_kind_of_rule_in_a_contract_becomes_an_expectation(contracts: dict[str, Organisation]) -> None:
    for contract in tables_of(contracts):
        seeds = {entry.seed: frozenset({"x"}) for entry in contract.columns if entry.seed}
        suite = gate.suite_of(contract, Limits(date(2024, 3, 31), seeds), rows=1)
        made = [rule for rule, *_ in suite]
        assert [rule for rule in made if rule.startswith("rule.")] == [f"rule.{rule.kind}" for rule in contract.rules]
        bounded = [entry for entry in contract.kept if entry.minimum is not None or entry.maximum is not None]
        assert made.count("value.range") == len(bounded)
        assert made.count("relation.unknown") == sum(bool(entry.references) for entry in contract.kept)
