"""A refit in batches that any process with this home may fit: which there are, how one is fitted and kept, and how all become one fit.

With a broker, who fits a batch where is Dagster's and Celery's business (`assets.py`); without one, processes of this machine fit them
(`side_by_side`). What is fitted is in `analysis/`; nothing here changes a number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from orchestration.analysis import outcome
from orchestration.analysis.fit import fit_id, made_by, run_fit
from orchestration.analysis.inputs import Inputs, read_inputs
from orchestration.analysis.recidivism import OutcomeCohort, modelled_outcomes, outcome_cohort
from orchestration.analysis.reuse import WHOLE, Earlier, Lender, outcome_part, rows_read
from orchestration.analysis.specification import Specification
from orchestration.files import folder_by_rename, locked, write_json
from orchestration.hashing import combined_hash, is_as_marked, sha256_file
from orchestration.progress import Progress, nobody
from orchestration.trouble import Mendable
from orchestration.warehouse.versions import Version, require_present
from orchestration.workers import WorkerDied, at_hand

GRID = ".grid"  # hidden, below the fits: what a withdrawal sweeps away, and no backup takes along
ALLIANCE = "alliance"  # every table that is made of no outcome: development, raters, determinants, benchmark
ALLIANCE_TABLES = tuple(name for name in WHOLE if name != "cohort_flow")  # which is copied, never lent
WORTH_SECONDS = 10.0  # a step costs two to five seconds: an outcome that is known to take less shares its step
MANIFEST, SECONDS = "manifest.json", "seconds.json"
TRIES = 3


class OtherWork(Mendable):
    """A worker would fit something else than what was planned: other rows, code, packages or settings."""


class BatchGivenUp(Mendable):
    """A batch has ended with its worker too often to be begun once more."""


@dataclass(frozen=True)
class Work:
    """A fit that is to be made: its id, the version, its rows in order, the models, the seed, and what each part reads."""

    name: str
    version: Version
    inputs: Inputs
    spec: Specification
    seed: int
    marks: Mapping[str, str]

    @classmethod
    def of(cls, version: Version, spec: Specification, seed: int) -> Work:
        """The fit of a version."""
        inputs = read_inputs(version)
        marks = rows_read(inputs, spec)
        return cls(fit_id(combined_hash(marks), spec, seed), version, inputs.in_order(), spec, seed, marks)

    @cached_property
    def cohorts(self) -> dict[str, OutcomeCohort]:
        """The cohort of each outcome that has one, as the fit orders them."""
        names = modelled_outcomes(self.inputs.outcome_definition, self.spec)
        found = {name: outcome_cohort(self.inputs.analysis_cohort, name, self.spec) for name in names}
        return {name: cohort for name, cohort in found.items() if cohort.n}

    def reads(self, part: str) -> dict[str, str]:
        """The fingerprints of what a part (an outcome, or `ALLIANCE`) reads."""
        names = ALLIANCE_TABLES if part == ALLIANCE else (outcome_part(part),)
        return {name: self.marks[name] for name in names}


@dataclass(frozen=True)
class Batch:
    """What is fitted in one step: one outcome, or several that are quick, or what is made of no outcome."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        first, *others = self.parts
        return f"{first}_and_{len(others)}_more" if others else first


@dataclass(frozen=True)
class Done:
    """What became of a batch: its name, the seconds of each part that was fitted, and how many parts were there already."""

    name: str
    seconds: Mapping[str, float]
    there: int


def planned(fits: Path, work: Work, lent: Earlier | None) -> list[Batch]:
    """The batches of a fit, longest first: what no earlier fit (`lent`) has, in steps that are worth one.

    What an outcome took last time (`fits/.grid/seconds.json`) says whether it has a step of its own; one that is not known has.
    What is left of other fits goes.
    """
    for path in (fits / GRID).glob("*"):
        if path.is_dir() and path.name != work.name:
            shutil.rmtree(path)
    for path in (fits / GRID / work.name).glob("*.begun"):
        path.unlink()
    has = {} if lent is None else lent.rows_read
    parts = [part for part in (*work.cohorts, ALLIANCE) if any(has.get(name) != mark for name, mark in work.reads(part).items())]  # fmt: skip
    return packed(parts, _known_seconds(fits))


