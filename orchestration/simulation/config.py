"""What a simulated cohort is made of: sizes, rates and true effects, as one frozen dataclass. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

DAYS_PER_MONTH = 30.4375
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class CohortConfig:
    """Sizes, rates (a year) and effects (log hazard, or scale points of 1-5) of a simulated cohort.

    Every number is a placeholder of ours, none is published. Shares are in the order rn, svg, ljr.
    """

    # size and calendar
    enrolment_from: date = date(2022, 1, 1)
    enrolment_to: date = date(2022, 12, 31)
    first_year: int = 2022
    last_year: int = 2025
    landmark_months: int = 9
    block_clients: int = 200
    block_officers: int = 137
    organisation_shares: tuple[float, float, float] = (0.55, 0.25, 0.20)
    addiction_shares: tuple[float, float, float] = (0.30, 0.90, 0.40)
    male_share: float = 0.88
    age_scale: float = 8.0
    motivation_mean: float = 3.2

    # supervision
    planned_months: tuple[int, int] = (12, 30)
    revoked_per_year: float = 0.08
    ended_by_reoffence: float = 0.6
    officer_change_per_year: float = 0.30
    officer_leaves_per_year: float = 0.10
    earlier_supervision: float = 0.08
    later_supervision: float = 0.10

    # measurement
    t1_missing: float = 0.10
    t1_missing_both: float = 0.03
    t2_missing_logit: float = -1.95
    later_missing_logit: float = -1.25
    withdrawn: float = 0.03
    item_missing: float = 0.03
    covariate_missing: float = 0.08
    instrument_version_2_from: date = date(2022, 9, 1)

    # what moves the alliance, in scale points
    trust_by_officer_change: float = -0.30
    trust_by_rule_orientation: float = -0.15
    reactance_by_rule_orientation: float = 0.15
    trust_by_motivation: float = 0.12
    slope_by_motivation: float = 0.05
    slope_by_addiction: float = -0.15
    reactance_by_log_priors: float = 0.30
    # Further points, and a factor on the spread, by wave, rater and scale (4 x 2 x 4); empty: none.
    alliance_shift: tuple[tuple[tuple[float, ...], ...], ...] = ()
    alliance_spread: tuple[tuple[tuple[float, ...], ...], ...] = ()

    # hazard of a new offence
    hazard_before_landmark: float = 0.066
    hazard_after_landmark: float = 0.066
    during_supervision_ratio: float = 1.2
    effect_trust: float = -0.50
    effect_trust_t1_before_landmark: float = -0.20
    effect_addiction: float = 0.50
    effect_log_priors: float = 0.35
    effect_age_per_10_years: float = -0.25
    effect_male: float = 0.30
    effect_officer_changed: float = 0.0
    effect_motivation: float = 0.0
    effect_reactance: float = 0.0
    officer_frailty_sd: float = 0.0

    # registry
    mean_prior_cases: float = 4.0
    registration_lag_mean_days: float = 110.0
    registration_lag_sd_days: float = 55.0
    disposal_mean_days: float = 180.0
    dismissal_mean_days: float = 60.0
    uncounted_per_counted: float = 16.0 / 82.0
    offence_date_missing: float = 0.02
    pretrial: float = 0.15
    custody: float = 0.20
    detained_per_year: float = 0.05
    detained_at_landmark: float = 0.015
    deaths_per_year: float = 0.01
    emigrations_per_year: float = 0.005
    not_linked: float = 0.02

    @property
    def landmark_days(self) -> int:
        """Days from index start to the landmark."""
        return round(self.landmark_months * DAYS_PER_MONTH)

    @classmethod
    def recovery(cls) -> CohortConfig:
        """A cohort whose effects a landmark Cox model must find again, already in the extract of the second year.

        One hazard from the landmark on (no change when supervision ends, no frailty), high enough for about 60 events
        in 200 clients by the extract of 2023; landmarks lie 9 to 21 months before that cut-off, so that one-year
        recidivism can be estimated with a lag of six months and is too low without it.
        """
        return cls(
            enrolment_from=date(2021, 7, 1),
            enrolment_to=date(2022, 6, 30),
            during_supervision_ratio=1.0,
            hazard_before_landmark=0.06,
            hazard_after_landmark=0.20,
            dismissal_mean_days=20.0,
        )

    @classmethod
    def null_later_covariate(cls) -> CohortConfig:
        """As `recovery`, with a change of officer that does nothing at all, and that later offences prevent.

        Changes accrue while supervision lasts and a new offence ends it, so that "ever changed officer" looks
        protective where it is used before it was known; known at the landmark, its hazard ratio is 1.
        """
        return replace(cls.recovery(), trust_by_officer_change=0.0, officer_change_per_year=0.6, ended_by_reoffence=0.9)


DEFAULT = CohortConfig()
