"""A cohort whose true effects are known, as one canonical frame per delivered table and the truth beside it.

Frames speak our terms (contract column names, code terms); how a partner spells them is `delivery`'s business. In every
frame an integer below 0, NaN, NaT and a category of -1 mean "not recorded"; identifiers are integers; `known_on` is the
first day on which the source holds the row, and rows are in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.simulation.alliance import (
    DONE,
    RATERS,
    SCALES,
    STATUSES,
    WAVES,
    Alliance,
    Instrument,
    draw_alliance,
    draw_status,
    read_instrument,
)
from orchestration.simulation.config import DEFAULT, CohortConfig
from orchestration.simulation.people import (
    LEFT,
    MOVED,
    NEVER,
    ORGANISATIONS,
    REASSIGNED,
    Bools,
    Clients,
    Ints,
    Officers,
    Spells,
    days_since_epoch,
    draw_people,
    draw_spells,
)
from orchestration.simulation.recidivism import (
    DETENTION_KINDS,
    DISPOSALS,
    FollowUp,
    OffenceClasses,
    draw_followup,
    read_offence_classes,
)

SEEDS = Path(__file__).parents[2] / "dbt_project" / "seeds"
STREAMS = (
    "people",
    "spells",
    "alliance",
    "followup",
    "status",
    "supervision",
    "client",
    "covariate",
    "risc",
    "items",
    "registry",
)
COUNTRIES = ("nl", "ma", "tr", "sr", "cw", "eu", "ot")
COUNTRY_SHARES = (0.68, 0.07, 0.05, 0.06, 0.05, 0.05, 0.04)
FRAMEWORKS = ("suspended_sentence", "conditional_release", "suspended_detention", "other")
SURNAMES = tuple(
    f"{stem}-{number:02d}" for stem in ("Verzonnen", "Bedácht", "Fictief", "Nïemand") for number in range(50)
)
SUPERVISION_ENDS = ("completed", "revoked", "reoffended", "deceased", "other")
SPELL_ENDS = ("supervision_ended", "officer_left", "reassigned", "client_moved")
COVARIATES = ("employment", "partner", "addiction", "motivation", "supervision_level", "electronic_monitoring")
SOURCES = ("risc", "officer", "self_report", "administration")


@dataclass(frozen=True)
class Cohort:
    """Canonical frames by table (`partners` have an `organisation` column), and one row of truth per client.

    `truth` holds who (client, replicate = client // 200, organisation, client_number, national_number,
    supervision_number, start_on), what was seen (is_linked, has_t1, is_t2_trust_seen), the covariates of the hazard
    (addiction, is_male, age_at_landmark in years, motivation, priors_at_start, priors_at_landmark), client-rated scores
    on complete items (trust_t1, trust_t2, reactance_t2), officer_changed (by the landmark), officer_ever_changed (while
    supervision lasted), officer_at_landmark, the hazard a year from the landmark on, the first counted offence after
    it, uncensored (first_event_days on the calendar, first_event_days_at_risk), reoffended_day and departed_day (after
    index start), and the exact risks risk_12, _24, _48 (days at risk) and calendar_risk_12, _24, _48.
    """

    clients: int
    seed: int
    config: CohortConfig
    partners: Mapping[str, pd.DataFrame]
    registry: Mapping[str, pd.DataFrame]
    truth: pd.DataFrame


def _dates(days: Ints) -> np.ndarray[Any, Any]:
    """Days since 1970-01-01 as datetime64[s]; values of NEVER and beyond become NaT."""
    out = days.astype("datetime64[D]")
    out[days >= NEVER] = np.datetime64("NaT")
    return out.astype("datetime64[s]")


def _coded(codes: np.ndarray[Any, Any], terms: tuple[str, ...]) -> pd.Categorical:
    dtype = pd.CategoricalDtype(list(terms))
    return pd.Categorical.from_codes(codes.astype(np.int8 if len(terms) < 128 else np.int16), dtype=dtype)  # type: ignore[arg-type]


def _frame(columns: dict[str, Any], known_on: Ints, organisation: Ints | None = None) -> pd.DataFrame:
    """Rows in the order of organisation and `known_on`."""
    keys = (known_on,) if organisation is None else (known_on, organisation)
    order = np.lexsort(keys)
    if organisation is not None:
        columns = {"organisation": _coded(organisation, ORGANISATIONS), **columns}
    columns = {**columns, "known_on": _dates(known_on)}
    return pd.DataFrame({name: values[order] for name, values in columns.items()}, copy=False)


def _numbered(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """`frame` with a running number as its first column."""
    frame.insert(0, name, np.arange(1, len(frame) + 1, dtype=np.int64))
    return frame


@dataclass(frozen=True)
class _Ends:
    """How each index supervision ended: day, and index into SUPERVISION_ENDS (-1 not recorded)."""

    day: Ints
    reason: Ints


def _supervision_ends(people: Clients, followup: FollowUp, config: CohortConfig, rng: np.random.Generator) -> _Ends:
    """The earliest of planned end, revocation, a new offence that ends it, death and emigration."""
    n = people.size
    by_offence = np.where(
        rng.random(n) < config.ended_by_reoffence, followup.reoffended + rng.integers(5, 40, n), NEVER
    )
    by_offence = np.where(followup.reoffended > np.minimum(followup.death, followup.emigration), NEVER, by_offence)
    days = np.stack([people.planned_end, people.revoked, by_offence, followup.death, followup.emigration])
    reason = days.argmin(axis=0)
    reason = np.where(rng.random(n) < 0.02, -1, reason)
    return _Ends(days.min(axis=0), reason)


def _officer_frame(officers: Officers, config: CohortConfig, rng: np.random.Generator) -> pd.DataFrame:
    size = len(officers.number)
    first = min(days_since_epoch(config.enrolment_from), days_since_epoch(date(config.first_year, 1, 1)))
    columns = {
        "officer_number": officers.number,
        "surname": _coded(rng.integers(0, len(SURNAMES), size), SURNAMES),
        "sex": _coded(officers.is_female.astype(np.int64), ("male", "female")),
        "experience_years": np.where(rng.random(size) < 0.02, np.nan, officers.experience_years),
        "rule_orientation": officers.rule_orientation,
    }
    return _frame(columns, np.full(size, first), officers.organisation)


def _client_frame(people: Clients, known_on: Ints, rng: np.random.Generator) -> pd.DataFrame:
    n = people.size
    mother = rng.choice(len(COUNTRIES), n, p=COUNTRY_SHARES)
    father = np.where(rng.random(n) < 0.8, mother, rng.choice(len(COUNTRIES), n, p=COUNTRY_SHARES))
    own = np.where(rng.random(n) < 0.65, 0, mother)
    columns = {
        "client_number": people.number,
        "national_number": people.national_number,
        "surname": _coded(rng.integers(0, len(SURNAMES), n), SURNAMES),
        "birth_date": _dates(people.born_on),
        "sex": _coded((~people.is_male).astype(np.int64), ("male", "female")),
        "birth_country": _coded(own, COUNTRIES),
        "birth_country_mother": _coded(np.where(rng.random(n) < 0.03, -1, mother), COUNTRIES),
        "birth_country_father": _coded(np.where(rng.random(n) < 0.05, -1, father), COUNTRIES),
    }
    return _frame(columns, known_on, people.organisation)


def _supervision_frames(
    people: Clients,
    officers: Officers,
    spells: Spells,
    ends: _Ends,
    classes: OffenceClasses,
    config: CohortConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame, Ints, Ints]:
    """Supervisions, assignments, the number of each client's index supervision, and the first day of each client."""
    n = people.size
    everyone = np.arange(n)
    earlier = rng.random(n) < config.earlier_supervision
    later = rng.random(n) < config.later_supervision
    earlier_start = -rng.integers(500, 1000, n)
    earlier_end = earlier_start + rng.integers(180, 400, n)
    later_start = ends.day + rng.integers(60, 400, n)
    later_end = later_start + rng.integers(180, 700, n)
    later &= ends.reason != SUPERVISION_ENDS.index("deceased")

    client = np.concatenate([everyone, everyone[earlier], everyone[later]])
    start = np.concatenate([np.zeros(n, dtype=np.int64), earlier_start[earlier], later_start[later]])
    end = np.concatenate([ends.day, earlier_end[earlier], later_end[later]])
    planned = np.concatenate([people.planned_end, earlier_end[earlier], later_end[later]])
    reason = np.concatenate([ends.reason, np.zeros(len(client) - n, dtype=np.int64)])
    origin = people.start_on[client]
    by_organisation = np.lexsort((origin + start, people.organisation[client]))
    number = np.empty(len(client), dtype=np.int64)
    number[by_organisation] = np.arange(1, len(client) + 1)
    supervisions = _frame(
        {
            "supervision_number": number,
            "client_number": people.number[client],
            "start_on": _dates(origin + start),
            "planned_end_on": _dates(origin + planned),
            "end_on": _dates(origin + end),
            "end_reason": _coded(reason, SUPERVISION_ENDS),
            "framework": _coded(rng.choice(4, len(client), p=(0.6, 0.15, 0.15, 0.1)), FRAMEWORKS),
            "index_article": _coded(
                rng.choice(len(classes.articles), len(client), p=classes.weights), classes.articles
            ),
        },
        origin + start,
        people.organisation[client],
    )

    happens = spells.start <= ends.day
    spell, owner = np.nonzero(happens)
    following = np.vstack([spells.start[1:], np.full((1, n), NEVER)])
    spell_end = np.minimum(following - 1, ends.day)[spell, owner]
    is_last = following[spell, owner] > ends.day[owner]
    reasons = np.select([spells.reason == LEFT, spells.reason == REASSIGNED, spells.reason == MOVED], [1, 2, 3], 0)
    single = np.arange(n, len(client))
    single_officer = people.pool_first[client[single]] + single % people.pool_size[client[single]]
    who = np.concatenate([owner, client[single]])
    begins = np.concatenate([spells.start[spell, owner], start[single]]) + people.start_on[who]
    stops = np.concatenate([spell_end, end[single]]) + people.start_on[who]
    assignments = _numbered(
        _frame(
            {
                "supervision_number": np.concatenate([number[owner], number[single]]),
                "officer_number": officers.number[np.concatenate([spells.officer[spell, owner], single_officer])],
                "start_on": _dates(begins),
                "end_on": _dates(stops),
                "end_reason": _coded(
                    np.concatenate(
                        [np.where(is_last, 0, reasons[spell, owner]), np.zeros(len(single), dtype=np.int64)]
                    ),
                    SPELL_ENDS,
                ),
            },
            begins,
            people.organisation[who],
        ),
        "assignment_number",
    )
    known_on = people.start_on + np.where(earlier, earlier_start, 0)
    return supervisions, assignments, number[:n], known_on


