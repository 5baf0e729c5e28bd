"""The scripts that a release brings along, made from its catalogue and fit: what to count, and which model to fit again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.releases.tables import IMPUTED, ReleasedTable

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.analysis.specification import Specification

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("start.R", "start.py", "start.sps", "cox-spss.sps")
OF_MODEL = ("cox-spss.sps",)


@dataclass(frozen=True)
class ReproducedModel:
    """A Cox model of the fit that the scripts fit again: `columns` is term -> column of the imputed table."""

    model_id: str
    table: str
    columns: Mapping[str, str]
    ties: str
    imputations: int
    enters_late: bool


def reproduced_model(estimates: pd.DataFrame, imputed: pd.DataFrame, spec: Specification) -> ReproducedModel | None:
    """The model with most terms among those that every package can fit: no penalty, no term without a number. None without one."""
    from orchestration.analysis.pooled_cox import PARTIAL_LIKELIHOOD
    from orchestration.analysis.recidivism import models

    found: list[ReproducedModel] = []
    for outcome in sorted(set(imputed["outcome_id"])):
        rows = imputed[imputed["outcome_id"] == outcome]
        for model in models(spec):
            fitted = estimates[estimates["model_id"] == model.named(outcome)]
            is_plain = set(fitted["term"]) == set(model.columns) and fitted["estimate"].notna().all()
            if is_plain and (fitted["method"] == PARTIAL_LIKELIHOOD).all() and len(fitted):
                found.append(
                    ReproducedModel(
                        model.named(outcome), f"{IMPUTED}_{outcome}", dict(model.columns), spec.recidivism.ties,
                        int(rows["imputation"].max()), bool((rows["entry_days"] > 0).any()),
                    )
                )  # fmt: skip
    return max(found, key=lambda model: len(model.columns), default=None)


def counted(client: ReleasedTable) -> list[str]:
    """The columns of Table 1: those of a client that have a code list."""
    return [one.name for one in client.described.variables if one.values]


def text_of(template: str, **values: Any) -> str:
    """What a template of this room makes of values, as text: for scripts and Markdown, in which nothing is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - no page of HTML is made here
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
    )  # fmt: skip
    return environment.get_template(f"{template}.j2").render(**values)


def scripts(client: ReleasedTable | None, model: ReproducedModel | None, heading: str) -> dict[str, str]:
    """The scripts by name: Table 1 where there are clients to count, a Cox model where there is one to fit again; none without both."""
    names = counted(client) if client else []
    if not names and model is None:
        return {}
    about = f"{heading} Model {model.model_id}." if model else heading
    return {
        name: text_of(name, counted=names, model=model, heading=about) for name in SCRIPTS if model or name not in OF_MODEL
    }  # fmt: skip
