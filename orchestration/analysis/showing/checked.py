"""Why to believe it: published numbers found again, known effects found again beside wrong methods, a second engine, what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.benchmark import read_published
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.source import Picture, Record, Source, Table, records, without_small_counts

ROLES = {"right": "the method of this page", "shown": "the full model", "mutant": "broken on purpose", "naive": "naive"}


def benchmark_sizes() -> str:
    """n and events as published; a cohort that anybody can have hides nothing."""
    published = read_published()
    return f"REAL DATA · n = {published['n']}, {published['events']} events"


def benchmark_picture(rows: pd.DataFrame, source: Source) -> Picture | None:
    """Needs, for each term, its published ratio and interval; drawn from the table's rows."""
    lines = []
    by_name = {row["name"]: float(row["computed"]) for row in records(rows)}
    for term, printed in read_published()["hazard_ratios"].items():
        if f"hazard ratio of {term}" not in by_name:
            return None
        lines.append(
            {"term": term, "published_low": float(printed[1]), "published_high": float(printed[2]),
             "ratio": by_name[f"hazard ratio of {term}"], "low": by_name[f"hazard ratio of {term}, low"],
             "high": by_name[f"hazard ratio of {term}, high"]}
        )  # fmt: skip
    sizes = benchmark_sizes()
    return source.picture(
        figures.benchmark(pd.DataFrame(lines), source.stamp(sizes)),
        "Hazard ratios with 95 % intervals of five terms as computed here, drawn over the published intervals; they coincide.",
        "North Carolina prison releases, real data: what we compute (green) over what was published (grey).",
        sizes,
    )


def benchmark_table(rows: pd.DataFrame, source: Source) -> Table:
    """Every published number beside ours."""
    return source.table(
        "Every published number beside ours, rounded to the digits that were printed",
        ["Number", "published", "computed here", "agrees"],
        [[row["name"], row["published"], row["rounded"], "yes" if row["agrees"] else "NO"] for row in records(rows)],
        benchmark_sizes(),
        flags=["" if row["agrees"] else "bad" for row in records(rows)],
    )


def recovery_sizes(badge: Mapping[str, Any]) -> str:
    """How many studies; their people are simulated, one study like another."""
    return f"n = {badge['studies']:,} simulated studies; events by study differ"


def recovery_tables(badge: Mapping[str, Any], source: Source) -> list[Table]:
    """What `make recovery` found: the right method beside the mutants and naive methods, and every promise. A badge of before these were
    written has the right method alone; without a badge there is nothing."""
    if "studies" not in badge:
        return []
    effects = badge.get("effects") or [
        {"name": name, "role": "right", "bias": badge["bias"][name], "coverage": badge["coverage"][name], "se_ratio": badge["se_ratio"][name]}
        for name in badge["coverage"]
    ]  # fmt: skip
    rows = [_effect_row(effect) for role in ROLES for effect in effects if effect["role"] == role]
    tables = [
        source.table(
            "Known effects, looked for in simulated studies (log hazard ratios)",
            ["Effect", "method", "truth", "found", "bias", "coverage of 95 %", "error / spread", "width"], rows, recovery_sizes(badge),
            "The right method must have no bias, cover the truth 95 times in 100, and give errors as large as the spread of the estimates; "
            "a method broken on purpose, or a naive one, must fail somewhere, or the simulation proves nothing.",
        )
    ]  # fmt: skip
    if badge.get("bars"):
        bars = [[bar["name"], bar["found"], bar["asked"], "yes" if bar["is_met"] else "NO"] for bar in badge["bars"]]
        flags = ["" if bar["is_met"] else "bad" for bar in badge["bars"]]
        tables.append(source.table("What was promised of it, and found", ["Promise", "found", "asked", "met"], bars, recovery_sizes(badge), flags=flags))  # fmt: skip
    return tables


def _effect_row(effect: Record) -> list[str]:
    def number(name: str, form: str) -> str:
        return format(effect[name], form) if name in effect else "–"

    return [
        str(effect["name"]), ROLES[effect["role"]], number("truth", ".2f"), number("mean", ".2f"), number("bias", "+.3f"), number("coverage", ".3f"),
        number("se_ratio", ".2f"), number("width", ".2f"),
    ]  # fmt: skip


def refusals(estimates: pd.DataFrame, agreement_rows: pd.DataFrame, threshold: int) -> list[str]:
    """What could not be estimated, and why, once per model."""
    parts = [part[["model_id", "note"]].dropna(subset="note") for part in (estimates, agreement_rows)]
    noted = pd.concat([part for part in parts if len(part)] or parts[:1]).drop_duplicates()
    return [f"{row['model_id']}: {without_small_counts(str(row['note']), threshold)}" for row in records(noted)]


def agreement(rows: pd.DataFrame) -> dict[str, str]:
    """How the second engine compared, in words."""
    compared = rows[rows["largest_coefficient_difference"].notna()]
    largest = compared[["largest_coefficient_difference", "largest_error_difference"]].to_numpy(dtype=float)
    return {
        "models": str(len(compared)),
        "largest": f"{np.max(largest):.1e}" if len(compared) else "–",
        "verdict": "agree" if bool(rows["agrees"].astype("boolean").fillna(True).all()) else "DO NOT AGREE",
    }
