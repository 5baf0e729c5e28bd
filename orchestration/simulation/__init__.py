"""A cohort whose true effects are known, written the way each partner would deliver it.

Read `config` (what is true), then `cohort` (who, and what happened), then `delivery` (how it arrives) and `consents`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestration.deliveries.contracts import spoken_today
from orchestration.simulation.cohort import SEEDS, Cohort, describe_truth, simulate_cohort
from orchestration.simulation.config import DEFAULT, CohortConfig
from orchestration.simulation.consents import write_consents
from orchestration.simulation.delivery import EXPECTATIONS, Periods, write_deliveries
from orchestration.simulation.north_carolina import write_north_carolina

__all__ = [
    "Cohort",
    "CohortConfig",
    "describe_truth",
    "simulate",
    "simulate_cohort",
    "write_deliveries",
    "write_north_carolina",
]


def simulate(
    out: Path,
    clients: int = 200,
    seed: int = 20260101,
    form: str | None = None,
    periods: Periods = "all",
    config: CohortConfig = DEFAULT,
    expectations: Path = EXPECTATIONS,
    seeds: Path = SEEDS,
) -> dict[str, Any]:
    """Write the deliveries of every organisation, `consents.csv` and `truth.json` below `out`; returns what `truth.json` says.

    Raises FileExistsError when `out` holds deliveries already.
    """
    contracts = spoken_today(expectations)
    cohort = simulate_cohort(clients, seed, config, seeds)
    out.mkdir(parents=True, exist_ok=True)
    deliveries = [*write_deliveries(cohort, out, contracts, form, periods), write_north_carolina(out, contracts)]
    write_consents(cohort, out)
    truth = {**describe_truth(cohort), "deliveries": len(deliveries)}
    (out / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth
