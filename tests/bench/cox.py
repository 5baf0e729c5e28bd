"""One Cox fit, and a thousand bootstrap fits, side by side with R: `python -m tests.bench.cox --rounds 3`.

12 covariates, times in days (ties), Efron, about 23 % events, SIMULATED rows. In each round R and we fit the same rows in turn, each in a
process of its own with one thread, after reading them from the same file; the time is what the fit takes of the
processor (ours with its risk sets), a mean over many where it is short, so that other work on the machine weighs little; memory is the
peak of the whole process. R's clustered errors grow with the square of the number of people: beyond
`--r-clustered-up-to` R is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestration.analysis import cox
from tests.bench.measuring import Row

SIZES = (200, 2_000, 20_000, 200_000, 1_000_000)
COVARIATES = 12
STUDY = 200  # people of the study that is resampled
TIME, CLUSTERED_TIME, MEMORY, GROWTH = 0.5, 0.01, 1.0, 1.1

R_WORKER = """
suppressMessages(library(survival))
a <- commandArgs(trailingOnly = TRUE); task <- a[1]; folder <- a[2]; repeats <- as.integer(a[3])
rows <- function(name, columns) { path <- file.path(folder, paste0(name, ".bin"))
  matrix(readBin(path, "double", file.size(path) / 8), ncol = columns) }
x <- rows("x", 12); times <- rows("times", 4)
d <- data.frame(x, start = times[, 1], stop = times[, 2], event = times[, 3], officer = times[, 4]); rm(x, times)
terms <- paste(names(d)[1:12], collapse = " + ")
follow <- as.formula(paste("Surv(stop, event) ~", terms)); enter <- as.formula(paste("Surv(start, stop, event) ~", terms))
status <- function(what) as.numeric(gsub("[^0-9]", "", grep(what, readLines("/proc/self/status"), value = TRUE))) / 1024
invisible(gc()); before <- status("VmRSS")
resample <- function() t(apply(rows("frequencies", nrow(d)), 1, function(h) coef(coxph(follow, d[rep(seq_len(nrow(d)), h), ]))))
fit <- switch(task, plain = function() coef(coxph(follow, d)), entry = function() coef(coxph(enter, d)), bootstrap = resample,
  clustered = function() { f <- coxph(follow, d, cluster = officer); c(coef(f), sqrt(diag(f$var))) })
clock <- function() sum(proc.time()[1:2])
if (repeats > 1) fit() # what is slow the first time only
began <- clock(); for (i in seq_len(repeats)) found <- fit(); taken <- (clock() - began) / repeats
cat(sprintf('{"seconds": %.6f, "peak_mb": %.1f, "growth_mb": %.1f, "numbers": [%s]}\\n', taken, status("VmHWM"),
  status("VmHWM") - before, paste(sprintf("%.17g", found), collapse = ",")))
