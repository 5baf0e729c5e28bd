"""Who belongs together in a curve: everybody, tertiles of a score, patterns of change. Only what was known at the origin counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Specification

ALL, TERTILE, NOT_RATED = "all", "tertile", "not_rated"
PATTERNS = ("stable", "improving", "deteriorating")


@dataclass(frozen=True)
class Grouping:
    """One way to divide a cohort of n: `label` (n,) is one of `groups`, the first being what others are compared with, or
    `not_rated`. `rater` and `scale` are `all` where everybody is one group."""

    rater: str
    scale: str
    name: str
    groups: tuple[str, ...]
    label: NDArray[np.object_]

    @property
    def named(self) -> dict[str, str]:
        return {"rater": self.rater, "scale": self.scale, "grouping": self.name}


def groupings(cohort: OutcomeCohort, alliance_change: pd.DataFrame, spec: Specification) -> list[Grouping]:
    """Everybody; then for each rater and scale the tertiles of the score and the pattern of change under each rule."""
    rules = spec.recidivism
    found = [everybody(cohort)]
    changes = alliance_change[alliance_change["span"] == rules.pattern_span]
    for rater in rules.raters:
        for scale in rules.scales:
            found.append(Grouping(rater, scale, TERTILE, rules.groups, tertiles(cohort, rater, scale, spec)))
            for rule in rules.pattern_rules:
                of_rule = changes[(changes["rater"] == rater) & (changes["scale"] == scale) & (changes["rule"] == rule)]
                label = known_pattern(cohort, of_rule, rater, scale, spec)
                found.append(Grouping(rater, scale, f"pattern_{rule}", PATTERNS, label))
    return found


def everybody(cohort: OutcomeCohort) -> Grouping:
    """All of a cohort as one group."""
    return Grouping(ALL, ALL, ALL, (ALL,), np.full(cohort.n, ALL, dtype=object))


def tertiles(cohort: OutcomeCohort, rater: str, scale: str, spec: Specification) -> NDArray[np.object_]:
    """(n,) group of the observed score by its quantiles (tertiles for three groups), `not_rated` where it is missing.

    Equal scores are in the same group, so that groups may differ in size.
    """
    names = spec.recidivism.groups
    score = cohort.covariates[spec.recidivism.score(rater, scale)].to_numpy()
    is_rated = ~np.isnan(score)
    group = np.full(cohort.n, NOT_RATED, dtype=object)
    if is_rated.any():
        cuts = np.quantile(score[is_rated], np.arange(1, len(names)) / len(names))
        group[is_rated] = np.array(names, dtype=object)[np.searchsorted(cuts, score[is_rated], side="left")]
    return group


def known_pattern(
    cohort: OutcomeCohort, changes: pd.DataFrame, rater: str, scale: str, spec: Specification
) -> NDArray[np.object_]:
    """(n,) pattern of change, `not_rated` where there is none or where it was not known yet when follow-up began.

    `changes`: rows of alliance_change of one rater, scale, span and rule. The cohort holds a score only when it was rated
    by the origin, so a pattern that needs a later rating is nobody's: whoever lived long enough to be rated again would
    otherwise be known not to have reoffended in between (immortal time).
    """
    pattern = changes.set_index("client_id", verify_integrity=True)["pattern"].reindex(cohort.client)
    is_known = cohort.covariates[spec.recidivism.score(rater, scale)].notna().to_numpy() & pattern.notna().to_numpy()
    return np.where(is_known, pattern.to_numpy(dtype=object), NOT_RATED).astype(object)