def _wave_frames(
    people: Clients,
    officers: Officers,
    spells: Spells,
    alliance: Alliance,
    status: Ints,
    index_number: Ints,
    instrument: Instrument,
    config: CohortConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Waves, and an answer to each item of each wave that was done."""
    n, items = people.size, len(instrument.items)
    wave, rater, client = (part.ravel() for part in np.indices(status.shape))
    day, state = alliance.day.ravel(), status.ravel()
    on = people.start_on[client] + day
    order = np.lexsort((on, people.organisation[client]))
    wave, rater, client, on, state = wave[order], rater[order], client[order], on[order], state[order]
    by_day = np.stack([spells.officer_on(alliance.day[w, r]) for w in range(len(WAVES)) for r in range(len(RATERS))])
    officer = officers.number[by_day.ravel()[order]]
    done = state == DONE
    named = state != STATUSES.index("supervision_ended")
    version = (on >= days_since_epoch(config.instrument_version_2_from)).astype(np.int64)
    organisation = people.organisation[client]
    waves = _frame(
        {
            "supervision_number": index_number[client],
            "wave": _coded(wave, WAVES),
            "rater": _coded(rater, RATERS),
            "status": _coded(state, STATUSES),
            "measured_on": _dates(np.where(done, on, NEVER)),
            "officer_number": np.where(named, officer, -1),
            "instrument_version": _coded(np.where(done, version, -1), ("1", "2")),
        },
        on,
        organisation,
    )
    answers = alliance.answers.reshape(len(WAVES) * len(RATERS) * n, items)[order[done]]
    answers = np.where(rng.random(answers.shape, dtype=np.float32) < config.item_missing, np.int8(-1), answers)
    responses = pd.DataFrame(
        {
            "organisation": _coded(np.repeat(organisation[done].astype(np.int8), items), ORGANISATIONS),
            "supervision_number": np.repeat(index_number[client[done]].astype(np.int32), items),
            "wave": _coded(np.repeat(wave[done].astype(np.int8), items), WAVES),
            "rater": _coded(np.repeat(rater[done].astype(np.int8), items), RATERS),
            "item": _coded(np.tile(np.arange(items, dtype=np.int8), int(done.sum())), instrument.items),
            "response": answers.ravel(),
            "known_on": _dates(np.repeat(on[done], items)),
        },
        copy=False,
    )
    return waves, responses


def _covariate_frame(people: Clients, ends: _Ends, config: CohortConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Dated covariates: at the start and each year while supervision lasts; level and monitoring when they change.

    Addiction: the officer and RISc always know it; a client tells it four times out of five.
    """
    n = people.size
    everyone = np.arange(n)
    parts: list[tuple[Ints, int, Ints, int, Ints]] = []

    def add(name: str, value: Ints, source: str, day: Ints, where: Bools | None = None, missing: float = 0.0) -> None:
        keep = (day <= ends.day) if where is None else (day <= ends.day) & where
        value = np.where(rng.random(n) < missing, -1, value)
        parts.append((everyone[keep], COVARIATES.index(name), value[keep], SOURCES.index(source), day[keep]))

    intake = rng.integers(0, 21, n)
    addiction = people.has_addiction.astype(np.int64)
    told = addiction * (rng.random(n) < 0.8)
    employed, partner, motivation = (
        people.is_employed.astype(np.int64),
        people.has_partner.astype(np.int64),
        people.motivation,
    )
    add("addiction", told, "self_report", intake)
    for year in range(3):
        day = intake + year * 365 + (rng.integers(-20, 20, n) if year else 1)
        add("addiction", addiction, "officer", day)
        add("addiction", addiction, "risc", day)
        add("motivation", motivation, "officer", day, missing=config.covariate_missing)
        add("employment", employed, "officer", day, missing=config.covariate_missing)
        add("partner", partner, "self_report", day)
        employed = np.where(rng.random(n) < 0.15, 1 - employed, employed)
        partner = np.where(rng.random(n) < 0.10, 1 - partner, partner)
        motivation = np.clip(motivation + rng.integers(-1, 2, n), 1, 5)
    level = 1 + (people.prior_cases > 2).astype(np.int64) + (people.prior_cases > 6)
    day = np.zeros(n, dtype=np.int64)
    for change in range(4):
        add("supervision_level", level, "administration", day)
        level = np.where(rng.random(n) < 0.7, np.maximum(level - 1, 1), np.minimum(level + 1, 3))
        day = day + rng.integers(60, 240, n) + 60 * change
    monitored = rng.random(n) < 0.10
    switched_on = rng.integers(0, 60, n)
    add("electronic_monitoring", np.ones(n, dtype=np.int64), "administration", switched_on, monitored)
    add(
        "electronic_monitoring",
        np.zeros(n, dtype=np.int64),
        "administration",
        switched_on + rng.integers(30, 180, n),
        monitored,
    )

    sizes = [len(part[0]) for part in parts]
    client = np.concatenate([part[0] for part in parts])
    on = people.start_on[client] + np.concatenate([part[4] for part in parts])
    columns = {
        "client_number": people.number[client],
        "name": _coded(np.repeat([part[1] for part in parts], sizes), COVARIATES),
        "value": np.concatenate([part[2] for part in parts]),
        "source": _coded(np.repeat([part[3] for part in parts], sizes), SOURCES),
        "measured_on": _dates(on),
    }
    return _frame(columns, on, people.organisation[client])


def _risc_frame(people: Clients, ends: _Ends, rng: np.random.Generator) -> pd.DataFrame:
    """RISc at the start and each year while supervision lasts.

    Scales 8 (drugs) and 9 (alcohol) are at most 2 without an addiction; with one, one of them is at least 6.
    """
    n = people.size
    severity = rng.normal(0, 1, n) + 0.8 * (np.log1p(people.prior_cases) - 1.3)
    is_drugs = rng.random(n) < 0.6
    parts = []
    for year in range(3):
        day = rng.integers(0, 30, n) + year * 365
        scales = np.clip(np.rint(rng.normal(5 + 1.6 * severity[:, None], 2.0, (n, 12))), 0, 14).astype(np.int64)
        clean, problem = rng.integers(0, 3, (2, n)), rng.integers(6, 13, n)
        scales[:, 7] = np.where(people.has_addiction & is_drugs, problem, clean[0])
        scales[:, 8] = np.where(people.has_addiction & ~is_drugs, problem, clean[1])
        total = scales.sum(axis=1)
        not_scored = rng.random((n, 12)) < 0.01
        not_scored[:, 7:9] = False
        total = total - np.where(not_scored, scales, 0).sum(axis=1)
        scales = np.where(not_scored, -1, scales)
        keep = day <= ends.day
        parts.append((np.arange(n)[keep], (people.start_on + day)[keep], scales[keep], total[keep]))
    client, on, scales, total = (np.concatenate([part[index] for part in parts]) for index in range(4))
    columns: dict[str, Any] = {
        "client_number": people.number[client],
        "assessed_on": _dates(on),
        "risc_version": _coded((on >= days_since_epoch(date(2022, 7, 1))).astype(np.int64), ("3", "4")),
        **{f"scale_{scale + 1:02d}": scales[:, scale] for scale in range(12)},
        "total": total,
        "level": _coded((total > 40).astype(np.int64) + (total > 70), ("low", "medium", "high")),
    }
    return _frame(columns, on, people.organisation[client])


def _registry_frames(
    people: Clients,
    followup: FollowUp,
    is_linked: Bools,
    classes: OffenceClasses,
    config: CohortConfig,
    rng: np.random.Generator,
) -> dict[str, pd.DataFrame]:
    """The registry in full truth: what a cut-off hides is `delivery`'s business.

    Who was not found has a row in `linkage` and nowhere else.
    """
    cases, enrolled = followup.cases, people.start_on
    keep = is_linked[cases.client]
    client = cases.client[keep]
    origin = enrolled[client]
    registered = origin + cases.registered[keep]
    known_on = np.maximum(registered, origin)
    order = np.lexsort((registered, known_on))
    client, origin, registered, known_on = client[order], origin[order], registered[order], known_on[order]
    number = np.arange(1, len(client) + 1)
    rows: dict[str, Ints] = {
        name: getattr(cases, name)[keep][order] for name in ("day", "disposed", "disposal", "custodial_days", "article")
    }
    frames = {
        "cases": _frame(
            {
                "case_number": number,
                "national_number": people.national_number[client],
                "registered_on": _dates(registered),
            },
            known_on,
        ),
        "disposals": _frame(
            {
                "case_number": number,
                "disposal": _coded(rows["disposal"], DISPOSALS),
                "disposed_on": _dates(origin + rows["disposed"]),
                "custodial_days": rows["custodial_days"],
            },
            known_on,
        ),
    }
    offences = 1 + (rng.random(len(number)) < 0.3) + (rng.random(len(number)) < 0.1)
    case = np.repeat(np.arange(len(number)), offences)
    is_main = np.r_[True, case[1:] != case[:-1]] if len(case) else np.zeros(0, dtype=bool)
    on = (origin + rows["day"])[case] + np.where(is_main, 0, rng.integers(0, 8, len(case)))
    on = np.minimum(on, registered[case])
    undated = (rng.random(len(number)) < config.offence_date_missing)[case]
    article = np.where(is_main, rows["article"][case], rng.choice(len(classes.articles), len(case), p=classes.weights))
    frames["offences"] = _numbered(
        _frame(
            {
                "case_number": number[case],
                "offence_on": _dates(np.where(undated, NEVER, on)),
                "article": _coded(article, classes.articles),
            },
            known_on[case],
        ),
        "offence_number",
    )
    spells = followup.detentions
    held = is_linked[spells.client]
    who = spells.client[held]
    start, end = enrolled[who] + spells.start[held], enrolled[who] + spells.end[held]
    frames["detentions"] = _numbered(
        _frame(
            {
                "national_number": people.national_number[who],
                "start_on": _dates(start),
                "end_on": _dates(end),
                "kind": _coded(spells.kind[held], DETENTION_KINDS),
            },
            np.maximum(start, enrolled[who]),
        ),
        "detention_number",
    )
    departure = np.minimum(followup.death, followup.emigration)
    left = is_linked & (departure < 40 * 365)
    frames["departures"] = _frame(
        {
            "national_number": people.national_number[left],
            "kind": _coded((followup.emigration < followup.death).astype(np.int64)[left], ("death", "emigration")),
            "departed_on": _dates((enrolled + departure)[left]),
        },
        (enrolled + departure)[left],
    )
    frames["linkage"] = _frame(
        {
            "national_number": people.national_number,
            "status": _coded((~is_linked).astype(np.int64), ("found", "not_found")),
        },
        enrolled,
    )
    return frames


def simulate_cohort(
    clients: int = 200, seed: int = 20260101, config: CohortConfig = DEFAULT, seeds: Path = SEEDS
) -> Cohort:
    """A cohort of `clients` clients, the same for the same seed; `seeds` holds the instrument and the offence classes.

    Clients come in blocks of 200 with 137 officers; a block shares nobody with another, so that 40,000 clients are 200
    independent studies of 200.
    """
    if clients < 1:
        raise ValueError(f"a cohort has at least one client, not {clients}")
    rngs = {
        name: np.random.Generator(np.random.PCG64(child))
        for name, child in zip(STREAMS, np.random.SeedSequence(seed).spawn(len(STREAMS)), strict=True)
    }
    instrument, classes = read_instrument(seeds), read_offence_classes(seeds)
    people, officers = draw_people(clients, config, rngs["people"])
    spells = draw_spells(people, officers, config, rngs["spells"])
    alliance = draw_alliance(people, officers, spells, instrument, config, rngs["alliance"])
    landmark = np.full(clients, config.landmark_days, dtype=np.int64)
    officer_changed = spells.changed_between(np.zeros(clients, dtype=np.int64), landmark)
    trust, reactance = SCALES.index("trust"), SCALES.index("reactance")
    scores = {
        "trust_t1": alliance.score[0, 0, :, trust].astype(float),
        "trust_t2": alliance.score[1, 0, :, trust].astype(float),
        "reactance_t2": alliance.score[1, 0, :, reactance].astype(float),
    }
    frailty = officers.frailty[spells.officer[0]]
    followup = draw_followup(
        people,
        **scores,
        officer_changed=officer_changed,
        frailty=frailty,
        classes=classes,
        config=config,
        rng=rngs["followup"],
    )
    ends = _supervision_ends(people, followup, config, rngs["supervision"])
    status = draw_status(people, alliance, ends.day, config, rngs["status"])
    is_linked = rngs["registry"].random(clients) >= config.not_linked

    supervisions, assignments, index_number, known_on = _supervision_frames(
        people, officers, spells, ends, classes, config, rngs["supervision"]
    )
    waves, responses = _wave_frames(
        people, officers, spells, alliance, status, index_number, instrument, config, rngs["items"]
    )
    partners = {
        "clients": _client_frame(people, known_on, rngs["client"]),
        "covariates": _covariate_frame(people, ends, config, rngs["covariate"]),
        "officers": _officer_frame(officers, config, rngs["client"]),
        "supervisions": supervisions,
        "assignments": assignments,
        "waves": waves,
        "item_responses": responses,
        "risc": _risc_frame(people, ends, rngs["risc"]),
    }
    departed = np.minimum(followup.death, followup.emigration)
    truth = pd.DataFrame(
        {
            "client": np.arange(clients),
            "replicate": people.replicate,
            "organisation": _coded(people.organisation, ORGANISATIONS),
            "client_number": people.number,
            "national_number": people.national_number,
            "supervision_number": index_number,
            "start_on": _dates(people.start_on),
            "is_linked": is_linked,
            "has_t1": (status[0] == DONE).any(axis=0),
            "is_t2_trust_seen": status[1, 0] == DONE,
            "addiction": people.has_addiction.astype(np.int64),
            "is_male": people.is_male,
            "age_at_landmark": people.age_on(config.landmark_days),
            "motivation": people.motivation,
            "priors_at_start": people.prior_cases,
            "priors_at_landmark": followup.priors_at_landmark,
            **scores,
            "officer_changed": officer_changed,
            "officer_ever_changed": spells.changed_between(np.zeros(clients, dtype=np.int64), ends.day),
            "officer_at_landmark": officers.number[spells.officer_on(landmark)],
            "hazard": followup.hazard,
            "first_event_days": np.where(
                followup.first_event >= NEVER, NEVER, followup.first_event - config.landmark_days
            ),
            "first_event_days_at_risk": followup.first_event_at_risk,
            "reoffended_day": followup.reoffended,
            "departed_day": departed,
            **{f"risk_{m}": followup.risk_at_risk_time[k] for k, m in enumerate((12, 24, 48))},
            **{f"calendar_risk_{m}": followup.risk_calendar_time[k] for k, m in enumerate((12, 24, 48))},
        }
    )
    registry = _registry_frames(people, followup, is_linked, classes, config, rngs["registry"])
    return Cohort(clients, seed, config, partners, registry, truth)


def describe_truth(cohort: Cohort) -> dict[str, Any]:
    """What `truth.json` says: settings, coefficients (log hazard a unit), effects on the alliance, true risks."""
    config, truth = cohort.config, cohort.truth
    risks = {
        clock: {f"{months}_months": round(float(truth[f"{prefix}_{months}"].mean()), 6) for months in (12, 24, 48)}
        for clock, prefix in (("days_at_risk", "risk"), ("calendar_days", "calendar_risk"))
    }
    return {
        "simulated": True,
        "seed": cohort.seed,
        "clients": cohort.clients,
        "block_clients": config.block_clients,
        "coefficients": {
            "trust_t2": config.effect_trust,
            "reactance_t2": config.effect_reactance,
            "addiction": config.effect_addiction,
            "log1p_prior_cases": config.effect_log_priors,
            "age_per_10_years": config.effect_age_per_10_years,
            "is_male": config.effect_male,
            "officer_changed": config.effect_officer_changed,
            "motivation": config.effect_motivation,
            "officer_rule_orientation": 0.0,
        },
        "alliance_effects": {
            "trust_by_officer_change": config.trust_by_officer_change,
            "trust_by_rule_orientation": config.trust_by_rule_orientation,
            "reactance_by_rule_orientation": config.reactance_by_rule_orientation,
            "trust_by_motivation": config.trust_by_motivation,
            "slope_by_motivation_per_year": config.slope_by_motivation,
            "slope_by_addiction_per_year": config.slope_by_addiction,
            "reactance_by_log1p_prior_cases": config.reactance_by_log_priors,
        },
        "risk_after_landmark": risks,
        "config": {
            name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(config).items()
        },
    }
