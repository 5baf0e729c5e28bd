"""The gate of a delivery: Great Expectations suites derived from the contracts, evaluated on pseudonymised frames.

Only counts come back (`COUNTS_ONLY`): Great Expectations is asked for no value, and what it answers is copied by an
allow-list. What a single table cannot state (relations, shrinkage) is prepared here as a column or counted directly.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestration.deliveries.coding import codes_of, condensed, in_one, repeated, together
from orchestration.deliveries.contracts import SHARES, Column, Table
from orchestration.deliveries.judgement import Judgement, Status

if TYPE_CHECKING:
    import pyarrow as pa
    from great_expectations.expectations import Expectation

LARGE = 1_000_000  # rows; more of them are judged a part at a time, since Great Expectations makes several copies of what it looks at
COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
_KNOWN = "known in "


@dataclass(frozen=True)
class Limits:
    """What a suite needs to know beside the contract: the last day that a row may speak of, and the seeds' values."""

    last_day: date
    seeds: Mapping[str, frozenset[str]]


@functools.cache
def _batch_definition() -> Any:
    """A batch definition on a throw-away Great Expectations context, without progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return (
        context.data_sources.add_pandas("delivery")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
    )


def load() -> None:
    """Load Great Expectations now rather than at the first delivery; it takes seconds."""
    _batch_definition()


@contextlib.contextmanager
def _once() -> Iterator[None]:
    """Inside, what Great Expectations would work out a hundred times for each expectation it works out once: most of the time of a suite.

    From an expectation it makes a configuration and from that an expectation again, for each thing that it asks of it while it
    validates; nothing changes them in between. It names what it measures by serialising it, where any text that differs will do. And
    of the rows it makes a fingerprint, twice, that is read by nobody here.
    """
    from great_expectations.core import id_dict
    from great_expectations.execution_engine import pandas_execution_engine
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    configuration, to_domain_obj = Expectation.configuration, ExpectationConfiguration.to_domain_obj
    serialised, hashed = id_dict.convert_to_json_serializable, pandas_execution_engine.hash_pandas_dataframe
    Expectation.configuration = property(_kept(configuration.__get__))
    ExpectationConfiguration.to_domain_obj = _kept(to_domain_obj)
    id_dict.convert_to_json_serializable = lambda data: {name: repr(value) for name, value in data.items()}
    pandas_execution_engine.hash_pandas_dataframe = lambda _: ""
    try:
        yield
    finally:
        Expectation.configuration, ExpectationConfiguration.to_domain_obj = configuration, to_domain_obj
        id_dict.convert_to_json_serializable, pandas_execution_engine.hash_pandas_dataframe = serialised, hashed


def _kept(made: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is made of an object, made once of each; the object is kept too, so that its id stays its own."""
    known: dict[int, tuple[Any, Any]] = {}

    def once(of: Any) -> Any:
        if id(of) not in known:
            known[id(of)] = (of, made(of))
        return known[id(of)][1]

    return once


def _bound(limit: float | str | None, column: Column, limits: Limits) -> Any:
    if limit is None:
        return None
    if column.type == "date":
        day = limits.last_day if limit in ("period_end", "cutoff") else date.fromisoformat(str(limit))
        return day.year if column.reduce == "year" else pd.Timestamp(day)
    return limit


