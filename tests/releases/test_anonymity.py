"""How many people share what may be known of them: counted, banded as declared, without a value."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestration.releases.anonymity import (
    NotDeclared,
    QuasiIdentifier,
    anonymity_report,
    declared,
    distribution,
    known_of_people,
)
from orchestration.settings import Settings

CLIENT = pd.DataFrame(
    {"client_id": ["a", "b", "c", "d"], "sex": ["male", "male", "male", "female"], "age_at_start": [19, 24, 40, None]}
)
COVARIATE = pd.DataFrame(
    {
        "client_id": ["a", "a", "b"],
        "name": "employment",
        "source": "risc",
        "measured_day": [5, 1, 3],
        "value": [1, 0, 0],
    }
)
KNOWN = (QuasiIdentifier("sex"), QuasiIdentifier("age_at_start", (18, 25, 35)), QuasiIdentifier("employment"))


def test_numbers_are_banded_and_the_first_value_of_a_covariate_counts() -> None:
    known = known_of_people(CLIENT, COVARIATE, KNOWN)
    assert known["age_at_start"].tolist() == ["1", "1", "3", "missing"]
    assert known["employment"].tolist() == ["0", "0", "missing", "missing"]


def test_k_is_counted_for_every_combination_and_all_together() -> None:
    report = anonymity_report(known_of_people(CLIENT, COVARIATE, KNOWN), threshold=3, most=2)
    row = report.set_index("quasi_identifiers")
    assert (row.loc["sex", "unique"], row.loc["sex", "least_k"], row.loc["sex", "below_threshold"]) == (1, 1, 1)
    assert row.loc["sex age_at_start employment", "unique"] == 2
    assert len(report) == 3 + 3 + 1


def test_the_distribution_counts_everybody_once() -> None:
    found = distribution(known_of_people(CLIENT, COVARIATE, KNOWN)).set_index("k")["people"]
    assert found.sum() == 4 and (found["1"], found["2"]) == (2, 2)
    assert found.index.tolist() == ["1", "2", "3 to 4", "5 to 9", "10 and more"]


def test_no_value_of_a_person_is_in_the_report() -> None:
    client = CLIENT.assign(sex=["canary", "male", "male", "female"])
    known = known_of_people(client, COVARIATE, KNOWN)
    assert "canary" not in anonymity_report(known).to_csv() + distribution(known).to_csv()


def test_the_marts_declare_quasi_identifiers_that_they_have() -> None:
    found = {one.name: one.bands for one in declared(Settings().dbt_project / "models" / "marts")}
    assert {"sex", "organisation", "start_quarter", "ethnicity", "employment"} <= set(found)
    assert found["age_at_start"] == (18, 25, 35, 45, 55, 65)


def test_a_declared_column_that_is_not_there_is_an_error_with_its_name() -> None:
    with pytest.raises(NotDeclared, match="shoe_size"):
        known_of_people(CLIENT, COVARIATE, (QuasiIdentifier("shoe_size"),))
