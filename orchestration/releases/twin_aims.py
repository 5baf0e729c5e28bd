"""What a synthetic twin is made to resemble: a few coarse numbers out of the frames that may leave, and the settings of the simulation whose
cohort comes near them. No row of a person is read here; how a twin is built and written is in `twin`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestration.analysis.grouping import ALL

if TYPE_CHECKING:
    from orchestration.simulation.cohort import Cohort
    from orchestration.simulation.config import CohortConfig

MONTHS = (12, 24, 48)
TRIED, ROUNDS, TRIAL_SEED = 3000, 6, 1  # people of a cohort that is tried, how often, and its seed: of nobody's data
LEAST_PEOPLE, MOST_PEOPLE = 40, 2000
STEPS: Mapping[str, float] = {  # to what a number of Table 1 is rounded: shares by a twentieth, years, cases, points
    "is_male": 0.05, "addiction": 0.05, "is_svg": 0.05, "is_ljr": 0.05, "age_decades": 1.0, "log_prior_cases": 0.5, "motivation": 0.1,
}  # fmt: skip
EFFECTS: Mapping[str, str] = {  # term of a model of the client's Trust -> the log hazard ratio of the simulation
    "trust": "effect_trust", "addiction": "effect_addiction", "log_prior_cases": "effect_log_priors",
    "age_decades": "effect_age_per_10_years", "is_male": "effect_male", "motivation": "effect_motivation",
}  # fmt: skip
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Aims:
    """What is asked of a twin; what is not known is not asked, and stays as the simulation has it.

    `people` who are followed up; `scores`: (wave, rater, scale) -> mean and SD; `rated`: (wave, rater) -> share of those people;
    `risks`: months after the origin -> share with a new offence; `effects`: setting of the simulation -> log hazard ratio;
    `described`: term of Table 1 -> share or mean at the origin.
    """

    people: int | None = None
    scores: Mapping[Key, tuple[float, float]] = field(default_factory=dict)
    rated: Mapping[tuple[str, str], float] = field(default_factory=dict)
    risks: Mapping[int, float] = field(default_factory=dict)
    effects: Mapping[str, float] = field(default_factory=dict)
    described: Mapping[str, float] = field(default_factory=dict)


def main_outcome(seeds: Path) -> str:
    """The first primary outcome definition with the landmark as its origin: the one that a simulated hazard is of."""
    definitions = pd.read_csv(seeds / "outcome.csv", dtype=str)
    main = definitions[(definitions["role"] == "primary") & (definitions["origin"] == "landmark")]
    return str(main["outcome_id"].iloc[0])


def aims_of(judged: Mapping[str, pd.DataFrame], outcome_id: str) -> Aims:
    """The aims from frames that may leave (`disclosure.Judged.frames`), rounded once more: scores and log hazard ratios to 0.1,
    shares of people to a twentieth, risks to 0.01, so that one person more or less seldom moves any of them."""
    curve = _everybody(judged.get("survival_curves"), outcome_id)
    people = int(curve["n"].max()) if len(curve) else None
    means = judged.get("wave_means", pd.DataFrame())
    rated: dict[tuple[str, str], float] = {}
    if people and len(means):
        most = means.groupby(["wave", "rater"])["n"].max()
        rated = {key: min(0.95, max(0.05, _to(n / people, 0.05))) for key, n in _by_wave(most)}
    return Aims(
        people=people,
        scores={
            (str(wave), str(rater), str(scale)): (_to(float(mean), 0.1), _to(float(sd), 0.1))
            for wave, rater, scale, mean, sd in means.reindex(columns=["wave", "rater", "scale", "mean", "sd"]).to_numpy()
        },
        rated=rated,
        risks=_risks(curve),
        effects=_effects(judged.get("estimates"), outcome_id),
        described=_described(_everybody(judged.get("baseline"), outcome_id)),
    )  # fmt: skip


def _everybody(frame: pd.DataFrame | None, outcome_id: str) -> pd.DataFrame:
    if frame is None or not len(frame):
        return pd.DataFrame(columns=["n"])
    return frame[(frame["outcome_id"] == outcome_id) & (frame["group"] == ALL)]


def _risks(curve: pd.DataFrame) -> dict[int, float]:
    found = {}
    for months in MONTHS:
        before = curve[curve["month"] <= months].sort_values("month") if len(curve) else curve
        if len(before) and curve["month"].max() >= months:
            found[months] = round(1 - float(before["survival"].iloc[-1]), 2)
    return {months: risk for months, risk in found.items() if 0 < risk < 1}


def _effects(estimates: pd.DataFrame | None, outcome_id: str) -> dict[str, float]:
    """From the largest model of the client's Trust of which every term left."""
    if estimates is None or not len(estimates):
        return {}
    of_trust = estimates[
        (estimates["outcome_id"] == outcome_id)
        & (estimates["rater"] == "client")
        & (estimates["scale"] == "trust")
        & (estimates["exposure"] == "score")
        & ~estimates["model_id"].str.endswith(".split")
    ]
    whole = [rows for _, rows in of_trust.groupby("model_id", sort=True) if "trust" in set(rows["term"])]
    if not whole:
        return {}
    largest = max(whole, key=len).set_index("term")["estimate"]
    return {
        setting: min(1.0, max(-1.0, _to(float(largest[term]), 0.1)))
        for term, setting in EFFECTS.items()
        if term in largest.index and pd.notna(largest[term])
    }