"""


@dataclass(frozen=True)
class Measured:
    """One task at one size: medians over rounds, and the largest relative difference between the numbers of both."""

    task: str
    rows: int
    seconds: float
    r_seconds: float | None
    ratio: float | None  # median of the ratios of each round
    peak_mb: float
    r_peak_mb: float | None
    growth_mb: float
    difference: float | None


def write_rows(folder: Path, n: int, seed: int = 1) -> None:
    """SIMULATED rows as R reads matrices, by column."""
    rng = np.random.default_rng(seed)
    x = np.empty((n, COVARIATES))
    x[:, :6] = rng.normal(size=(n, 6))
    x[:, 6:] = rng.uniform(size=(n, 6)) < np.linspace(0.2, 0.7, 6)
    effects = np.tile([0.3, -0.2, 0.1], COVARIATES // 3)
    failing = rng.exponential(3_500 / np.exp((x - x.mean(axis=0)) @ effects))
    leaving = rng.uniform(200, 1_460, n)
    stop = np.ceil(np.minimum(failing, leaving))
    start = np.floor(rng.uniform(size=n) * stop * (rng.uniform(size=n) < 0.75))
    officer = rng.integers(0, max(2, n * 137 // 200), n)
    columns = np.column_stack([start, stop, failing <= leaving, officer]).astype(np.float64)
    folder.mkdir(parents=True, exist_ok=True)
    x.T.tofile(folder / "x.bin")
    columns.T.tofile(folder / "times.bin")


def work(task: str, folder: Path, repeats: int) -> None:
    """Fit as told and print what it took."""
    x = np.ascontiguousarray(np.fromfile(folder / "x.bin").reshape(COVARIATES, -1).T)
    start, stop, event, officer = np.fromfile(folder / "times.bin").reshape(4, -1)
    before = _status("VmRSS")

    def fit() -> np.ndarray:
        if task == "bootstrap":
            frequencies = np.fromfile(folder / "frequencies.bin").reshape(len(stop), -1).T
            return cox.fit_many(cox.risk_sets(stop, event), x, frequencies=frequencies).coefficients.T
        if task == "clustered":
            found = cox.fit_cox(x, stop, event, clusters=officer, small_cluster=False)
            return np.concatenate([found.coefficients, found.std_errors])
        return cox.fit_cox(x, stop, event, start=start if task == "entry" else None).coefficients

    if repeats > 1:
        fit()  # what is slow the first time only
    began = time.process_time()
    for _ in range(repeats):
        numbers = fit()
    taken = (time.process_time() - began) / repeats
    print(
        json.dumps(
            {"seconds": taken, "peak_mb": _status("VmHWM"), "growth_mb": _status("VmHWM") - before,
             "numbers": numbers.ravel().tolist()}
        )
    )  # fmt: skip


def _status(what: str) -> float:
    """A line of the process's status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def measure(task: str, folder: Path, rows: int, rounds: int, with_r: bool) -> Measured:
    """Fit in turn, `rounds` times."""
    repeats = 1 if task == "bootstrap" else max(1, min(40, 40_000 // rows))
    ours_call = [sys.executable, "-m", "tests.bench.cox", "--work", task, str(folder), str(repeats)]
    script = folder.parent / "worker.R"
    script.write_text(R_WORKER, encoding="utf-8")
    r_call = ["Rscript", "--vanilla", str(script), task, str(folder), str(repeats)]
    ours, theirs = [], []
    for _ in range(rounds):
        if with_r:
            theirs.append(_run(r_call))
        ours.append(_run(ours_call))

    def middle(found: list[dict[str, float]], what: str) -> float:
        return statistics.median(one[what] for one in found)

    mine = np.array(ours[0]["numbers"])
    difference = None
    if with_r:
        reference = np.array(theirs[0]["numbers"])
        difference = float(np.nanmax(np.abs(mine - reference) / np.abs(reference)))
    return Measured(
        task, rows, middle(ours, "seconds"), middle(theirs, "seconds") if with_r else None,
        statistics.median(a["seconds"] / b["seconds"] for a, b in zip(ours, theirs, strict=True)) if with_r else None,
        middle(ours, "peak_mb"), middle(theirs, "peak_mb") if with_r else None, middle(ours, "growth_mb"), difference,
    )  # fmt: skip


def _run(command: list[str]) -> dict[str, float]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def rows(
    sizes: Sequence[int] = SIZES,
    rounds: int = 3,
    entry_rows: int = 200_000,
    bootstraps: int = 1_000,
    r_clustered_up_to: int = 20_000,
) -> Iterator[Row]:
    """Ratios to R by task and number of people, and how our time grows; nothing is held against R where it is not installed."""
    section = "cox"
    has_r = shutil.which("Rscript") is not None
    tasks = [(task, n) for n in sizes for task in ("plain", "clustered")]
    tasks += [("entry", entry_rows), ("bootstrap", STUDY)]
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for task, n in tasks:
            folder = Path(place) / str(n)
            if not folder.exists():
                write_rows(folder, n)
            if task == "bootstrap":
                officer = np.fromfile(folder / "times.bin").reshape(4, -1)[3]
                drawn = cox.resampled(officer, bootstraps, np.random.default_rng(2))
                drawn.T.astype(np.float64).tofile(folder / "frequencies.bin")
            with_r = has_r and (task != "clustered" or n <= r_clustered_up_to)
            found = measure(task, folder, n, rounds, with_r)
            what = f"{bootstraps:,} bootstraps of {n:,} people" if task == "bootstrap" else f"{task}, {n:,} people"
            if found.ratio is None or found.r_peak_mb is None:
                yield Row(section, what, found.seconds, "s", note=f"peak {found.peak_mb:.0f} MB; R left out")
                continue
            note = f"{found.seconds:.5f} s, R {found.r_seconds:.5f}; numbers differ by {found.difference:.0e} of their size"
            yield Row(section, f"{what}: time against R", found.ratio, "×", _bar(task, n), note)
            yield Row(
                section,
                f"{what}: memory against R",
                found.peak_mb / found.r_peak_mb,
                "×",
                MEMORY,
                f"{found.peak_mb:.0f} MB",
            )
        seconds = {}
        for n in (10_000, 1_000_000):
            folder = Path(place) / str(n)
            if not folder.exists():
                write_rows(folder, n)
            seconds[n] = measure("plain", folder, n, rounds, with_r=False).seconds
        exponent = math.log(seconds[1_000_000] / seconds[10_000]) / math.log(100)
        yield Row(section, "growth from 10,000 to 1,000,000 people: exponent", exponent, "", GROWTH)


def _bar(task: str, n: int) -> float | None:
    """How much of R's time a fit may take. With entry times there is no bar."""
    if task == "entry":
        return None
    return CLUSTERED_TIME if task == "clustered" and n >= 200_000 else TIME


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; or do the work of one process."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cox", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="people of the single fits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--r-clustered-up-to", type=int, default=20_000, help="R takes five minutes for 200000")
    parser.add_argument("--work", nargs=3, metavar=("TASK", "FOLDER", "REPEATS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work:
        work(given.work[0], Path(given.work[1]), int(given.work[2]))
        return
    for row in rows(given.sizes, given.rounds, r_clustered_up_to=given.r_clustered_up_to):
        print(row, flush=True)


if __name__ == "__main__":
    main()
