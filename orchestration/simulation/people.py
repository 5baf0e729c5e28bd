"""Who is in a simulated cohort: blocks, officers, clients, supervisions and officer spells. No alliance, no offences.

Arrays are one value per client (or officer); days are counted from the start of the client's index supervision, and
days `_on` from 1970-01-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from orchestration.simulation.config import DAYS_PER_MONTH, DAYS_PER_YEAR, CohortConfig

ORGANISATIONS = ("rn", "svg", "ljr")
NEVER = 10**6
MAX_SPELLS = 5
LEFT, REASSIGNED, MOVED = 1, 2, 3

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Officers:
    """One value per officer; `leaves_on` is the day that the officer leaves the organisation."""

    organisation: Ints
    number: Ints
    is_female: Bools
    experience_years: Floats
    rule_orientation: Floats
    leaves_on: Ints
    frailty: Floats


@dataclass(frozen=True)
class Clients:
    """One value per client; `pool_first` and `pool_size` delimit the officers of its block and organisation."""

    replicate: Ints
    organisation: Ints
    pool_first: Ints
    pool_size: Ints
    number: Ints
    national_number: Ints
    is_male: Bools
    start_on: Ints
    born_on: Ints
    has_addiction: Bools
    motivation: Ints
    is_employed: Bools
    has_partner: Bools
    prior_cases: Ints
    planned_end: Ints
    revoked: Ints

    @property
    def size(self) -> int:
        return len(self.replicate)

    def age_on(self, day: int) -> Floats:
        """Age in years, `day` days after index start."""
        return (self.start_on + day - self.born_on) / DAYS_PER_YEAR


@dataclass(frozen=True)
class Spells:
    """Officer spells as (MAX_SPELLS, clients) arrays; a spell that does not occur starts at NEVER."""

    officer: Ints
    start: Ints
    reason: Ints

    def officer_on(self, day: Ints) -> Ints:
        """The officer of each client on `day` (days since index start)."""
        current = self.officer[0].copy()
        for officer, start in zip(self.officer[1:], self.start[1:], strict=True):
            current = np.where(start <= day, officer, current)
        return current

    def changed_between(self, after: Ints, until: Ints) -> Bools:
        """Whether a new officer started in (after, until]."""
        changed: Bools = np.asarray(((self.start[1:] > after) & (self.start[1:] <= until)).any(axis=0))
        return changed


def days_since_epoch(day: date) -> int:
    """Days from 1970-01-01 to `day`."""
    return (day - date(1970, 1, 1)).days


def _apportion(total: int, weights: Floats) -> Ints:
    """Split `total` by `weights` with largest remainders; ties go to the first."""
    exact = total * weights / weights.sum()
    parts = np.floor(exact).astype(np.int64)
    for index in np.argsort(-(exact - parts), kind="stable")[: total - parts.sum()]:
        parts[index] += 1
    return parts


def _block(clients: int, config: CohortConfig) -> tuple[Ints, Ints]:
    """Clients and officers of each organisation in a block of `clients` clients."""
    of_clients = _apportion(clients, np.array(config.organisation_shares))
    officers = max(round(config.block_officers * clients / config.block_clients), int((of_clients > 0).sum()))
    of_officers = _apportion(officers, of_clients.astype(float))
    while ((of_officers == 0) & (of_clients > 0)).any():
        of_officers[np.argmax(of_officers)] -= 1
        of_officers[np.argmax((of_officers == 0) & (of_clients > 0))] += 1
    return of_clients, of_officers


def _layout(clients: int, config: CohortConfig) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Replicate, organisation, first officer and number of officers of each client; organisation of each officer."""
    parts: list[tuple[Ints, ...]] = []
    full, rest = divmod(clients, config.block_clients)
    officers = 0
    for size, times in ((config.block_clients, full), (rest, int(rest > 0))):
        if not times:
            continue
        of_clients, of_officers = _block(size, config)
        organisation = np.repeat(np.arange(3), of_clients)
        first = np.concatenate([[0], np.cumsum(of_officers)[:-1]])[organisation]
        shift = officers + np.arange(times) * of_officers.sum()
        parts.append(
            (
                np.repeat(np.arange(times) + (full if size != config.block_clients else 0), size),
                np.tile(organisation, times),
                (first[None, :] + shift[:, None]).ravel(),
                np.tile(of_officers[organisation], times),
                np.tile(np.repeat(np.arange(3), of_officers), times),
            )
        )
        officers += times * int(of_officers.sum())
    replicate, client, pool_first, pool_size, officer = (np.concatenate(part) for part in zip(*parts, strict=True))
    return replicate, client, pool_first, pool_size, officer


