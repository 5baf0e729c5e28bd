"""A real cohort with a published Cox model: the numbers that we compute beside those that were printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from orchestration.analysis import cox

PUBLISHED = Path(__file__).with_name("published.yml")


@dataclass(frozen=True)
class Comparison:
    """One published number: as printed, as we compute it, that rounded to the digits that were printed, and whether they agree."""

    name: str
    published: str
    computed: float
    rounded: str
    agrees: bool
    source: str


def read_published(name: str = "north_carolina", path: Path = PUBLISHED) -> dict[str, Any]:
    """The published model of that name, numbers as strings."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))[name])


def fit_published(cohort: pd.DataFrame, published: dict[str, Any]) -> cox.CoxFit:
    """Fit the published model on its table (one row per person). Raises `cox.CoxError`."""
    terms = tuple(published["terms"])
    return cox.fit_cox(
        cohort[list(terms)].to_numpy(dtype=np.float64),
        cohort[published["time"]].to_numpy(dtype=np.float64),
        cohort[published["event"]].astype(bool).to_numpy(),
        terms=terms,
        ties=published["ties"],
    )


def compare_with_published(cohort: pd.DataFrame, published: dict[str, Any] | None = None) -> pd.DataFrame:
    """One row (`Comparison`) for each published number; intervals are exp(b -+ z se) with model errors, as published."""
    from scipy import stats

    model = published if published is not None else read_published()
    fit = fit_published(cohort, model)
    numbers: list[tuple[str, str, float]] = [
        ("n", model["n"], float(fit.n)),
        ("events", model["events"], float(fit.events)),
        ("log-likelihood, null", model["log_likelihood_null"], fit.log_likelihood_null),
        ("log-likelihood", model["log_likelihood"], fit.log_likelihood),
        (
            f"likelihood ratio, {len(fit.terms)} df",
            model["likelihood_ratio"],
            2 * (fit.log_likelihood - fit.log_likelihood_null),
        ),
    ]
    z = float(stats.norm.ppf(0.975))
    for term, printed in model["hazard_ratios"].items():
        b, se = fit.coefficients[fit.terms.index(term)], fit.model_std_errors[fit.terms.index(term)]
        for what, text, value in zip(("", ", low", ", high"), printed, (b, b - z * se, b + z * se), strict=True):
            numbers.append((f"hazard ratio of {term}{what}", text, float(np.exp(value))))
    return pd.DataFrame([asdict(_compared(*number, source=model["source"].strip())) for number in numbers])


def _compared(name: str, printed: str, computed: float, source: str) -> Comparison:
    rounded = round_as_printed(computed, printed)
    return Comparison(name, printed, computed, rounded, Decimal(rounded) == Decimal(printed), source)


def round_as_printed(value: float, printed: str) -> str:
    """`value` with as many decimals as `printed` has, written alike (a leading zero only where it has one)."""
    exponent = Decimal(printed).as_tuple().exponent
    text = str(Decimal(repr(value)).quantize(Decimal(1).scaleb(int(exponent)), rounding=ROUND_HALF_EVEN))
    return text.replace("0.", ".", 1) if printed.lstrip("-").startswith(".") else text