def packed(parts: Sequence[str], seconds: Mapping[str, float]) -> list[Batch]:
    """Parts in batches: each by itself, save those that took less than `WORTH_SECONDS`, which go together until they do not.

    Parts that were never timed come first, then the longest: who begins the longest last keeps all others waiting.
    """
    order = sorted(parts, key=lambda part: -seconds.get(part, float("inf")))
    full: list[tuple[str, ...]] = []
    filling: list[str] = []
    for part in order:
        if seconds.get(part, WORTH_SECONDS) >= WORTH_SECONDS:
            full.append((part,))
            continue
        filling.append(part)
        if sum(seconds[one] for one in filling) >= WORTH_SECONDS:
            full.append(tuple(filling))
            filling = []
    return [Batch(one) for one in (*full, *([tuple(filling)] if filling else []))]


def fit_batch(fits: Path, name: str, batch: Batch, work_of: Callable[[], Work]) -> Done:
    """Fit what is not there yet of a batch of the fit `name`, and keep each part below `fits/.grid/<name>/` by a rename.

    Whoever comes second to a batch (a broker may hand one out twice) waits for the first, and finds it there. Raises
    OtherWork when this process would fit something else than `name`, NoSuchVersion when the version has gone meanwhile,
    and BatchGivenUp when a batch was begun `TRIES` times and never ended.
    """
    folder = fits / GRID / name
    (fits / GRID).mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with locked(folder / f"{batch.name}.lock"):
        _begin(folder / f"{batch.name}.begun")
        work = work_of()
        if work.name != name:
            raise OtherWork(
                f"batch {batch.name} is of fit {name}, and here it would be of {work.name}: rows, models, code, packages, seed or number "
                "of imputations are others; give workers the code and the settings of the platform, and let it plan again"
            )
        took: dict[str, float] = {}
        missing = [part for part in batch.parts if _kept(folder / part, work, part) is None]
        for part in missing:
            began = time.monotonic()
            tables = _fitted(work, part)
            took[part] = round(time.monotonic() - began, 3)
            require_present(work.version)
            shutil.rmtree(folder / part, ignore_errors=True)  # damaged, or of other code: else it would not be missing
            with folder_by_rename(folder / part) as aside:
                _write(
                    tables, aside, {"part": part, "reads": work.reads(part), "made_by": made_by(work.spec, work.seed)}
                )
        (folder / f"{batch.name}.begun").unlink()
    return Done(batch.name, took, len(batch.parts) - len(missing))


def side_by_side(fits: Path, work: Work, lent: Earlier | None, processes: int, tell: Progress = nobody) -> list[str]:
    """Fit what no earlier fit has in processes of this machine, an outcome each; gives the parts that lie there now for the fit.

    Nothing where one process would have it as soon: a single part, or parts that together took less than `WORTH_SECONDS` last time.
    What a process that died has not fitted is left to the caller.
    """
    parts = [part for batch in planned(fits, work, lent) for part in batch.parts]
    seconds = _known_seconds(fits)
    count = min(processes or os.cpu_count() or 1, len(parts))
    if count < 2 or sum(seconds.get(part, WORTH_SECONDS) for part in parts) < WORTH_SECONDS:
        return []
    done: list[Done] = []
    with contextlib.suppress(WorkerDied), at_hand(count) as pool:
        asked = [pool.submit(_fit_alone, fits, work.name, part, work.version, work.spec, work.seed) for part in parts]
        for future in as_completed(asked):
            done.append(future.result())
            tell(done[-1].name, len(done), len(parts))
    remember(fits, done)
    return [one.name for one in done]


