"""Everything that people get to see of a fit, in one folder: the report, and beside it model cards, checklists and tables for a manuscript."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.analysis.fit import read_fit, recovery_badge
from orchestration.analysis.showing.apa import apa_tables, write_docx
from orchestration.analysis.showing.cards import cards
from orchestration.analysis.showing.checklists import checklist_table, read_checklists
from orchestration.analysis.showing.facts import facts
from orchestration.analysis.showing.report import TEMPLATES, outcome_labels, render_report, source_of
from orchestration.analysis.showing.source import Source, sizes_of
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import write_atomically
from orchestration.pages import rendered

if TYPE_CHECKING:
    import pandas as pd

CARDS, CHECKLISTS, TABLES = "model-cards.html", "checklists.html", "report-tables.docx"
BESIDE = {CARDS: "Model cards", CHECKLISTS: "TRIPOD+AI and STROBE", TABLES: "Tables for a manuscript"}


def cards_and_checklists(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    spec: Specification,
    source: Source,
    report: str = "",
    said: str = "",
) -> dict[str, str]:
    """The two pages by name. `report`: the page that they belong to; `said`: what else is to be known of every count."""
    outcomes = outcome_labels(tables["absolute_risk"])
    badge = recovery_badge()
    known = facts(tables, manifest, spec, outcomes, badge, source)
    sizes = sizes_of(tables["estimates"], outcomes, source) + said
    return {
        CARDS: rendered(TEMPLATES / "model-cards.html.j2", source=source, report=report, sizes=sizes, cards=cards(tables, manifest, spec, outcomes, badge, source)),
        CHECKLISTS: rendered(
            TEMPLATES / "checklists.html.j2", source=source, report=report,
            checklists=[checklist_table(checklist, known, sizes, source) for checklist in read_checklists()],
        ),
    }  # fmt: skip


def write_pages(
    fit_dir: Path,
    version_manifest: Mapping[str, Any],
    out: Path,
    small_cell: int = 10,
    spec: Specification | None = None,
) -> list[Path]:
    """Write the report to `out` and the files of `BESIDE` into its folder; returns all of them, the report last.

    The arguments are those of `render_report`.
    """
    tables, manifest = read_fit(fit_dir)
    source = source_of(manifest, version_manifest, fit_dir.name, small_cell)
    spec = spec or read_specification()
    outcomes = outcome_labels(tables["absolute_risk"])
    for name, text in cards_and_checklists(tables, manifest, spec, source, out.name).items():
        write_atomically(out.with_name(name), text.encode("utf-8"))
    write_docx(apa_tables(tables, spec, outcomes, source), source, out.with_name(TABLES))
    render_report(fit_dir, version_manifest, out, small_cell, spec, BESIDE)
    return [*(out.with_name(name) for name in BESIDE), out]
