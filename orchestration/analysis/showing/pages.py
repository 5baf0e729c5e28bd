"""Everything that people get to see of a fit, in one folder: the report, and beside it model cards, checklists and tables for a manuscript."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.analysis.fit import read_fit, recovery_badge
from orchestration.analysis.showing.apa import apa_tables, write_docx
from orchestration.analysis.showing.cards import cards
from orchestration.analysis.showing.checklists import checklist_table, read_checklists
from orchestration.analysis.showing.facts import facts
from orchestration.analysis.showing.report import TEMPLATES, outcome_labels, render_report, source_of
from orchestration.analysis.showing.source import sizes_of
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import write_atomically
from orchestration.pages import rendered

CARDS, CHECKLISTS, TABLES = "model-cards.html", "checklists.html", "report-tables.docx"
BESIDE = {CARDS: "Model cards", CHECKLISTS: "TRIPOD+AI and STROBE", TABLES: "Tables for a manuscript"}


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
    badge = recovery_badge()
    known = facts(tables, manifest, spec, outcomes, badge, source)
    sizes = sizes_of(tables["estimates"], outcomes, source)
    texts = {
        CARDS: rendered(TEMPLATES / "model-cards.html.j2", source=source, report=out.name, sizes=sizes, cards=cards(tables, manifest, spec, outcomes, badge, source)),
        CHECKLISTS: rendered(
            TEMPLATES / "checklists.html.j2", source=source, report=out.name,
            checklists=[checklist_table(checklist, known, sizes, source) for checklist in read_checklists()],
        ),
    }  # fmt: skip
    for name, text in texts.items():
        write_atomically(out.with_name(name), text.encode("utf-8"))
    write_docx(apa_tables(tables, spec, outcomes, source), source, out.with_name(TABLES))
    render_report(fit_dir, version_manifest, out, small_cell, spec, BESIDE)
    return [*(out.with_name(name) for name in BESIDE), out]