def _fit_alone(fits: Path, name: str, part: str, version: Version, spec: Specification, seed: int) -> Done:
    return fit_batch(fits, name, Batch((part,)), lambda: Work.of(version, spec, seed))


def _begin(marker: Path) -> None:
    """Note which process begins, one line each."""
    tries = marker.read_text().splitlines() if marker.is_file() else []
    if len(tries) >= TRIES:
        raise BatchGivenUp(
            f"a batch was begun {TRIES} times and its worker died each time (of memory?): give workers more of it, or fit "
            "without a broker"
        )
    marker.write_text("\n".join([*tries, f"{socket.gethostname()} {os.getpid()}"]) + "\n")


def remember(fits: Path, done: Sequence[Done]) -> None:
    """Keep what parts took, for the batches of the next fit."""
    took = {part: seconds for one in done for part, seconds in one.seconds.items()}
    write_json(fits / GRID / SECONDS, {**_known_seconds(fits), **took})


def _known_seconds(fits: Path) -> dict[str, float]:
    file = fits / GRID / SECONDS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def gathered(fits: Path, work: Work, lent: Earlier | None) -> Earlier | None:
    """What a fit may take over: the parts that lie in `fits/.grid/<name>/`, and else what the earlier fit `lent` has of it.

    A part that is not whole, was made of other rows or by other code is none. Without any, `lent` as it is.
    """
    folder, lender = fits / GRID / work.name, Lender(lent, work.marks)
    by_part = {part: _kept(folder / part, work, part) for part in (*work.cohorts, ALLIANCE)}
    if not any(by_part.values()):
        return lent
    reads: dict[str, str] = {}
    by_outcome = []
    for name in work.cohorts:
        tables = by_part[name] or lender.outcome(name, tuple(outcome.COLUMNS))
        if tables is not None:
            by_outcome.append(tables)
            reads |= work.reads(name)
    frames = {name: outcome.stacked([tables[name] for tables in by_outcome], name) for name in outcome.COLUMNS}
    if (alliance := by_part[ALLIANCE]) is not None:
        frames |= alliance
        reads |= work.reads(ALLIANCE)
    elif lent is not None:
        same = {name: mark for name, mark in work.reads(ALLIANCE).items() if lent.rows_read.get(name) == mark}
        frames |= {name: lent.tables[name] for name in same}
        reads |= same
    return Earlier(frames, reads)


def clear(fits: Path) -> None:
    """Remove every batch: the fit is written, and they hold a row per person."""
    for path in (fits / GRID).glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _fitted(work: Work, part: str) -> dict[str, pd.DataFrame]:
    if part != ALLIANCE:
        return outcome.tables_of(work.cohorts[part], work.inputs, work.spec, work.seed, lambda _: None)
    none = replace(work.inputs, outcome_definition=work.inputs.outcome_definition.iloc[:0])
    tables = run_fit(none, work.spec, work.seed).tables
    return {name: tables[name] for name in ALLIANCE_TABLES}


def _write(tables: Mapping[str, pd.DataFrame], folder: Path, said: Mapping[str, object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, frame in tables.items():
        # with what pandas says of its columns: one without a value is read back as what it was
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    hashes = {name: sha256_file(folder / f"{name}.parquet") for name in tables}
    write_json(folder / MANIFEST, {**said, "tables": hashes})


def _kept(folder: Path, work: Work, part: str) -> dict[str, pd.DataFrame] | None:
    """The tables of a part that was fitted of the same rows by the same code, models, packages and seed."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    is_same = manifest["reads"] == work.reads(part) and manifest["made_by"] == made_by(work.spec, work.seed)
    hashes = manifest["tables"]
    if not is_same or not all(is_as_marked(folder / f"{name}.parquet", sha256) for name, sha256 in hashes.items()):
        return None
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in hashes}
