"""What codes of a fit are called on a page. Terms of models have their labels in `models.yml`."""

from __future__ import annotations

SCALE_LABELS = {
    "bond": "Bond",
    "trust": "Trust",
    "goals_restrictions": "Goals & restrictions",
    "reactance": "Reactance",
}
ADJUSTMENT_LABELS = {
    "unadjusted": "unadjusted",
    "criminal_history": "+ criminal history",
    "full": "+ all covariates",
    "risk_level": "+ all, risk level instead of history",
}
STEP_LABELS = {
    "supervised_in_enrolment_window": "Supervision started in the enrolment window",
    "rated_at_t1": "Alliance rated at T1, by either rater",
    "linked": "Found in the registry",
    "origin_reached": "Reached the origin of follow-up",
    "present_at_entry": "Alive and in the country when observation begins",
    "followed_up": "Followed up before the register's lag",
    "not_excluded": "No offence between index start and the origin, where that excludes",
    "not_yet_reoffended": "No event before observation began",
    "at_risk": "At liberty at some time of the follow-up",
}
RULE_LABELS = {
    "half_sd": "half a standard deviation",
    "rci": "reliable change index",
    "slope": "slope through all ratings",
}
KIND_LABELS = {
    "code_and_libraries": "code, models, libraries",
    "new_follow_up": "new follow-up time",
    "new_people": "new people",
    "corrected_records": "corrected records",
    "withdrawals": "withdrawals",
    "definitions": "definitions",
}
PROCESS_LABELS = {
    "counting_process": "detention taken out of the calendar",
    "detention_ignored": "detention ignored",
    "time_varying": "the score as last rated",
    "andersen_gill": "all offences, Andersen–Gill",
    "pwp_total_time": "all offences, by number, since the origin",
    "pwp_gap_time": "all offences, by number, since the one before",
    "at_risk_to_event": "at liberty → reoffended",
    "at_risk_to_detained": "at liberty → detained",
    "detained_to_at_risk": "detained → at liberty",
}
MEASURE_LABELS = {
    "concordance": "Concordance",
    "calibration_slope": "Calibration slope",
    "auc": "Area under the curve",
    "brier": "Brier score",
}
STATE_LABELS = {
    "at_risk": "at liberty, no offence",
    "detained": "detained",
    "event": "reoffended",
    "departed": "died or emigrated",
}
CAUSE_LABELS = {"event": "recidivism", "death": "death", "emigration": "emigration", "detention": "detention"}
GROUP_LABELS = {"all": "all", "not_rated": "pattern not known"}
GROWTH_LABELS = {
    "intercept": "score at the start",
    "months": "change in a month",
    "sd_client_intercept": "SD of clients",
    "sd_client_months": "SD of clients' slopes",
    "correlation_client": "correlation of both",
    "sd_officer_intercept": "SD of officers",
    "sd_residual": "SD of a rating",
}
EXPOSURE_LABELS = {"score": "Score at T2", "trait_and_state": "Score at T1 and the change since"}


def scale_name(scale: str) -> str:
    """What a scale is called."""
    return SCALE_LABELS.get(scale, scale.replace("_", " "))


def adjustment_name(adjustment: str) -> str:
    """What an adjustment is called."""
    return ADJUSTMENT_LABELS.get(adjustment, adjustment.replace("_", " "))


def score_name(column: str) -> str:
    """`client_trust_t1` as text: Trust at T1, by the client."""
    rater, _, rest = column.partition("_")
    scale, _, wave = rest.rpartition("_")
    return f"{scale_name(scale)} at {wave.upper()}, rated by the {rater}"
