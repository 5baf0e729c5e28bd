"""The two implementations of the core tables held against each other: `python -m tests.warehouse.histories --histories N`.

Hypothesis makes histories with every order, tie, overlap and gap that a delivery may hold, among days on which something turns
(the landmark, the end of the lag, 29 February). The dbt project, compiled once, and `reference.py` must give the same rows.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.warehouse.dbt import Node, parsed
from tests.warehouse import reference
from tests.warehouse.marts_world import PROJECT, World

CLIENTS = 8  # histories in one world
CUTOFF = date(2026, 6, 30)
CUTOFFS = [CUTOFF, date(2028, 6, 30), date(2023, 7, 31)]
START = date(2022, 5, 31)
LAG_ENDS = CUTOFF - timedelta(days=183)
TURNING = [
    START, START + timedelta(days=1), START + timedelta(days=274), START + timedelta(days=273), START + timedelta(days=275),
    date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), LAG_ENDS, LAG_ENDS + timedelta(days=1), CUTOFF, date(2022, 1, 1),
    date(2022, 12, 31), date(2021, 12, 31), START - timedelta(days=1826), START - timedelta(days=1),
]  # fmt: skip
DAYS = st.one_of(st.sampled_from(TURNING), st.dates(date(2021, 6, 1), date(2026, 8, 1)))
OFFSETS = st.sampled_from([-1826, -1, 0, 1, 10, 100, 200, 273, 274, 275, 300, 500, 274 + 365, 274 + 1461, 274 + 1462])
NEAR = st.one_of(
    OFFSETS.map(lambda days: START + timedelta(days=days)), DAYS
)  # around what most supervisions begin with
EARLY = st.one_of(
    st.just(START),
    st.just(START),
    st.sampled_from([START, date(2022, 12, 31)]),
    st.dates(date(2021, 12, 20), date(2023, 1, 10)),
)
ARTICLES = ["Sr 285", "Sr 310", "WVW 8", "WVW 9", "Sr 302", "Sr 350"]
DISPOSALS = [
    None, "conviction", "prosecutor_penalty", "acquittal", "technical_dismissal", "other_technical", "policy_dismissal",
    "pending",
]  # fmt: skip


@st.composite
def worlds(draw: Callable[..., Any], clients: int = CLIENTS) -> World:
    """A world of some clients with histories of any shape."""
    world = World(registry_cutoff_on=draw(st.sampled_from(CUTOFFS)))
    for officer in ("anna", "bram", "carl"):
        world.add("rn", "officers", officer_number=officer, sex="female", experience_years=5.0, rule_orientation=3.0)
    world.add("north_carolina", "recid", record=1, cens=0, durat=1)
    for number in range(clients):
        _client(draw, world, f"p{number}")
    _at_the_edges(world)
    return world


def _at_the_edges(world: World) -> None:
    """One client of every world who offends on the day of the origin, and twice on the last day of the observation; and one who emigrates,
    as few do that are drawn.

    Between two ratings two officers came on one day, the first after one of whom it is not said why that one left.
    """
    origin = START + timedelta(days=reference.days_of(reference.LANDMARK_MONTHS))
    _rated(world, "edge")
    _rated(world, "emigrant")
    world.add(
        "registry", "departures", national_number="emigrant", kind="emigration", departed_on=origin + timedelta(days=60)
    )
    last = min(origin + timedelta(days=reference.days_of(48)), world.registry_cutoff_on - timedelta(days=183))
    for number, (offence_on, registered_on) in enumerate(
        [(origin, origin + timedelta(days=100)), (last, last), (last, last)]
    ):
        case = f"edge c{number}"
        world.add("registry", "cases", case_number=case, national_number="edge", registered_on=registered_on)
        world.add(
            "registry", "offences", offence_number=case, case_number=case, offence_on=offence_on, article=ARTICLES[0]
        )


def _rated(world: World, name: str) -> None:
    """A client who was linked, with one supervision that goes on, three officers, and a rating before and after they changed."""
    world.add(
        "rn", "clients", client_number=name, national_number=name, birth_year=1980, sex="male", birth_country="nl",
        birth_country_mother="nl", birth_country_father="nl",
    )  # fmt: skip
    world.add("registry", "linkage", national_number=name, status="found")
    world.add(
        "rn", "supervisions", supervision_number=name, client_number=name, start_on=START, end_on=None, framework="other",
        index_article=ARTICLES[0],
    )  # fmt: skip
    for number, (officer, day, reason) in enumerate(
        [("anna", 0, None), ("bram", 100, "reassigned"), ("carl", 100, "officer_left")]
    ):
        world.add(
            "rn", "assignments", assignment_number=f"{name} a{number}", supervision_number=name, officer_number=officer,
            start_on=START + timedelta(days=day), end_on=START + timedelta(days=100) if officer != "carl" else None, end_reason=reason,
        )  # fmt: skip
    for wave, day in (("T1", 0), ("T2", 200)):
        world.add(
            "rn", "waves", supervision_number=name, wave=wave, rater="client", status="done",
            measured_on=START + timedelta(days=day), officer_number=None, instrument_version="1",
        )  # fmt: skip
        for item in reference.seed("instrument_item"):
            if item["version"] == "1" and item["rater"] == "client":
                world.add("rn", "item_responses", supervision_number=name, wave=wave, rater="client", item=item["item"], response=3)  # fmt: skip


def _client(draw: Callable[..., Any], world: World, name: str) -> None:
    world.add(
        "rn", "clients", client_number=name, national_number=name, birth_year=draw(st.integers(1950, 2003)), sex="male",
        birth_country="nl", birth_country_mother="nl", birth_country_father="nl",
    )  # fmt: skip
    linkage = draw(st.sampled_from(["found", "found", "found", "found", "not_found", None]))
    if linkage:
        world.add("registry", "linkage", national_number=name, status=linkage)
    for supervision in range(draw(st.integers(1, 2))):
        _supervision(draw, world, name, f"{name} s{supervision}")
    for number in range(draw(st.integers(0, 4))):
        case, registered_on = f"{name} c{number}", draw(NEAR)
        world.add("registry", "cases", case_number=case, national_number=name, registered_on=registered_on)
        for offence in range(draw(st.integers(0, 2))):
            earlier = st.one_of(NEAR, NEAR, st.dates(date(2010, 1, 1), date(2022, 6, 1))).map(
                lambda day, last=registered_on: min(day, last)
            )
            world.add(
                "registry", "offences", offence_number=f"{case} o{offence}", case_number=case,
                offence_on=draw(st.one_of(st.none(), earlier)), article=draw(st.sampled_from(ARTICLES)),
            )  # fmt: skip
        if disposal := draw(st.sampled_from(DISPOSALS)):
            world.add(
                "registry", "disposals", case_number=case, disposal=disposal,
                custodial_days=draw(st.sampled_from([None, 0, 30])),
            )  # fmt: skip
    for number in range(draw(st.integers(0, 4))):
        begins = draw(NEAR)
        length = draw(st.one_of(st.none(), st.integers(1, 500)))
        world.add(
            "registry", "detentions", detention_number=f"{name} d{number}", national_number=name, start_on=begins,
            end_on=begins + timedelta(days=length) if length else None, kind="sentence",
        )  # fmt: skip
    for kind in draw(st.sampled_from([[], [], [], ["death"], ["emigration"], ["death", "emigration"]])):
        world.add("registry", "departures", national_number=name, kind=kind, departed_on=draw(NEAR))


def _supervision(draw: Callable[..., Any], world: World, client: str, name: str) -> None:
    start = draw(EARLY)
    length = draw(st.one_of(st.none(), st.integers(0, 900)))
    end = start + timedelta(days=length) if length is not None else None
    world.add(
        "rn", "supervisions", supervision_number=name, client_number=client, start_on=start, end_on=end, framework="other",
        index_article=draw(st.sampled_from(ARTICLES)),
    )  # fmt: skip
    for number in range(draw(st.integers(0, 4))):
        begins = draw(
            st.one_of(st.just(start), DAYS, st.integers(-5, 600).map(lambda day: start + timedelta(days=day)))
        )
        lasts = draw(st.one_of(st.none(), st.integers(0, 500)))
        world.add(
            "rn", "assignments", assignment_number=f"{name} a{number}", supervision_number=name,
            officer_number=draw(st.sampled_from(["anna", "bram", "carl"])), start_on=begins,
            end_on=begins + timedelta(days=lasts) if lasts is not None else None,
            end_reason=draw(st.sampled_from([None, "reassigned", "officer_left"])),
        )  # fmt: skip
    own = [row for row in world.rows.get(("rn", "assignments"), []) if row["supervision_number"] == name]
    days = [day for row in own for day in (row["start_on"], row["end_on"]) if day is not None]
    for wave in ("T1", "T2", "T3", "T4"):
        for rater in ("client", "officer"):
            status = draw(st.sampled_from(["done"] * (6 if wave == "T1" else 3) + ["refused", "missed", "absent"]))
            if status != "absent":
                _rating(draw, world, name, [start, *days], wave, rater, status)


def _rating(
    draw: Callable[..., Any], world: World, supervision: str, days: list[date], wave: str, rater: str, status: str
) -> None:
    near = st.integers(0, 30 + 250 * (int(wave[1]) - 1)).map(lambda day: days[0] + timedelta(days=day))
    version = draw(st.sampled_from(["1", "1", "1", "2", None]))
    world.add(
        "rn", "waves", supervision_number=supervision, wave=wave, rater=rater, status=status,
        measured_on=draw(st.one_of(near, st.sampled_from(days), NEAR)) if status == "done" else None,
        officer_number=draw(st.sampled_from([None, "anna", "bram"])), instrument_version=version,
    )  # fmt: skip
    if status != "done":
        return
    level, noise = draw(st.integers(1, 5)), draw(st.randoms(use_true_random=False))
    for item in reference.seed("instrument_item"):
        if item["version"] == (version or "1") and item["rater"] == rater:
            response = min(5, max(1, level + noise.choice([-1, 0, 0, 1])))
            world.add(
                "rn", "item_responses", supervision_number=supervision, wave=wave, rater=rater, item=item["item"],
                response=noise.choice([response, response, response, response, response, response, 9]),
            )  # fmt: skip


@dataclass
class Compiled:
    """The dbt project compiled once: the statement of every model in the order in which they build, and its seeds."""

    folder: Path
    statements: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def once(cls, folder: Path) -> Compiled:
        """Compile the project into `folder` over the inputs of an empty world."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        build, target = folder / "build", folder / "target"
        World().write(build)
        places = {"--project-dir": PROJECT, "--profiles-dir": PROJECT, "--target-path": target, "--log-path": folder}
        where = [str(word) for place in places.items() for word in place]
        runner = dbtRunner(manifest=parsed(Settings()))
        with contextlib.chdir(build):
            try:
                for command in ("seed", "compile"):
                    assert runner.invoke(["--quiet", command, *where]).success, command
            finally:
                DuckDBConnectionManager.close_all_connections()
        return cls.of(folder)

    @classmethod
    def of(cls, folder: Path) -> Compiled:
        """What `once` left in a folder."""
        return cls(folder, _in_order(folder / "target"))

    def run(self, world: World) -> dict[str, pd.DataFrame]:
        """Build a world in memory; gives the tables of `reference.KEYS`, and who was lost at which step."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            world.write(Path(place) / "build")
            # One thread: of a handful of rows, handing them round costs more than the work.
            with self.built(Path(place) / "build", threads=1) as connection:
                found = {name: connection.execute(f"from marts.{name}").df() for name in reference.KEYS}
                found["lost"] = connection.execute(
                    "select outcome_id, ineligible_reason as reason, count(*) as n from marts.analysis_cohort "
                    "where ineligible_reason is not null group by all"
                ).df()
                return found

    def build(self, settings: Settings, folder: Path, *, is_tested: bool = False) -> list[Node]:
        """In the place of `dbt.build` where a test asks what comes of rows and not what dbt does: nothing is tested."""
        with self.built(folder, into=str(folder / "warehouse.duckdb")):
            return [Node(relation, "success", None) for _, relation, _ in self.statements]

    @contextlib.contextmanager
    def built(
        self, build: Path, threads: int | None = None, into: str = ":memory:"
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the project built in memory or in a file from `build`/sources, its seeds in any order."""
        with duckdb.connect() as connection, contextlib.chdir(build):
            if threads:
                connection.execute(f"set threads to {threads}")
            connection.execute(f"attach '{into}' as warehouse")
            connection.execute(f"attach '{self.folder / 'build' / 'warehouse.duckdb'}' as seeded (read_only)")
            for layer in ("seeds", "staging", "intermediate", "marts"):
                connection.execute(f"create schema warehouse.{layer}")
            for (name,) in connection.execute(
                "select table_name from information_schema.tables where table_catalog = 'seeded' and table_schema = 'seeds'"
            ).fetchall():
                connection.execute(f"create table warehouse.seeds.{name} as from seeded.seeds.{name} order by random()")
            connection.execute("use warehouse")
            for kind, relation, statement in self.statements:
                connection.execute(f"create {kind} {relation} as {statement}")
            yield connection