def _described(table: pd.DataFrame) -> dict[str, float]:
    found = {}
    for term, step in STEPS.items():
        rows = table[table["term"] == term] if "term" in table else table.iloc[:0]
        values = [rows[name].iloc[0] for name in ("share", "mean") if name in rows and len(rows)]
        known = [float(value) for value in values if pd.notna(value)]
        if known:
            found[term] = _to(known[0], step)
    return found


def _to(value: float, step: float) -> float:
    return round(round(value / step) * step, 6)


@dataclass(frozen=True)
class Seen:
    """What a tried cohort shows of the same things, and the share of its clients who are followed up."""

    aims: Aims
    followed: float


def nearest(aims: Aims, start: CohortConfig, seeds: Path) -> tuple[CohortConfig, int]:
    """The settings whose cohorts come near the aims, and how many clients to simulate.

    A setting is moved by what a large cohort, simulated with a seed of its own, shows too much or too little of; a few rounds. The
    same aims give the same settings.
    """
    from orchestration.simulation.cohort import simulate_cohort

    effects: dict[str, Any] = dict(aims.effects)
    config = replace(start, **effects)
    for _ in range(ROUNDS):
        config = _nearer(config, aims, seen_in(simulate_cohort(TRIED, TRIAL_SEED, config, seeds), seeds).aims)
    seen = seen_in(simulate_cohort(TRIED, TRIAL_SEED, config, seeds), seeds)
    wanted = config.block_clients if aims.people is None else round(aims.people / seen.followed)
    return config, min(MOST_PEOPLE, max(LEAST_PEOPLE, wanted))


def seen_in(cohort: Cohort, seeds: Path) -> Seen:
    """What a simulated cohort shows of everything that may be aimed at, by its own truth and before a partner has written it."""
    truth = cohort.truth
    followed = truth[truth["has_t1"] & truth["is_linked"] & (truth["departed_day"] > cohort.config.landmark_days)]
    waves = cohort.partners["waves"]
    done = waves[waves["status"] == "done"].groupby(["wave", "rater"], observed=True).size()
    scored = _scores(cohort, seeds)
    return Seen(
        Aims(
            people=len(followed),
            scores={key: (float(row["mean"]), float(row["std"])) for key, row in scored.iterrows()},
            rated={key: n / len(followed) for key, n in _by_wave(done)},
            risks={months: float(followed[f"risk_{months}"].mean()) for months in MONTHS},
            described={
                "is_male": float(followed["is_male"].mean()), "addiction": float(followed["addiction"].mean()),
                "is_svg": float((followed["organisation"] == "svg").mean()),
                "is_ljr": float((followed["organisation"] == "ljr").mean()),
                "age_decades": float(followed["age_at_landmark"].mean()),
                "log_prior_cases": float(followed["priors_at_landmark"].mean()), "motivation": float(followed["motivation"].mean()),
            },
        ),
        len(followed) / len(truth),
    )  # fmt: skip


