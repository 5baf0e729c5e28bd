"""Model cards and reporting checklists of a release: those of its fit for the zone, and those of what was judged for what leaves. What a
card says is in `analysis/showing`; here is what it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification

CARDS_DATA = "model-cards.json"
NEEDED: Mapping[str, tuple[str, ...]] = {  # what cards and checklists read of a fit, with the columns of a table that did not leave
    "estimates": (
        "model_id", "outcome_id", "rater", "scale", "exposure", "adjustment", "term", "n", "events", "clusters", "method", "note",
        "estimate", "conf_low", "conf_high", "p_value", "fraction_missing", "events_per_parameter",
    ),
    "outcome_definition": ("outcome_id",),
    "performance": ("model_id", "outcome_id", "rater", "scale", "measure", "months", "apparent", "corrected", "events"),
    "proportional_hazards": ("model_id", "term", "p_value"),
    "engine_agreement": ("model_id", "agrees", "note"),
    "e_values": ("model_id", "e_value", "e_value_limit"),
    "reliability": ("rater", "scale", "is_low"),
    "absolute_risk": ("outcome_id",),
    "cohort_flow": ("step", "step_name"),
    "imputation_diagnostics": ("rhat_mean",),
    "baseline": ("outcome_id",),
}  # fmt: skip
ROUNDED = "; numbers of people and events to the nearest 5"
NOT_A_STEP = ("through", "analysed", "total")


def zone_pages(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    version: Mapping[str, Any],
    spec: Specification,
    small_cell: int,
) -> dict[str, bytes]:
    """Model cards (page and data) and checklists of a whole fit, by name; none of a fit that lacks a table that they read."""
    return {} if set(NEEDED) - set(tables) else _pages(tables, manifest, version, spec, small_cell, "")


def public_pages(
    judged: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    version: Mapping[str, Any],
    definitions: pd.DataFrame,
    spec: Specification,
    small_cell: int,
) -> dict[str, bytes]:
    """The same of what may leave: `judged` are `disclosure.Judged.frames`, and no other number of a person is read.

    `definitions`: the outcome definitions as the code has them. A model that did not leave has no card.
    """
    return _pages(judged_tables(judged, definitions), manifest, version, spec, small_cell, ROUNDED)


def judged_tables(judged: Mapping[str, pd.DataFrame], definitions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Judged frames in the form that cards and checklists read a fit in: what did not leave is empty, and events for each term are
    counted again from the rounded events."""
    tables = {
        name: judged[name].reindex(columns=[*judged[name].columns, *(one for one in columns if one not in judged[name])])
        if name in judged
        else pd.DataFrame(columns=list(columns))
        for name, columns in NEEDED.items()
    }  # fmt: skip
    estimates = tables["estimates"]
    terms = estimates.groupby("model_id")["term"].transform("size")
    tables["estimates"] = estimates.assign(events_per_parameter=pd.to_numeric(estimates["events"]) / terms)
    modelled = definitions["outcome_id"].isin(estimates["outcome_id"])
    tables["outcome_definition"] = definitions[modelled].reset_index(drop=True)
    tables["cohort_flow"] = _steps(judged.get("cohort_flow"))
    return tables


def _steps(flow: pd.DataFrame | None) -> pd.DataFrame:
    """The names of the steps in order, from the count tables that left; no count is taken."""
    classes = [] if flow is None else [str(name) for name in dict.fromkeys(flow["class"])]
    names = [name for name in classes if name not in NOT_A_STEP and not name.startswith("after ")]
    return pd.DataFrame({"step": range(1, len(names) + 1), "step_name": names})


def _pages(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    version: Mapping[str, Any],
    spec: Specification,
    small_cell: int,
    said: str,
) -> dict[str, bytes]:
    from orchestration.analysis.fit import recovery_badge
    from orchestration.analysis.showing.cards import cards
    from orchestration.analysis.showing.pages import cards_and_checklists
    from orchestration.analysis.showing.report import outcome_labels, source_of

    source = source_of(manifest, version, str(manifest["fit_id"]), small_cell)
    texts = cards_and_checklists(tables, manifest, spec, source, said=said)
    made = cards(tables, manifest, spec, outcome_labels(tables["absolute_risk"]), recovery_badge(), source)
    data = {"simulated": source.is_simulated, "counts": said.removeprefix("; "), "cards": [asdict(one) for one in made]}
    texts[CARDS_DATA] = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    return {name: text.encode("utf-8") for name, text in texts.items()}
