"""Many fits at once against the same fits one by one; a bootstrap by frequencies against the rows written out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox
from tests.analysis.test_cox import TERMS, simulated_rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return simulated_rows(150, seed=11)


def sets_of(rows: pd.DataFrame, ties: cox.Ties = "efron") -> cox.RiskSets:
    return cox.risk_sets(
        rows["stop"], rows["event"], start=rows["start"], strata=rows["stratum"], weights=rows["weight"], ties=ties
    )


def imputed(rows: pd.DataFrame, m: int) -> np.ndarray:
    """(m, n, p) covariates of which the first differs between the data sets."""
    x = np.repeat(rows[list(TERMS)].to_numpy()[None], m, axis=0)
    x[:, :, 0] += np.random.default_rng(3).normal(0, 0.4, x.shape[:2])
    return x


def largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one - other) / np.abs(other)))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("numbers_at_once", [1, 150_000])
def test_fits_of_imputed_data_sets_are_those_made_one_by_one(
    rows: pd.DataFrame, ties: cox.Ties, numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cox, "_NUMBERS_AT_ONCE", numbers_at_once)
    sets, x = sets_of(rows, ties), imputed(rows, 7)
    together = cox.fit_many(sets, x, terms=TERMS, clusters=rows["officer"])
    assert len(together) == 7
    for i in range(7):
        alone, one = cox.fit_on(sets, x[i], terms=TERMS, clusters=rows["officer"]), together[i]
        assert largest(one.coefficients, alone.coefficients) < 1e-12
        assert largest(one.covariance, alone.covariance) < 1e-12
        assert largest(one.variance, alone.variance) < 1e-12
        assert one.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-13)
        assert one.log_likelihood_null == pytest.approx(alone.log_likelihood_null, rel=1e-13)
        assert one.score_test == pytest.approx(alone.score_test, rel=1e-12)
        assert (one.iterations, one.n, one.events, one.clusters) == (
            alone.iterations,
            alone.n,
            alone.events,
            alone.clusters,
        )


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_row_that_counts_three_times_is_a_row_written_three_times(rows: pd.DataFrame, ties: cox.Ties) -> None:
    frequencies = cox.resampled(rows["officer"], 12, np.random.default_rng(5))
    x = rows[list(TERMS)].to_numpy()
    together = cox.fit_many(sets_of(rows, ties), x, terms=TERMS, frequencies=frequencies)
    fitted = 0
    for i, counts in enumerate(frequencies):
        written = rows.loc[rows.index.repeat(counts)]
        try:
            alone = cox.fit_on(sets_of(written, ties), written[list(TERMS)].to_numpy(), terms=TERMS)
        except cox.CoxError as error:
            assert type(together.problems[i]) is type(error)
            continue
        fitted += 1
        assert largest(together[i].coefficients, alone.coefficients) < 1e-9
        assert largest(together[i].covariance, alone.covariance) < 1e-9
        assert together[i].log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
        assert (together[i].n, together[i].events) == (alone.n, alone.events)
    assert fitted >= 10


def test_what_is_wrong_with_one_fit_stops_no_other(rows: pd.DataFrame) -> None:
    sets, x = sets_of(rows), imputed(rows, 5)
    x[1, :, 1] = 4.0
    x[2, :, 2] = 3 * x[2, :, 0] - 1
    x[3, :, 3] = rows["event"] * (200 - rows["stop"])
    together = cox.fit_many(sets, x, terms=TERMS)
    found = [type(problem).__name__ for problem in together.problems]
    assert found == ["NoneType", "CoxSingularError", "CoxSingularError", "CoxSeparationError", "NoneType"]
    assert [error.terms for error in together.problems[1:3]] == [("x2",), ("x1", "x3")]  # type: ignore[union-attr]
    assert np.isnan(together.coefficients[1:4]).all()
    for i in (0, 4):
        assert largest(together[i].coefficients, cox.fit_on(sets, x[i]).coefficients) < 1e-12
    with pytest.raises(cox.CoxSeparationError):
        together[3]


def test_clusters_are_drawn_whole_and_as_many_as_there_are() -> None:
    clusters = np.array(["a", "b", "b", "c", "c", "c"])
    drawn = cox.resampled(clusters, 200, np.random.default_rng(1))
    assert drawn.shape == (200, 6)
    assert (drawn[:, 1] == drawn[:, 2]).all() and (drawn[:, 3] == drawn[:, 5]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (drawn == cox.resampled(clusters, 200, np.random.default_rng(1))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"frequencies": np.full((2, 4), 0.5)}, "whole numbers"), ({"frequencies": np.ones((2, 3))}, r"expected \(m, 4\)"),
     ({"covariates": np.ones((3, 4, 1)), "frequencies": np.ones((2, 4))}, "3 sets of covariates for 2"),
     ({"frequencies": np.ones((2, 4)), "clusters": [1, 2, 3, 4]}, "resampled"),
     ({"covariates": np.ones((2, 3, 1))}, r"expected \(m, 4, p\)")],
)  # fmt: skip
def test_what_fits_no_data_set_is_refused(change: dict[str, object], message: str) -> None:
    sets = cox.risk_sets([1.0, 2.0, 3.0, 4.0], [1, 0, 1, 0])
    given = {"covariates": np.array([[1.0], [0.5], [2.0], [0.0]])} | change
    with pytest.raises(cox.CoxInputError, match=message):
        cox.fit_many(sets, **given)  # type: ignore[arg-type]


def test_a_bootstrap_sample_without_events_has_no_fit() -> None:
    sets = cox.risk_sets([1.0, 2.0, 3.0, 4.0], [1, 0, 1, 0])
    found = cox.fit_many(sets, np.array([[1.0], [2.0], [0.0], [3.0]]), frequencies=[[0, 2, 0, 2], [1, 1, 1, 1]])
    assert str(found.problems[0]) == "no event in the 4 rows that were drawn"
    assert found[1].events == 2
