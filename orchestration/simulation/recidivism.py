"""New offences of a simulated cohort and what the registry holds of them: cases, disposals, detention, departures.

The hazard is built from quantities that the published tables hold, so that a Cox model can find its coefficients again.
Days count from the start of the index supervision of each client.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestration.simulation.config import DAYS_PER_YEAR, CohortConfig
from orchestration.simulation.people import NEVER, Bools, Clients, Floats, Ints

COUNTED = ("conviction", "prosecutor_penalty")
UNCOUNTED = ("acquittal", "technical_dismissal", "policy_dismissal", "other_technical")
UNCOUNTED_SHARES = (6 / 16, 5 / 16, 4 / 16, 1 / 16)
DISPOSALS = (*COUNTED, *UNCOUNTED, "pending")
DETENTION_KINDS = ("pretrial", "sentence", "substitute")
PRETRIAL, SENTENCE, SUBSTITUTE = range(3)
MAX_EVENTS = 8
_FAR = 1 << 30


@dataclass(frozen=True)
class OffenceClasses:
    """Articles of the seed, and whether each allows pre-trial detention."""

    articles: tuple[str, ...]
    allows_pretrial: Bools
    weights: Floats


@dataclass(frozen=True)
class Cases:
    """One value per case: client, day of the offence, of registration and disposal, index of disposal and article."""

    client: Ints
    day: Ints
    registered: Ints
    disposed: Ints
    disposal: Ints
    custodial_days: Ints
    article: Ints


@dataclass(frozen=True)
class Detentions:
    """One value per spell in detention; in [start, end) nobody reoffends."""

    client: Ints
    start: Ints
    end: Ints
    kind: Ints


@dataclass(frozen=True)
class FollowUp:
    """What happened: cases, detention, departures, and for each client the truth that no censoring hides.

    `first_event` is the day of the first counted offence after the landmark (NEVER when later than the simulation),
    `first_event_at_risk` the days at risk until then, `reoffended` the first counted offence after index start.
    """

    cases: Cases
    detentions: Detentions
    death: Ints
    emigration: Ints
    hazard: Floats
    priors_at_landmark: Ints
    first_event: Ints
    first_event_at_risk: Floats
    reoffended: Ints
    risk_at_risk_time: Floats
    risk_calendar_time: Floats


def read_offence_classes(seeds: Path) -> OffenceClasses:
    """Articles from their seed; light offences are drawn more often than grave ones."""
    frame = pd.read_csv(seeds / "offence_class.csv")
    frame = frame[frame["version"] == frame["version"].max()]
    weights = 1 / (1 + frame["max_penalty_years"].to_numpy(dtype=float))
    return OffenceClasses(
        tuple(frame["article"]), frame["allows_pretrial_detention"].to_numpy(dtype=bool), weights / weights.sum()
    )


class _Detained:
    """Detention spells by client as a (clients, slots) array, sorted by start; the empty slots come last."""

    def __init__(self, clients: int, slots: int) -> None:
        self.start = np.full((clients, slots), _FAR, dtype=np.int64)
        self.end = np.full((clients, slots), _FAR, dtype=np.int64)

    def add(self, client: Ints, start: Ints, length: Ints) -> None:
        """Add at most one spell to each of `client` (all different)."""
        if not len(client):
            return
        starts, ends = self.start[client], self.end[client]
        starts[:, -1], ends[:, -1] = start, start + length
        order = np.argsort(starts, axis=1, kind="stable")
        self.start[client] = np.take_along_axis(starts, order, axis=1)
        self.end[client] = np.take_along_axis(ends, order, axis=1)

    def used(self) -> int:
        """How many slots hold a spell of anyone."""
        return int((self.start < _FAR).any(axis=0).sum())


def _operational(day: Floats, end: Floats, ratio: float) -> Floats:
    """Time in which the hazard is constant: it runs `ratio` times as fast while supervision lasts."""
    return day + (ratio - 1) * np.minimum(day, end)


def _calendar(time: Floats, end: Floats, ratio: float) -> Floats:
    return np.where(time <= ratio * end, time / ratio, time - (ratio - 1) * end)


def _walk(day: Floats, need: Floats, start: Ints, end: Ints, supervised: Floats, ratio: float) -> Floats:
    """The day on which `need` days at risk (in operational time) have passed since `day`, detention skipped."""
    time, need = _operational(day, supervised, ratio), need.copy()
    for slot in range(start.shape[1]):
        begins = _operational(start[:, slot].astype(float), supervised, ratio)
        ends = _operational(end[:, slot].astype(float), supervised, ratio)
        gap = np.maximum(begins - time, 0)
        passes = (ends > time) & (need > gap)
        need = np.where(passes, need - gap, need)
        time = np.where(passes, ends, time)
    return _calendar(time + need, supervised, ratio)


def _at_risk(day: Floats, until: Floats, start: Ints, end: Ints, supervised: Floats, ratio: float) -> Floats:
    """Days at risk (operational time when `ratio` is not 1) between `day` and `until`."""
    left = _operational(day, supervised, ratio)
    right = _operational(until, supervised, ratio)
    total = np.maximum(right - left, 0)
    for slot in range(start.shape[1]):
        begins = np.maximum(_operational(start[:, slot].astype(float), supervised, ratio), left)
        ends = np.minimum(_operational(end[:, slot].astype(float), supervised, ratio), right)
        total -= np.maximum(ends - begins, 0)
        left = np.maximum(left, np.minimum(ends, right))
    return total


def _lag(mean: float, sd: float, size: int, rng: np.random.Generator) -> Ints:
    """Whole days, gamma distributed with this mean and standard deviation, at least one."""
    shape = (mean / sd) ** 2
    return np.maximum(np.rint(rng.gamma(shape, mean / shape, size)), 1).astype(np.int64)


def _draw_cases(
    client: Ints, day: Ints, is_extra: bool, classes: OffenceClasses, config: CohortConfig, rng: np.random.Generator
) -> Cases:
    """A case for each offence: when it was registered and disposed, and how."""
    size = len(client)
    registered = day + _lag(config.registration_lag_mean_days, config.registration_lag_sd_days, size, rng)
    mean = config.dismissal_mean_days if is_extra else config.disposal_mean_days
    if is_extra:
        disposal = len(COUNTED) + rng.choice(len(UNCOUNTED), size, p=UNCOUNTED_SHARES)
        custodial = np.zeros(size, dtype=np.int64)
    else:
        disposal = (rng.random(size) < 12 / 82).astype(np.int64)
        days = np.clip(np.rint(np.exp(rng.normal(4.0, 1.0, size))), 3, 1500).astype(np.int64)
        custodial = np.where((disposal == 0) & (rng.random(size) < config.custody), days, 0)
    return Cases(
        client=client,
        day=day,
        registered=registered,
        disposed=registered + _lag(mean, mean / 2, size, rng),
        disposal=disposal,
        custodial_days=custodial,
        article=rng.choice(len(classes.articles), size, p=classes.weights),
    )


def _join_cases(parts: list[Cases]) -> Cases:
    return Cases(*(np.concatenate([getattr(part, name) for part in parts]) for name in Cases.__dataclass_fields__))


def _take_cases(cases: Cases, keep: Bools) -> Cases:
    return Cases(*(getattr(cases, name)[keep] for name in Cases.__dataclass_fields__))


def _offend(
    entry: Floats,
    until: Ints,
    hazard: Floats,
    supervised: Floats,
    detained: _Detained,
    spells: list[Detentions],
    classes: OffenceClasses,
    config: CohortConfig,
    rng: np.random.Generator,
) -> tuple[list[Cases], Ints]:
    """Recurrent offences from `entry` to `until` at `hazard` a day at risk: their cases, and the first of each client.

    The first is given even when it falls after `until`. The detention that follows from them is added to `detained`
    and `spells`.
    """
    active = np.arange(len(entry))
    day = entry.astype(float)
    first = np.full(len(entry), NEVER, dtype=np.int64)
    parts: list[Cases] = []
    for event in range(MAX_EVENTS):
        need = rng.exponential(1.0, len(active)) / hazard[active]
        used = max(detained.used(), 1)
        starts, ends = detained.start[active, :used], detained.end[active, :used]
        reached = _walk(day[active], need, starts, ends, supervised[active], config.during_supervision_ratio)
        offence = np.minimum(np.ceil(reached), NEVER).astype(np.int64)
        if event == 0:
            first[active] = offence
        within = offence <= until[active]
        active, offence = active[within], offence[within]
        if not len(active):
            break
        cases = _draw_cases(active, offence, False, classes, config, rng)
        held = classes.allows_pretrial[cases.article] & (rng.random(len(active)) < config.pretrial)
        _detain(active[held], offence[held], rng.integers(10, 110, int(held.sum())), PRETRIAL, detained, spells)
        served = cases.custodial_days > 0
        waits = rng.integers(0, 60, int(served.sum()))
        _detain(
            active[served], cases.disposed[served] + waits, cases.custodial_days[served], SENTENCE, detained, spells
        )
        parts.append(cases)
        day[active] = offence
    return parts, first


def _detain(client: Ints, start: Ints, length: Ints, kind: int, detained: _Detained, spells: list[Detentions]) -> None:
    detained.add(client, start, length)
    spells.append(Detentions(client, start, start + length, np.full(len(client), kind, dtype=np.int64)))


def _exogenous_detention(
    people: Clients,
    detained: _Detained,
    spells: list[Detentions],
    until: Ints,
    config: CohortConfig,
    rng: np.random.Generator,
) -> None:
    """Detention for what happened before: at random days, at the landmark for a few, some with an overlapping spell."""
    n = people.size
    everyone = np.arange(n)
    for slot in range(2):
        happens = rng.random(n) < 1 - np.exp(-config.detained_per_year * until / DAYS_PER_YEAR / 2)
        start = np.floor(10 + rng.random(n) * (until - 10)).astype(np.int64)
        length = rng.integers(10, 160, n)
        kind = SUBSTITUTE if slot == 0 else SENTENCE
        _detain(everyone[happens], start[happens], length[happens], kind, detained, spells)
        overlaps = happens & (slot == 1) & (rng.random(n) < 0.3)
        early = np.maximum(start - rng.integers(5, 40, n), 1)
        _detain(everyone[overlaps], early[overlaps], (start + 10 - early)[overlaps], PRETRIAL, detained, spells)
    at_landmark = rng.random(n) < config.detained_at_landmark
    start = config.landmark_days - rng.integers(5, 60, n)
    length = config.landmark_days - start + rng.integers(10, 90, n)
    _detain(everyone[at_landmark], start[at_landmark], length[at_landmark], SENTENCE, detained, spells)


def _earlier_cases(people: Clients, classes: OffenceClasses, config: CohortConfig, rng: np.random.Generator) -> Cases:
    """Cases with an offence before index start: `people.prior_cases` that count, and others that do not."""
    reach = np.maximum(people.start_on - people.born_on - 12 * 365, 400)
    uncounted = rng.poisson(config.uncounted_per_counted * config.mean_prior_cases, people.size)
    parts = []
    for number, is_extra in ((people.prior_cases, False), (uncounted, True)):
        client = np.repeat(np.arange(people.size), number)
        day = -1 - np.floor(rng.random(len(client)) ** 1.5 * reach[client]).astype(np.int64)
        parts.append(_draw_cases(client, day, is_extra, classes, config, rng))
    return _join_cases(parts)


def draw_followup(
    people: Clients,
    trust_t1: Floats,
    trust_t2: Floats,
    reactance_t2: Floats,
    officer_changed: Bools,
    frailty: Floats,
    classes: OffenceClasses,
    config: CohortConfig,
    rng: np.random.Generator,
) -> FollowUp:
    """Everything that happens after index start, and the risks 1, 2 and 4 years after the landmark for each client.

    `trust_t1`, `trust_t2` and `reactance_t2` are complete-item scores as the client rated; `officer_changed` is whether
    another officer had taken over by the landmark.
    """
    n, landmark = people.size, config.landmark_days
    until = np.full(n, landmark + 1461 + 30, dtype=np.int64)
    supervised = np.minimum(people.planned_end, people.revoked).astype(float)
    detained = _Detained(n, 5 + 4 * MAX_EVENTS)
    spells: list[Detentions] = []
    _exogenous_detention(people, detained, spells, until, config, rng)

    common = config.effect_addiction * people.has_addiction + config.effect_motivation * (people.motivation - 3)
    before = (
        np.log(config.hazard_before_landmark)
        + common
        + config.effect_log_priors * np.log1p(people.prior_cases)
        + config.effect_trust_t1_before_landmark * (trust_t1 - 3.5)
    )
    early, first_early = _offend(
        np.zeros(n),
        np.full(n, landmark - 1),
        np.exp(before) * frailty / DAYS_PER_YEAR,
        supervised,
        detained,
        spells,
        classes,
        config,
        rng,
    )
    priors = people.prior_cases + sum(
        (np.bincount(part.client, minlength=n) for part in early), np.zeros(n, dtype=np.int64)
    )
    after = (
        np.log(config.hazard_after_landmark)
        + common
        + config.effect_trust * (trust_t2 - 3.5)
        + config.effect_reactance * (reactance_t2 - 2.3)
        + config.effect_log_priors * np.log1p(priors)
        + config.effect_age_per_10_years * (people.age_on(landmark) - 35) / 10
        + config.effect_male * people.is_male
        + config.effect_officer_changed * officer_changed
    )
    hazard = np.exp(after) * frailty
    entry = np.full(n, float(landmark))
    risks = _true_risks(entry, hazard, supervised, detained, config)
    known = detained.start.copy(), detained.end.copy()
    late, first = _offend(entry, until, hazard / DAYS_PER_YEAR, supervised, detained, spells, classes, config, rng)

    extra_number = rng.poisson(config.uncounted_per_counted * 0.2 * until / DAYS_PER_YEAR, n)
    extra_client = np.repeat(np.arange(n), extra_number)
    extra_day = 1 + np.floor(rng.random(len(extra_client)) * (until[extra_client] - 1)).astype(np.int64)
    extra = _draw_cases(extra_client, extra_day, True, classes, config, rng)
    cases = _join_cases([_earlier_cases(people, classes, config, rng), *early, *late, extra])

    death, emigration = _departures(n, config, rng)
    gone = np.minimum(death, emigration)
    return FollowUp(
        cases=_take_cases(cases, cases.day <= gone[cases.client]),
        detentions=_close_detentions(spells, cases, gone),
        death=np.where(death <= emigration, death, NEVER),
        emigration=np.where(emigration < death, emigration, NEVER),
        hazard=hazard,
        priors_at_landmark=priors,
        first_event=first,
        first_event_at_risk=_at_risk(entry, first.astype(float), *known, supervised, 1.0),
        reoffended=np.where(first_early < landmark, first_early, first),
        risk_at_risk_time=risks[0],
        risk_calendar_time=risks[1],
    )


def _true_risks(
    entry: Floats, hazard: Floats, supervised: Floats, detained: _Detained, config: CohortConfig
) -> tuple[Floats, Floats]:
    """Each client's risk of a counted offence within 365, 730 and 1461 days after the landmark, (3, clients).

    By days at risk and by days on the calendar. Exact given what is known at the landmark: later detention of a kind
    that depends on offences follows the first of them.
    """
    ratio = config.during_supervision_ratio
    used = max(detained.used(), 1)
    starts, ends = detained.start[:, :used], detained.end[:, :used]
    by_risk: list[Floats] = []
    by_calendar: list[Floats] = []
    for days in (365, 730, 1461):
        reached = _walk(entry, np.full(len(entry), float(days)), starts, ends, supervised, 1.0)
        for until, into in ((reached, by_risk), (entry + days, by_calendar)):
            exposure = _at_risk(entry, until, starts, ends, supervised, ratio)
            into.append(1 - np.exp(-hazard / DAYS_PER_YEAR * exposure))
    return np.stack(by_risk), np.stack(by_calendar)


def _departures(clients: int, config: CohortConfig, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Day of death and of emigration, NEVER when neither happens in a lifetime of the simulation."""
    rates = (config.deaths_per_year, config.emigrations_per_year)
    days = [np.ceil(np.minimum(rng.exponential(DAYS_PER_YEAR / max(rate, 1e-9), clients), NEVER)) for rate in rates]
    return days[0].astype(np.int64), days[1].astype(np.int64)


def _close_detentions(spells: list[Detentions], cases: Cases, gone: Ints) -> Detentions:
    """All spells in one, with sentences served before index start; a spell ends when its person is gone."""
    served = (cases.custodial_days > 0) & (cases.disposed + cases.custodial_days < 0)
    earlier = Detentions(
        cases.client[served],
        cases.disposed[served],
        (cases.disposed + cases.custodial_days)[served],
        np.full(int(served.sum()), SENTENCE, dtype=np.int64),
    )
    client, start, end, kind = (
        np.concatenate([getattr(part, name) for part in (*spells, earlier)])
        for name in ("client", "start", "end", "kind")
    )
    keep = start < gone[client]
    return Detentions(client[keep], start[keep], np.minimum(end, gone[client])[keep], kind[keep])