def suite_of(table: Table, limits: Limits, rows: int) -> list[tuple[str, tuple[str, ...], float, Expectation]]:
    """The expectations of one table: rule code, headers, tolerated share of failures, expectation.

    An empty table is judged by its row count alone, so that no rule passes on nothing.
    """
    from great_expectations import expectations as gxe

    suite: list[tuple[str, tuple[str, ...], float, Expectation]] = [
        ("table.empty", (), 0.0, gxe.ExpectTableRowCountToBeBetween(min_value=0 if table.may_be_empty else 1)),
    ]
    if rows == 0:
        return suite
    source = {column.name: column.source for column in table.columns}
    key = tuple(source[name] for name in table.key)
    suite.append(("key.unique", key, 0.0, _unique(key)))
    for column in table.kept:
        name = column.source
        low, high = _bound(column.minimum, column, limits), _bound(column.maximum, column, limits)
        if low is not None or high is not None:
            suite.append(
                ("value.range", (name,), 0.0, gxe.ExpectColumnValuesToBeBetween(column=_judged(column), min_value=low, max_value=high))
            )  # fmt: skip
        if column.seed:
            values = sorted(limits.seeds[column.seed])
            suite.append(("value.seed", (name,), 0.0, gxe.ExpectColumnValuesToBeInSet(column=name, value_set=values)))
        if column.references:
            suite.append(
                ("relation.unknown", (name,), 0.0, gxe.ExpectColumnValuesToBeInSet(column=_KNOWN + name, value_set=[True]))
            )  # fmt: skip
    for rule in table.rules:
        headers = tuple(source[name] for name in rule.columns)
        if rule.kind == "unique":
            suite.append(("rule.unique", headers, rule.tolerated, _unique(headers)))
        elif rule.kind == "order":
            first, second = headers
            pair = gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=second, column_B=first, or_equal=True, ignore_row_if="either_value_is_missing"
            )
            suite.append(("rule.order", headers, rule.tolerated, pair))
        elif rule.kind in SHARES:
            flag = _flag(rule.kind, headers[0])
            suite.append(
                (f"rule.{rule.kind}", headers, rule.tolerated, gxe.ExpectColumnValuesToBeInSet(column=flag, value_set=[True]))
            )  # fmt: skip
    return suite


def _unique(headers: tuple[str, ...]) -> Expectation:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeUnique(column=_together(headers))


def _together(headers: tuple[str, ...]) -> str:
    """The column that says which rows have the same values in some columns."""
    return headers[0] if len(headers) == 1 else f"together {', '.join(headers)}"


def _flag(kind: str, header: str) -> str:
    return f"{kind} {header}"


def _judged(column: Column) -> str:
    """The column that a range is held against: numbers without their missing codes."""
    return f"value of {column.source}" if column.missing else column.source


def _missing_codes(column: Column) -> list[Any]:
    """The codes for "not recorded" as they stand in the column."""
    return [float(code) if column.type in ("integer", "decimal") else code for code in column.missing]


def referred_to(tables: Mapping[str, Table], contents: Mapping[str, pa.Table]) -> dict[str, pa.Array]:
    """What the columns hold to which others refer (`table.column`), each value once; nothing of what is not there."""
    wanted = {column.references for table in tables.values() for column in table.kept if column.references}
    found = {}
    for reference in wanted:
        name, column = reference.split(".")
        header = tables[name].column(column).source
        if name in contents and header in contents[name].column_names:
            found[reference] = _distinct(contents[name].column(header))
    return found


def relations(table: Table, content: pa.Table, referred: Mapping[str, pa.Array]) -> dict[str, np.ndarray]:
    """Of each column that refers to another, by header: which rows hold what that holds (`referred_to`), (rows,)."""
    return {
        column.source: _is_in(content.column(column.source), referred.get(column.references))
        for column in table.kept
        if column.references
    }


