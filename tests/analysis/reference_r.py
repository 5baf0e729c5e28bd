"""Asks R (survival, mice) for reference numbers: writes frames as CSV, runs one script, reads `name,index,value` back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RSCRIPT = shutil.which("Rscript")
needs_r = pytest.mark.skipif(
    RSCRIPT is None, reason="Rscript is not on PATH (apt: r-base-core, r-cran-survival, r-cran-mice)"
)


def skip_without(package: str) -> None:
    """Skip the test that calls this where R lacks the package."""
    code = f'quit(status = !requireNamespace("{package}", quietly = TRUE))'
    found = subprocess.run([str(RSCRIPT), "-e", code], capture_output=True, check=False, timeout=60).returncode == 0
    if not found:
        pytest.skip(f"R has no {package} (apt: r-cran-{package.lower()})")


PRELUDE = """
args <- commandArgs(trailingOnly = TRUE); folder <- args[1]; rows <- list()
frame <- function(name) read.csv(file.path(folder, paste0(name, ".csv")))
say <- function(name, values) rows[[length(rows) + 1]] <<- sprintf("%s,%d,%.17g", name, seq_along(values), as.numeric(values))
"""
CODA = """
writeLines(c("name,index,value", unlist(rows)), file.path(folder, "answers.csv"))
"""


def ask_r(folder: Path, script: str, **frames: pd.DataFrame) -> dict[str, np.ndarray]:
    """Run `script` (which calls `frame(name)` and `say(name, numbers)`) and return what it said, by name."""
    for name, table in frames.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.17g")
    source = folder / "script.R"
    source.write_text(PRELUDE + script + CODA, encoding="utf-8")
    done = subprocess.run(
        [str(RSCRIPT), "--vanilla", str(source), str(folder)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = pd.read_csv(folder / "answers.csv", float_precision="round_trip")
    return {str(name): group.sort_values("index")["value"].to_numpy() for name, group in answers.groupby("name")}
