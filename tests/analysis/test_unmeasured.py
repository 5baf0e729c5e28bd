"""E-values: against the worked example of their authors' formula, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.unmeasured import e_value, e_values, risk_ratio


def test_the_formula_by_hand() -> None:
    """RR 2: 2 + sqrt(2); protective ratios are turned round; no effect needs no confounder."""
    assert e_value([2.0, 0.5, 1.0]) == pytest.approx([2 + np.sqrt(2), 2 + np.sqrt(2), 1.0])


def test_a_hazard_ratio_of_a_common_outcome_is_nearer_to_one_as_a_risk_ratio() -> None:
    """HR .56: (1 - .5^.7483) / (1 - .5^1.3363) = .4047 / .6040 = .670; rare outcomes keep theirs."""
    assert risk_ratio([0.56, 0.56], [True, False]) == pytest.approx([0.670, 0.56], abs=5e-4)
    assert risk_ratio([0.4], [True])[0] * risk_ratio([2.5], [True])[0] == pytest.approx(1)


def test_the_limit_nearer_to_one_counts_and_an_interval_across_it_needs_nothing() -> None:
    rows = pd.DataFrame(
        {"model_id": ["a", "b", "c", "d"], "outcome_id": "o", "term": ["trust", "trust", "addiction", "trust"], "scale": "trust",
         "estimate": np.log([0.5, 0.8, 2.0, np.nan]), "conf_low": np.log([0.3, 0.5, 1.5, np.nan]), "conf_high": np.log([0.8, 1.2, 3.0, np.nan]),
         "n": 200, "events": [20, 20, 20, 20]}
    )  # fmt: skip
    found = e_values(rows).set_index("model_id")
    assert found.index.tolist() == ["a", "b"] and not found["is_common"].any()
    assert found.loc["a", "e_value_limit"] == pytest.approx(1.25 + np.sqrt(1.25 * 0.25))
    assert found.loc["b", "e_value_limit"] == 1
    assert (found["e_value"] >= found["e_value_limit"]).all()