def _distinct(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    # What a dictionary holds beside what its rows do is of people who were left out, or that were corrected.
    found = column.unique().drop_null()
    return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found


def _is_in(column: pa.ChunkedArray, referred: pa.Array | None) -> np.ndarray:
    """Which rows hold one of some values; none where nothing is known. What is looked up in is made of the fewer values."""
    import pyarrow.compute as pc

    if referred is None or not len(column):
        return np.zeros(len(column), dtype=bool)
    coded = in_one(column.dictionary_encode())
    values = coded.dictionary
    if values.type != referred.type:  # a whole number may be another kind of number, text is none
        is_known = np.append(values.to_pandas().isin(referred.to_pandas()).to_numpy(), False)
    elif len(values) < len(referred):
        is_known = np.zeros(len(values) + 1, dtype=bool)
        is_known[pc.index_in(referred, value_set=values).drop_null().to_numpy()] = True
    else:
        is_known = np.append(pc.is_in(values, value_set=referred).to_numpy(zero_copy_only=False), False)
    return is_known[coded.indices.fill_null(len(values)).to_numpy()]


def prepare(table: Table, frame: pd.DataFrame, related: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The frame with a column for each fact that a suite asks and the delivery does not state itself.

    `related` says of each column that refers to another which rows hold what is there (`relations`).
    """
    return with_keys(with_facts(table, frame, related), unique_in(table))


def with_facts(table: Table, frame: pd.DataFrame, related: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """`prepare` but for what has to be seen of all rows together."""
    added: dict[str, Any] = {}
    for column in table.kept:
        series = frame[column.source]
        if column.missing and column.type in ("integer", "decimal"):
            added[_judged(column)] = series.astype("Float64").where(~series.isin(_missing_codes(column))).astype(float)
        elif column.missing:
            added[_judged(column)] = series
        if column.references:
            added[_KNOWN + column.source] = _asked(related[column.source], series.notna())
    for rule in table.rules:
        if rule.kind == "required_when":
            column = table.column(rule.columns[0])
            due = pd.Series(True, index=frame.index)
            for name, term in rule.when.items():
                condition = table.column(name)
                spellings = [code.source for code in condition.codes if code.term == term]
                due &= frame[condition.source].isin(spellings)
            present = frame[column.source].notna()
            added[_flag(rule.kind, column.source)] = _asked(present.to_numpy(dtype=bool), due)
        elif rule.kind == "missing_share":
            column = table.column(rule.columns[0])
            series = frame[column.source]
            given = series.notna() & ~series.isin(_missing_codes(column))
            added[_flag(rule.kind, column.source)] = given.to_numpy(dtype=bool)
        elif rule.kind == "flag_share":
            header = table.column(rule.columns[0]).source
            added[_flag(rule.kind, header)] = ~frame[header].astype("boolean").fillna(False).to_numpy(dtype=bool)
    return _with(frame, added)


def with_keys(frame: pd.DataFrame, columns: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """The frame with a column for each set of more than one column that says which rows hold the same in them."""
    return _with(frame, {_together(headers): _same(frame, headers) for headers in columns if len(headers) > 1})


def unique_in(table: Table) -> list[tuple[str, ...]]:
    """The columns that must not hold the same in two rows: the key, and those of which a rule says so."""
    names = [table.key, *(rule.columns for rule in table.rules if rule.kind == "unique")]
    return [tuple(table.column(name).source for name in columns) for columns in names]


def _with(frame: pd.DataFrame, added: Mapping[str, Any]) -> pd.DataFrame:
    more = frame.copy(deep=False)  # `assign` would copy every column
    for name, values in added.items():
        more[name] = values
    return more


def _asked(holds: np.ndarray, of: pd.Series) -> pd.arrays.BooleanArray:
    """Whether something holds, missing where it is not asked."""
    return pd.arrays.BooleanArray(holds, ~of.to_numpy(dtype=bool))


def _same(frame: pd.DataFrame, headers: Sequence[str]) -> np.ndarray:
    """A number for each row, the same where some columns are; missing where all of them are."""
    codes = [codes_of(frame[header]) for header in headers]
    joined = together(codes, len(frame))
    is_nothing = np.logical_and.reduce([one < 0 for one in codes])
    return np.where(is_nothing, np.nan, condensed(joined)) if is_nothing.any() else joined


def judge_table(table: Table, prepared: pd.DataFrame, limits: Limits) -> list[Judgement]:
    """Evaluate one table's suite. A rule that cannot be evaluated is an error, never a pass."""
    asked = Asking(table, limits, len(prepared))
    if len(prepared) <= LARGE:
        asked.of_all(prepared)
        return asked.judgements()
    for start in range(0, len(prepared), LARGE):
        asked.of_each(prepared.iloc[start : start + LARGE])
    for headers in dict.fromkeys(unique_in(table)):
        alike = prepared.loc[repeated(prepared[_together(headers)]), [_together(headers)]]
        asked.of_several(headers, alike, len(prepared) - len(alike))
    return asked.judgements()


class Asking:
    """The suite of one table of so many rows, put to Great Expectations a part at a time; what it finds in parts adds up.

    What is said of each row by itself is found in any part of the rows (`of_each`); that a value is there once, among the rows of which
    it is not known anyway (`of_several`).
    """

    def __init__(self, table: Table, limits: Limits, rows: int) -> None:
        self._table, self._rows = table, rows
        self._suite = suite_of(table, limits, rows)
        # One entry for each expectation, in order: the position travels in `meta`, since the suite may reorder.
        for position, (_, _, _, expectation) in enumerate(self._suite):
            expectation.meta = {"position": position}
        self._outcomes: dict[int, _Outcome] = {}

    def of_all(self, prepared: pd.DataFrame) -> None:
        """Ask everything of all rows (`prepare`)."""
        self._ask([expectation for *_, expectation in self._suite], prepared)

    def of_each(self, part: pd.DataFrame) -> None:
        """Ask of each row of a part (`with_facts`) what is said of it by itself."""
        self._ask([expectation for *_, expectation in self._suite if not _is_of_several(expectation)], part)

    def of_several(self, headers: tuple[str, ...], part: pd.DataFrame, others: int) -> None:
        """Ask whether some columns hold the same in two rows of a part (`with_keys`), beside which so many others are known to hold
        what no other row does."""
        asked = [one for *_, one in self._suite if _is_of_several(one) and one.column == _together(headers)]
        self._ask(asked, part)
        for expectation in asked:
            self._add(expectation.meta["position"], _Outcome(others, 0, is_success=True, is_error=False))

    def judgements(self) -> list[Judgement]:
        """What was found, a judgement for each expectation of the suite."""
        severities = {
            (f"rule.{rule.kind}", tuple(self._table.column(name).source for name in rule.columns), rule.tolerated): rule.severity
            for rule in self._table.rules
        }  # fmt: skip
        return [
            _judgement(
                self._table,
                rule,
                headers,
                share,
                severities.get((rule, headers, share), "error"),
                self._outcomes.get(position),
                self._rows,
            )
            for position, (rule, headers, share, _) in enumerate(self._suite)
        ]

    def _ask(self, expectations: Sequence[Expectation], frame: pd.DataFrame) -> None:
        if not expectations:
            return
        for position, outcome in _validated(self._table.name, expectations, frame):
            self._add(position, outcome)

    def _add(self, position: int, outcome: _Outcome) -> None:
        before = self._outcomes.get(position)
        self._outcomes[position] = outcome if before is None else before + outcome


def _is_of_several(expectation: Expectation) -> bool:
    from great_expectations import expectations as gxe

    return isinstance(expectation, gxe.ExpectColumnValuesToBeUnique)


@dataclass(frozen=True)
class _Outcome:
    """What an expectation found: of how many rows it asked (None where it does not ask rows), how many are not as expected, and whether
    it could be evaluated at all."""

    evaluated: int | None
    unexpected: int
    is_success: bool
    is_error: bool

    @classmethod
    def of(cls, result: Any) -> _Outcome:
        """An answer of Great Expectations, of which only counts are copied."""
        found = result.result
        if _raised(result.exception_info) or "element_count" not in found:
            return cls(None, 0, bool(result.success), _raised(result.exception_info))
        evaluated = int(found["element_count"]) - int(found.get("missing_count") or 0)
        return cls(evaluated, int(found["unexpected_count"]), bool(result.success), is_error=False)

    def __add__(self, other: _Outcome) -> _Outcome:
        """What was found in two parts of a table."""
        is_of_rows = self.evaluated is not None and other.evaluated is not None
        return _Outcome(
            (self.evaluated or 0) + (other.evaluated or 0) if is_of_rows else None,
            self.unexpected + other.unexpected,
            self.is_success and other.is_success,
            self.is_error or other.is_error,
        )


def _validated(name: str, expectations: Sequence[Expectation], frame: pd.DataFrame) -> list[tuple[int, _Outcome]]:
    """What Great Expectations says of a frame, by the position of the expectation. It gets the columns that it looks at: it copies all
    for each of them."""
    import great_expectations as gx

    with _once():
        kwargs = [expectation.configuration.kwargs for expectation in expectations]
        looked_at = {given[key] for given in kwargs for key in ("column", "column_A", "column_B") if key in given}
        judged = frame[[column for column in frame.columns if column in looked_at]]
        batch = _batch_definition().get_batch(batch_parameters={"dataframe": judged})
        suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
        results = batch.validate(suite, result_format=COUNTS_ONLY).results
    return [(result.expectation_config.meta["position"], _Outcome.of(result)) for result in results]


def _judgement(
    table: Table,
    rule: str,
    headers: tuple[str, ...],
    share: float,
    severity: str,
    outcome: _Outcome | None,
    rows: int,
) -> Judgement:
    where: dict[str, Any] = {"table": table.name, "column": ", ".join(headers), "threshold": share}
    if outcome is None or outcome.is_error:
        return Judgement("platform.error", Status.ERROR, expected=rule, **where)
    if rule == "table.empty":
        status = Status.PASSED if outcome.is_success else Status.FAILED
        return Judgement(
            rule, status, evaluated=rows, failed=int(not outcome.is_success), expected="at least 1 row", **where
        )
    evaluated, count = outcome.evaluated, outcome.unexpected
    if evaluated is None:
        return Judgement("platform.error", Status.ERROR, expected=rule, **where)
    if evaluated == 0:
        return Judgement(rule, Status.NOT_APPLICABLE, severity=severity, evaluated=0, failed=0, **where)
    status = Status.FAILED if count > share * evaluated else Status.PASSED
    return Judgement(rule, status, severity=severity, evaluated=evaluated, failed=count, **where)


def _raised(exception_info: Mapping[str, Any]) -> bool:
    """Whether an expectation raised: the answer says so once, or once for each metric that it could not compute."""
    return bool(exception_info.get("raised_exception")) or any(
        isinstance(metric, Mapping) and _raised(metric) for metric in exception_info.values()
    )


def missing_in(table: Table, frame: pd.DataFrame) -> dict[str, int]:
    """How many rows miss the value of each required column."""
    return {column.source: int(frame[column.source].isna().sum()) for column in table.kept if column.is_required}


def judge_evaluated(table: Table, missing: Mapping[str, int], rows: int) -> list[Judgement]:
    """That each required column of a table with rows holds at least one value (`missing_in`): no rule may pass on nothing."""
    return [
        Judgement("table.evaluated", Status.FAILED, table=table.name, column=column, evaluated=0)
        for column, count in missing.items()
        if rows and count == rows
    ]


def judge_shrinkage(
    table: Table, frame: pd.DataFrame, before: pd.DataFrame | None, deleted: Sequence[tuple[str, ...]], tolerance: float
) -> Judgement:
    """That not more than `tolerance` of the rows of the snapshot before are missing without being declared deleted."""
    if before is None or before.empty:
        return Judgement(
            "rows.shrunk", Status.NOT_APPLICABLE, table=table.name, evaluated=0, failed=0, threshold=tolerance
        )
    gone = missing_keys(table, frame, before, deleted)
    status = Status.FAILED if len(gone) > tolerance * len(before) else Status.PASSED
    return Judgement(
        "rows.shrunk", status, table=table.name, evaluated=len(before), failed=len(gone), threshold=tolerance,
        expected=f"at most {tolerance:.0%} of {len(before)} rows",
    )  # fmt: skip


def missing_keys(
    table: Table, frame: pd.DataFrame, before: pd.DataFrame, deleted: Sequence[tuple[str, ...]] = ()
) -> pd.MultiIndex:
    """Keys of `before` that `frame` no longer has and nobody declared deleted."""
    headers = [table.column(name).source for name in table.key]
    gone = keys_of(before, headers).difference(keys_of(frame, headers))
    if deleted:
        gone = gone.difference(pd.MultiIndex.from_tuples(list(deleted), names=headers))
    return gone


def keys_of(frame: pd.DataFrame, headers: Sequence[str]) -> pd.MultiIndex:
    """The key columns as an index of texts, comparable across snapshots."""
    return pd.MultiIndex.from_arrays([frame[name].astype(str) for name in headers], names=list(headers))