def _by_wave(counts: pd.Series[Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """Counts by wave and rater."""
    for wave, rater, n in counts.rename("n").reset_index().to_numpy():
        yield (str(wave), str(rater)), float(n)


def _scores(cohort: Cohort, seeds: Path) -> Any:
    items = pd.read_csv(seeds / "instrument_item.csv").drop_duplicates("item").set_index("item")
    answers = cohort.partners["item_responses"]
    answers = answers[answers["response"] > 0]
    item = answers["item"].astype(str)
    reversed_ = item.map(items["is_reversed"]).to_numpy(dtype=bool)
    ends = item.map(items["response_min"] + items["response_max"]).to_numpy()
    values = answers.assign(
        scale=item.map(items["scale"]).to_numpy(), value=np.where(reversed_, ends - answers["response"], answers["response"])
    )  # fmt: skip
    person = values.groupby(["organisation", "supervision_number", "wave", "rater", "scale"], observed=True)["value"]
    return person.mean().groupby(["wave", "rater", "scale"], observed=True).agg(["mean", "std"])


def _nearer(config: CohortConfig, aims: Aims, seen: Aims) -> CohortConfig:
    shift, spread = _moved_scores(config, aims, seen)
    changes: dict[str, Any] = {"alliance_shift": shift, "alliance_spread": spread} if aims.scores else {}
    changes |= _moved_people(config, aims, seen)
    at_t1 = [aims.rated[key] - seen.rated[key] for key in aims.rated if key[0] == "T1" and key in seen.rated]
    if at_t1:
        changes["t1_missing"] = min(0.9, max(0.0, config.t1_missing - float(np.mean(at_t1))))
    for setting, is_of in (("t2_missing_logit", ("T2",)), ("later_missing_logit", ("T3", "T4"))):
        too_few = [
            _logit(seen.rated[key]) - _logit(aims.rated[key]) for key in aims.rated if key[0] in is_of and key in seen.rated
        ]  # fmt: skip
        if too_few:
            changes[setting] = getattr(config, setting) + float(np.mean(too_few))
    ratios = [math.log(math.log(1 - risk) / math.log(1 - seen.risks[months])) for months, risk in aims.risks.items()]
    if ratios:
        factor = math.exp(float(np.mean(ratios)))
        changes["hazard_before_landmark"] = config.hazard_before_landmark * factor
        changes["hazard_after_landmark"] = config.hazard_after_landmark * factor
    return replace(config, **changes)


def _moved_scores(config: CohortConfig, aims: Aims, seen: Aims) -> tuple[Any, Any]:
    from orchestration.simulation.alliance import RATERS, SCALES, WAVES

    shape = (len(WAVES), len(RATERS), len(SCALES))
    shift = np.array(config.alliance_shift) if config.alliance_shift else np.zeros(shape)
    spread = np.array(config.alliance_spread) if config.alliance_spread else np.ones(shape)
    for wave, rater, scale in aims.scores.keys() & seen.scores.keys():
        at = WAVES.index(wave), RATERS.index(rater), SCALES.index(scale)
        mean, sd = aims.scores[wave, rater, scale]
        is_mean, is_sd = seen.scores[wave, rater, scale]
        shift[at] = np.clip(shift[at] + mean - is_mean, -2, 2)
        spread[at] = np.clip(spread[at] * sd / is_sd, 0.3, 3) if is_sd > 0 else spread[at]
    return tuple(tuple(map(tuple, wave.tolist())) for wave in shift), tuple(
        tuple(map(tuple, wave.tolist())) for wave in spread
    )


def _moved_people(config: CohortConfig, aims: Aims, seen: Aims) -> dict[str, Any]:
    too_few = {name: value - seen.described[name] for name, value in aims.described.items()}
    changes: dict[str, Any] = {}
    if "is_male" in too_few:
        changes["male_share"] = min(0.99, max(0.01, config.male_share + too_few["is_male"]))
    if "addiction" in too_few:
        by = _logit(aims.described["addiction"]) - _logit(seen.described["addiction"])
        changes["addiction_shares"] = tuple(_share(_logit(share) + by) for share in config.addiction_shares)
    if "age_decades" in too_few:
        changes["age_scale"] = max(1.0, config.age_scale + too_few["age_decades"] / 2.2)
    if "log_prior_cases" in too_few and seen.described["log_prior_cases"] > 0:
        ratio = aims.described["log_prior_cases"] / seen.described["log_prior_cases"]
        changes["mean_prior_cases"] = max(0.1, config.mean_prior_cases * ratio)
    if "motivation" in too_few:
        changes["motivation_mean"] = config.motivation_mean + too_few["motivation"]
    if {"is_svg", "is_ljr"} <= set(too_few):
        svg, ljr = (aims.described[name] for name in ("is_svg", "is_ljr"))
        changes["organisation_shares"] = (max(0.0, 1 - svg - ljr), svg, ljr)
    return changes


def _logit(share: float) -> float:
    share = min(0.99, max(0.01, share))
    return math.log(share / (1 - share))


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
