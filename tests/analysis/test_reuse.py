"""What a fit reads, to the row and column, and what it takes over from the fit before: the same bits, and never too much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analysis import imputed_cohort
from orchestration.analysis.fit import made_by, run_fit, write_fit
from orchestration.analysis.inputs import MODEL_TABLES, Inputs
from orchestration.analysis.reuse import BY_OUTCOME, OF_EVERY_OUTCOME, WHOLE, Earlier, outcome_part, rows_read
from orchestration.analysis.specification import Specification
from tests.analysis.test_fit import quick

LANDMARK, END = "general_landmark", "general_supervision_end"


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {part for part in one if one[part] != other[part]}


def with_cell(inputs: Inputs, column: str, value: object, eligible: bool = True) -> Inputs:
    """The inputs with one cell of the landmark outcome changed."""
    cohort = inputs.analysis_cohort.copy()
    place = cohort.index[(cohort["outcome_id"] == LANDMARK) & (cohort["is_eligible"] == eligible)][5]
    cohort.loc[place, column] = value
    return replace(inputs, analysis_cohort=cohort)


def test_every_table_that_models_read_stands_in_some_fingerprint() -> None:
    assert {*BY_OUTCOME, *OF_EVERY_OUTCOME, *(name for tables in WHOLE.values() for name in tables)} == set(
        MODEL_TABLES
    )


@pytest.mark.parametrize(
    ("column", "value", "eligible", "moved"),
    [
        ("duration_days", 1234.0, True, {outcome_part(LANDMARK)}),
        ("client_trust_t2", 1.0, True, {outcome_part(LANDMARK)}),
        ("officer_id", "another", True, {outcome_part(LANDMARK)}),
        ("duration_days", 1234.0, False, set()),
        ("ineligible_reason", "remark", True, set()),
        ("supervision_level", 1, True, set()),
    ],
)
def test_only_rows_and_columns_that_a_model_reads_are_in_its_fingerprint(
    inputs: Inputs, spec: Specification, column: str, value: object, eligible: bool, moved: set[str]
) -> None:
    before = rows_read(inputs, spec)
    assert differing(before, rows_read(with_cell(inputs, column, value, eligible), spec)) == moved


def test_a_fingerprint_knows_no_order_of_rows_but_knows_a_definition(inputs: Inputs, spec: Specification) -> None:
    before = rows_read(inputs, spec)
    shuffled = replace(inputs, **{name: frame.sample(frac=1, random_state=3) for name, frame in inputs.tables.items()})
    assert rows_read(shuffled, spec) == before
    dyads = replace(inputs, dyad=inputs.dyad.iloc[1:])
    assert differing(before, rows_read(dyads, spec)) == {part for part, tables in WHOLE.items() if "dyad" in tables}
    for table in OF_EVERY_OUTCOME[1:]:
        fewer = replace(inputs, **{table: inputs.tables[table].iloc[1:]})
        assert differing(before, rows_read(fewer, spec)) == {outcome_part(LANDMARK), outcome_part(END)}
    said = inputs.outcome_definition.assign(lag_months=[6, 12])
    again = rows_read(replace(inputs, outcome_definition=said.assign(lag_months=6)), spec)
    assert differing(again, rows_read(replace(inputs, outcome_definition=said), spec)) == {outcome_part(END)}


def test_what_did_not_change_is_taken_over_bit_for_bit_and_not_fitted_again(
    inputs: Inputs, spec: Specification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = quick(spec)
    write_fit(run_fit(inputs, small), tmp_path / "old", {"fit_id": "old"})
    changed = with_cell(inputs, "duration_days", 1234.0)
    whole = write_fit(run_fit(changed, small), tmp_path / "whole", {"fit_id": "new"})

    fitted: list[str] = []
    impute = imputed_cohort.impute_cohort
    monkeypatch.setattr(
        imputed_cohort, "impute_cohort", lambda *given: (fitted.append(given[0].outcome_id), impute(*given))[1]
    )
    earlier = Earlier.of(tmp_path / "old", made_by(small))
    result = run_fit(changed, small, earlier=earlier)
    manifest = write_fit(result, tmp_path / "new", {"fit_id": "new"})

    assert fitted == [LANDMARK]
    assert outcome_part(END) in result.reused and outcome_part(LANDMARK) not in result.reused
    assert manifest == whole
    assert all((tmp_path / "new" / f"{name}.parquet").read_bytes() == (tmp_path / "whole" / f"{name}.parquet").read_bytes() for name in manifest["tables"])  # fmt: skip


def test_a_fit_of_other_code_models_seed_or_imputations_lends_nothing(
    inputs: Inputs, spec: Specification, tmp_path: Path
) -> None:
    small = quick(spec)
    write_fit(run_fit(inputs, small), tmp_path / "old", {"fit_id": "old"})
    assert Earlier.of(tmp_path / "old", made_by(small)) is not None
    others = [
        made_by(small, seed=1),
        made_by(small.with_imputations(3)),
        made_by(spec),
        {**made_by(small), "code_hash": "x"},
    ]
    assert [Earlier.of(tmp_path / "old", other) for other in others] == [None] * 4


def test_an_outcome_that_comes_alone_lends_to_both(inputs: Inputs, spec: Specification, tmp_path: Path) -> None:
    small = quick(spec)
    alone = inputs.outcome_definition[inputs.outcome_definition["outcome_id"] == END]
    write_fit(run_fit(replace(inputs, outcome_definition=alone), small), tmp_path / "old", {"fit_id": "old"})
    result = run_fit(inputs, small, earlier=Earlier.of(tmp_path / "old", made_by(small)))
    pd.testing.assert_frame_equal(result.estimates, run_fit(inputs, small).estimates)
    assert [part for part in result.reused if part.startswith("outcome")] == [outcome_part(END)]
