"""The working alliance of a simulated cohort: when it was measured, what was answered, what is missing.

Answers are drawn for everybody and every wave, as if nothing were missing; what was not seen is decided afterwards, so
that the true score of a missing rating is known. No offences here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.simulation.config import DAYS_PER_MONTH, DAYS_PER_YEAR, CohortConfig
from orchestration.simulation.people import Bools, Clients, Ints, Officers, Spells

WAVES = ("T1", "T2", "T3", "T4")
RATERS = ("client", "officer")
STATUSES = ("done", "refused", "missed", "supervision_ended", "withdrawn")
DONE, REFUSED, MISSED, ENDED, WITHDRAWN = range(5)
SCALES = ("bond", "trust", "goals_restrictions", "reactance")
MEANS = np.array([3.70, 3.56, 3.80, 2.30])
RELIABILITIES = np.array([0.80, 0.82, 0.78, 0.60])
CORRELATIONS = np.array(
    [
        [1.00, 0.60, 0.50, -0.20],
        [0.60, 1.00, 0.50, 0.00],
        [0.50, 0.50, 1.00, -0.10],
        [-0.20, 0.00, -0.10, 1.00],
    ]
)
PERSON_SD, OCCASION_SD, SLOPE_SD, RATER_AGREEMENT = 0.48, 0.25, 0.15, 0.4
# Variance that covariates add to the true scores, and what answers lost at the ends of 1-5 cost in reliability.
COVARIATE_VARIANCE = np.array([0.00, 0.03, 0.00, 0.08])
CLIPPING = 0.93
WINDOWS_MONTHS = ((0.0, 2.0), (5.2, 8.6), (12.5, 17.5), (21.0, 27.0))


@dataclass(frozen=True)
class Instrument:
    """The items in the order of the seed: name, index of the scale, whether reversed."""

    items: tuple[str, ...]
    scale: Ints
    is_reversed: Bools


@dataclass(frozen=True)
class Alliance:
    """Arrays by wave (4), rater (2) and client: the day of each rating, every answer, every scale score."""

    day: Ints
    answers: NDArray[np.int8]
    score: NDArray[np.float32]


def read_instrument(seeds: Path) -> Instrument:
    """The instrument from its seed. Versions and raters must share items: the simulator knows no translation of one to
    another. Raises ValueError when they do not."""
    items = pd.read_csv(seeds / "instrument_item.csv")
    forms = [frame for _, frame in items.groupby(["version", "rater"])]
    first = forms[0]
    if any(
        (form[["scale", "item", "is_reversed"]].values != first[["scale", "item", "is_reversed"]].values).any()
        for form in forms
    ):
        raise ValueError("instrument_item.csv: the versions differ in items; the simulator needs one list")
    scale = np.array([SCALES.index(name) for name in first["scale"]])
    return Instrument(tuple(first["item"]), scale, first["is_reversed"].to_numpy(dtype=bool))


def _item_noise(instrument: Instrument) -> NDArray[np.float64]:
    """Standard deviation of the item noise that gives each scale its reliability (Spearman-Brown; less rounding)."""
    true_variance = PERSON_SD**2 + OCCASION_SD**2 + COVARIATE_VARIANCE
    items = np.bincount(instrument.scale, minlength=len(SCALES))
    between = RELIABILITIES / (items - RELIABILITIES * (items - 1))
    noise: NDArray[np.float64] = np.sqrt(CLIPPING * true_variance * (1 - between) / between - 1 / 12)
    return noise


def measurement_days(clients: int, rng: np.random.Generator) -> Ints:
    """Day of each rating, (4, 2, clients): uniform in the window of the wave; the officer within ten days after."""
    day = np.empty((len(WAVES), len(RATERS), clients), dtype=np.int64)
    for wave, (start, stop) in enumerate(WINDOWS_MONTHS):
        day[wave, 0] = np.floor(rng.uniform(start * DAYS_PER_MONTH, stop * DAYS_PER_MONTH, clients)).astype(np.int64)
        day[wave, 1] = day[wave, 0] + rng.integers(0, 10, clients)
    return day


def draw_alliance(
    people: Clients,
    officers: Officers,
    spells: Spells,
    instrument: Instrument,
    config: CohortConfig,
    rng: np.random.Generator,
) -> Alliance:
    """Every answer of both raters at every wave.

    A scale's true score is a person level, a slope a year, occasion noise, and the effects of `config`: the officer's
    rule orientation, a change of officer since the last wave, motivation, addiction, criminal history (reactance).
    """
    n, items = people.size, len(instrument.items)
    day = measurement_days(n, rng)
    root = np.linalg.cholesky(CORRELATIONS)
    noise_sd = _item_noise(instrument)[instrument.scale].astype(np.float32)
    harmful = np.array([1.0, 1.0, 1.0, -1.0])
    shared = rng.standard_normal((n, 4))
    motivation = people.motivation - 3.0
    priors = np.log1p(people.prior_cases)
    answers = np.empty((len(WAVES), len(RATERS), n, items), dtype=np.int8)
    score = np.empty((len(WAVES), len(RATERS), n, len(SCALES)), dtype=np.float32)
    for rater in range(len(RATERS)):
        own = rng.standard_normal((n, 4))
        level = PERSON_SD * (np.sqrt(RATER_AGREEMENT) * shared + np.sqrt(1 - RATER_AGREEMENT) * own) @ root.T
        slope = SLOPE_SD * rng.standard_normal((n, 4))
        slope += (
            harmful
            * (config.slope_by_motivation * motivation + config.slope_by_addiction * people.has_addiction)[:, None]
        )
        for wave in range(len(WAVES)):
            orientation = officers.rule_orientation[spells.officer_on(day[wave, rater])] - 3.0
            true = MEANS + level + slope * (day[wave, rater] / DAYS_PER_YEAR)[:, None]
            true += OCCASION_SD * rng.standard_normal((n, 4)) @ root.T
            true[:, 1] += config.trust_by_rule_orientation * orientation + config.trust_by_motivation * motivation
            true[:, 3] += config.reactance_by_rule_orientation * orientation + config.reactance_by_log_priors * (
                priors - 1.3
            )
            if wave:
                changed = spells.changed_between(day[wave - 1, rater], day[wave, rater])
                true[:, 1] += config.trust_by_officer_change * changed
            if config.alliance_spread:
                true = MEANS + (true - MEANS) * np.array(config.alliance_spread[wave][rater])
            if config.alliance_shift:
                true += np.array(config.alliance_shift[wave][rater])
            drawn = rng.standard_normal((n, items), dtype=np.float32)
            drawn *= noise_sd
            drawn += true.astype(np.float32)[:, instrument.scale]
            scored = np.clip(np.rint(drawn), 1, 5).astype(np.int8)
            for scale in range(len(SCALES)):
                score[wave, rater, :, scale] = scored[:, instrument.scale == scale].mean(axis=1, dtype=np.float64)
            answers[wave, rater] = np.where(instrument.is_reversed, 6 - scored, scored)
    return Alliance(day, answers, score)


def draw_status(people: Clients, alliance: Alliance, end: Ints, config: CohortConfig, rng: np.random.Generator) -> Ints:
    """Status of each rating, (4, 2, clients), given the day that supervision ended.

    A rating from T2 on is missed more often by people with an addiction, without work, with little motivation, and a
    little more often after a low Trust at T1: missing at random given what is observed.
    """
    n = people.size
    status = np.zeros((len(WAVES), len(RATERS), n), dtype=np.int64)
    both = rng.random(n) < config.t1_missing_both
    trust = alliance.score[0, 0, :, 1] - 3.5
    tendency = 0.5 * people.has_addiction - 0.3 * (people.motivation - 3) + 0.3 * ~people.is_employed - 0.25 * trust
    withdrawn_from = np.where(rng.random(n) < config.withdrawn, rng.integers(1, len(WAVES), n), len(WAVES))
    for wave in range(len(WAVES)):
        for rater in range(len(RATERS)):
            if wave == 0:
                missing = both | (rng.random(n) < config.t1_missing)
            else:
                logit = (config.t2_missing_logit if wave == 1 else config.later_missing_logit) + tendency - 0.3 * rater
                missing = rng.random(n) < 1 / (1 + np.exp(-logit))
            refused = rng.random(n) < (0.4 if rater == 0 else 0.1)
            row = np.where(missing, np.where(refused, REFUSED, MISSED), DONE)
            if wave == 0 and rater == 1:
                row = np.where(missing & ~both & (status[0, 0] != DONE), DONE, row)
            row = np.where(withdrawn_from <= wave, WITHDRAWN, row)
            status[wave, rater] = np.where(alliance.day[wave, rater] > end, ENDED, row)
    return status