def eleven_proof_numbers(count: int) -> Ints:
    """The first `count` nine-digit numbers from 900000000 on with 9a + 8b + ... + 2h - i a multiple of eleven."""
    prefix = 90_000_000 + np.arange(int(count * 1.2) + 20)
    total = sum((prefix // 10 ** (7 - place) % 10) * (9 - place) for place in range(8))
    check = np.asarray(total) % 11
    return (prefix * 10 + check)[check < 10][:count]


def _spread(count: int, multiplier: int, offset: int, modulus: int) -> Ints:
    """`count` different numbers below `modulus`, spread over it (`multiplier` and `modulus` have no common factor)."""
    return (np.arange(count, dtype=np.int64) * multiplier + offset) % modulus


def draw_people(clients: int, config: CohortConfig, rng: np.random.Generator) -> tuple[Clients, Officers]:
    """Clients and officers, in blocks of `config.block_clients`."""
    replicate, organisation, pool_first, pool_size, officer_organisation = _layout(clients, config)
    n, m = clients, len(officer_organisation)
    first = days_since_epoch(config.enrolment_from)
    window = days_since_epoch(config.enrolment_to) - first + 1
    start_on = first + rng.integers(0, window, n)
    age = np.clip(18 + rng.gamma(2.2, config.age_scale, n), 18, 75)
    has_addiction = rng.random(n) < np.array(config.addiction_shares)[organisation]
    motivation = np.clip(np.rint(rng.normal(config.motivation_mean - 0.4 * has_addiction, 1.0)), 1, 5).astype(np.int64)
    burden = config.mean_prior_cases * np.exp(0.35 * (has_addiction - 0.47) + 0.012 * (age - 35.6)) * 0.97
    prior_cases = rng.poisson(burden * rng.gamma(1.1, 1 / 1.1, n))
    months = rng.integers(config.planned_months[0], config.planned_months[1] + 1, n)
    revoked = np.ceil(rng.exponential(DAYS_PER_YEAR / config.revoked_per_year, n))
    people = Clients(
        replicate=replicate,
        organisation=organisation,
        pool_first=pool_first,
        pool_size=pool_size,
        number=_spread(n, 7_654_321, 4_711, 10**8),
        national_number=rng.permutation(eleven_proof_numbers(n)),
        is_male=rng.random(n) < config.male_share,
        start_on=start_on,
        born_on=start_on - np.floor(age * DAYS_PER_YEAR).astype(np.int64),
        has_addiction=has_addiction,
        motivation=motivation,
        is_employed=rng.random(n) < 0.45 - 0.15 * has_addiction,
        has_partner=rng.random(n) < 0.35,
        prior_cases=prior_cases,
        planned_end=np.rint(months * DAYS_PER_MONTH).astype(np.int64),
        revoked=np.maximum(np.minimum(revoked, NEVER), 90).astype(np.int64),
    )
    leaves = rng.exponential(DAYS_PER_YEAR / max(config.officer_leaves_per_year, 1e-9), m)
    officers = Officers(
        organisation=officer_organisation,
        number=_spread(m, 76_543, 100_003, 10**6),
        is_female=rng.random(m) < 0.6,
        experience_years=np.clip(rng.gamma(1.8, 5.0, m), 0.2, 42.0).round(1),
        rule_orientation=np.clip(rng.normal(3.0, 0.8, m), 1.0, 5.0).round(1),
        leaves_on=(first + np.minimum(leaves, NEVER)).astype(np.int64),
        frailty=np.exp(config.officer_frailty_sd * rng.standard_normal(m) - config.officer_frailty_sd**2 / 2),
    )
    return people, officers


def first_officers(people: Clients, rng: np.random.Generator) -> Ints:
    """An officer for each client: every officer of a pool has one client before anyone has two."""
    n = people.size
    order = np.lexsort((rng.random(n), people.pool_first))
    pools, starts = np.unique(people.pool_first[order], return_index=True)
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n) - starts[np.searchsorted(pools, people.pool_first[order])]
    anyone = np.floor(rng.random(n) * people.pool_size).astype(np.int64)
    return people.pool_first + np.where(rank < people.pool_size, rank, anyone)


def draw_spells(people: Clients, officers: Officers, config: CohortConfig, rng: np.random.Generator) -> Spells:
    """Officer spells up to the planned end: a spell ends when the officer leaves or the client is handed over."""
    n = people.size
    officer = np.zeros((MAX_SPELLS, n), dtype=np.int64)
    start = np.full((MAX_SPELLS, n), NEVER, dtype=np.int64)
    reason = np.zeros((MAX_SPELLS, n), dtype=np.int64)
    officer[0], start[0] = first_officers(people, rng), 0
    for spell in range(MAX_SPELLS - 1):
        handed_over = start[spell] + 14 + rng.exponential(DAYS_PER_YEAR / max(config.officer_change_per_year, 1e-9), n)
        leaves = officers.leaves_on[officer[spell]] - people.start_on
        leaves = np.where(leaves > start[spell] + 14, leaves, NEVER)
        change = np.floor(np.minimum(handed_over, leaves)).astype(np.int64)
        happens = (change < people.planned_end) & (people.pool_size > 1)
        step = 1 + np.floor(rng.random(n) * np.maximum(people.pool_size - 1, 1)).astype(np.int64)
        following = people.pool_first + (officer[spell] - people.pool_first + step) % people.pool_size
        kind = np.where(rng.random(n) < 0.8, REASSIGNED, MOVED)
        reason[spell] = np.where(happens, np.where(leaves <= handed_over, LEFT, kind), 0)
        start[spell + 1] = np.where(happens, change, NEVER)
        officer[spell + 1] = np.where(happens, following, officer[spell])
    return Spells(officer, start, reason)