def _in_order(target: Path) -> list[tuple[str, str, str]]:
    from orchestration.warehouse.dbt import compiled_models

    return [
        ("view" if model.is_view else "table", model.relation, model.statement) for model in compiled_models(target)
    ]


def disagreements(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> list[str]:
    """Where the two differ: table, column and how many rows. Nothing is said of what a row holds."""
    said = []
    keys = {**reference.KEYS, "lost": ("outcome_id", "reason")}
    for table, key in keys.items():
        ours, theirs = found[table], expected[table]
        if ours.empty and theirs.empty:
            continue
        if ours.empty or theirs.empty:
            said.append(f"{table}: {len(ours)} rows and {len(theirs)}")
            continue
        ours, theirs = ours.set_index(list(key)).sort_index(), theirs.set_index(list(key)).sort_index()
        if not ours.index.equals(theirs.index):
            said.append(f"{table}: keys differ ({len(ours)} rows and {len(theirs)})")
            continue
        for column in [name for name in theirs.columns if name in ours.columns]:
            apart = _apart(ours[column], theirs[column])
            if table == "alliance_change" and column == "pattern":
                apart &= (theirs[column] != "on the band").to_numpy(dtype=bool)
            if apart.any():
                said.append(f"{table}.{column}: {int(apart.sum())} of {len(ours)} rows")
    return said


def _apart(ours: pd.Series, theirs: pd.Series) -> np.ndarray:
    """Which rows differ, by their place; without the index, which costs more than the comparison."""
    mine, yours = ours.isna().to_numpy(), theirs.isna().to_numpy()
    both = ~(mine | yours)
    differ = mine != yours
    one, other = ours.array[both], theirs.array[both]
    if pd.api.types.is_float_dtype(ours):
        # scores are summed in millionths here, and in floating-point numbers there
        summed, known = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        differ[both] = np.abs(summed - known) > 1e-5 * (1 + np.abs(known))
    else:
        differ[both] = [bool(here != there) for here, there in zip(one, other, strict=True)]
    return differ


def each_world(histories: int, do: Callable[[World], None]) -> int:
    """Do something with the worlds that hold at least `histories` histories; gives how many. The same worlds while the code is the same."""
    done = 0

    @hypothesis.settings(
        max_examples=-(-histories // CLIENTS), deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],  # to shrink a world takes minutes: what differs is said by table and column
    )  # fmt: skip
    @hypothesis.given(worlds())
    def example(world: World) -> None:
        nonlocal done
        do(world)
        done += CLIENTS

    example()
    return done


@dataclass(frozen=True)
class Expected:
    """A world, and the tables that `reference.py` makes of it."""

    world: World
    tables: dict[str, pd.DataFrame]


def expected(histories: int) -> list[Expected]:
    """The worlds of at least `histories` histories with what must come of each, to be held against many projects."""
    outcomes = reference.seed("outcome")
    found: list[Expected] = []
    each_world(histories, lambda world: found.append(Expected(world, reference.tables(world, outcomes))))
    return found


def hold_on(project: Compiled, histories: int) -> int:
    """Hold the two against each other on at least `histories` histories; gives how many. Raises AssertionError."""
    outcomes = reference.seed("outcome")

    def agree(world: World) -> None:
        apart = disagreements(project.run(world), reference.tables(world, outcomes))
        assert not apart, apart

    return each_world(histories, agree)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2000)
    with tempfile.TemporaryDirectory() as folder:
        done = hold_on(Compiled.once(Path(folder)), parser.parse_args().histories)
    print(f"histories on which the two implementations were compared  {done}")
    print("disagreements                                             0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
