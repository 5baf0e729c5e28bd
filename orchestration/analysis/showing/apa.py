"""Tables as a manuscript wants them (APA 7): Table 1, the determinants of change, the Cox models; on the page and as `.docx`.

The same small-cell rules hold: every cell comes from what the page shows, or asks the same functions whether it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestration.analysis.showing.change import PATTERNS, as_imputed, odds_cell, sizes_of_pairs
from orchestration.analysis.showing.hazards import may_show_model, own_rows, single_score
from orchestration.analysis.showing.labels import RULE_LABELS, SCALE_LABELS, adjustment_name, scale_name
from orchestration.analysis.showing.people import baseline_table
from orchestration.analysis.showing.source import (
    Record,
    Source,
    Table,
    is_missing,
    p_text,
    ratio_interval,
    records,
    sizes_of,
)
from orchestration.analysis.specification import Specification
from orchestration.files import write_atomically

if TYPE_CHECKING:
    from docx.document import Document

DASH = "—"


def apa_tables(
    tables: Mapping[str, pd.DataFrame], spec: Specification, outcomes: Mapping[str, str], source: Source
) -> list[Table]:
    """The tables, numbered as they follow each other; the first is Table 1 of each outcome."""
    estimates = tables["estimates"]
    found = [
        *(baseline_table(tables["baseline"], outcome, label, estimates, spec, outcomes, source) for outcome, label in outcomes.items()),
        determinants(tables["determinants"], spec, source),
        *(scales(estimates, spec, outcome, label, source) for outcome, label in outcomes.items()),
        *(terms(estimates, spec, outcome, label, source) for outcome, label in outcomes.items()),
    ]  # fmt: skip
    return [Table(f"Table {number}. {one.caption}", one.headers, one.rows, one.stated, one.is_simulated, one.note, one.flags) for number, one in enumerate(found, start=1)]  # fmt: skip


def determinants(rows: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """Q2: odds ratio, interval and p by predictor, a block for each scale."""
    rater, rule = spec.determinants.rater, spec.determinants.rules[0]
    part = as_imputed(rows, rater, rule)
    lines = []
    for scale in [name for name in SCALE_LABELS if name in set(part["scale"])]:
        own = {pattern: {row["term"]: row for row in records(part[(part["scale"] == scale) & (part["pattern"] == pattern)])} for pattern in PATTERNS}  # fmt: skip
        first = next((row for model in own.values() for row in model.values()), None)
        counted = ", ".join(f"{pattern} {source.about(int(next(iter(model.values()))['class_count']))}" for pattern, model in own.items() if model)  # fmt: skip
        lines.append([f"{scale_name(scale)} (n about {source.about(int(first['n'])) if first else source.less()}: {counted})", *[""] * 6])  # fmt: skip
        for predictor in spec.determinants.predictors:
            lines.append([predictor.label, *(cell for pattern in PATTERNS for cell in _ratio_cells(own[pattern].get(predictor.name), source))])  # fmt: skip
    heads = [f"{pattern}: {what}" for pattern in PATTERNS for what in ("OR", "95 % CI", "p")]
    return source.table(
        f"Multinomial regression of change in the alliance, {spec.determinants.span}, rated by the {rater}",
        ["Predictor", *heads], lines, sizes_of_pairs(part, source),
        f"OR = odds ratio against stable; CI = confidence interval. Patterns by {RULE_LABELS.get(rule, rule)}; errors clustered by officer; "
        f"multiple imputation. Sizes to the nearest 5. {DASH}: not estimated, or fewer than {source.threshold} clients.",
    )  # fmt: skip


def scales(estimates: pd.DataFrame, spec: Specification, outcome: str, label: str, source: Source) -> Table:
    """Q3: the hazard ratio of each scale in each adjustment."""
    own = own_rows(estimates[estimates["outcome_id"] == outcome], spec.recidivism.rater)
    adjustments = list(spec.recidivism.adjustments)
    rows = []
    for scale in [name for name in SCALE_LABELS if name in set(own["scale"])]:
        cells = []
        for adjustment in adjustments:
            found = records(own[(own["scale"] == scale) & (own["adjustment"] == adjustment)])
            cells += _hazard_cells(found[0] if found else None, estimates, source)
        rows.append([scale_name(scale), *cells])
    heads = [f"{adjustment_name(name)}: {what}" for name in adjustments for what in ("HR [95 % CI]", "p")]
    return source.table(
        f"Cox models of recidivism, {label.lower()}: one scale in each model, rated by the {spec.recidivism.rater}",
        ["Scale", *heads], rows, sizes_of(own, {outcome: label}, source), _cox_note(spec, source),
    )  # fmt: skip


def terms(estimates: pd.DataFrame, spec: Specification, outcome: str, label: str, source: Source) -> Table:
    """Q3: every term of the models of the grouped scale, a column for each adjustment."""
    scale, rater = spec.recidivism.grouped_scale, spec.recidivism.rater
    by_adjustment = {
        name: {row["term"]: row for row in records(single_score(estimates[estimates["outcome_id"] == outcome], rater, scale, name))}
        for name in spec.recidivism.adjustments
    }  # fmt: skip
    order = list(dict.fromkeys(term for model in by_adjustment.values() for term in model))
    rows = [[SCALE_LABELS.get(term, spec.label(term)), *(cell for model in by_adjustment.values() for cell in _hazard_cells(model.get(term), estimates, source, "")) ] for term in order]  # fmt: skip
    rows.append(
        ["Events for each parameter", *(cell for model in by_adjustment.values() for cell in _events_cells(model))]
    )
    part = estimates[
        (estimates["outcome_id"] == outcome) & (estimates["scale"] == scale) & (estimates["rater"] == rater)
    ]
    heads = [f"{adjustment_name(name)}: {what}" for name in by_adjustment for what in ("HR [95 % CI]", "p")]
    return source.table(
        f"Cox models of recidivism, {label.lower()}: every term of the models of {scale_name(scale)}, rated by the {rater}",
        ["Term", *heads], rows, sizes_of(part, {outcome: label}, source), _cox_note(spec, source),
    )  # fmt: skip


def _ratio_cells(row: Record | None, source: Source) -> list[str]:
    if row is None or odds_cell(row, source) == "–":
        return [DASH, "", ""]
    return [f"{np.exp(row['estimate']):.2f}", f"[{ratio_interval(row)}]", p_text(row["p_value"])]


def _hazard_cells(row: Record | None, estimates: pd.DataFrame, source: Source, absent: str = DASH) -> list[str]:
    if row is None:
        return [absent, ""]
    if not may_show_model(row, estimates, source):
        return [DASH, ""]
    return [f"{np.exp(row['estimate']):.2f} [{ratio_interval(row)}]", p_text(row["p_value"])]


def _events_cells(model: Mapping[str, Record]) -> list[str]:
    per = [row["events_per_parameter"] for row in model.values()]
    return [f"{per[0]:.1f}" if per and not is_missing(per[0]) and per[0] * len(per) >= 10 else DASH, ""]


def _cox_note(spec: Specification, source: Source) -> str:
    return (
        f"HR = hazard ratio for one point more, or as the term says; CI = confidence interval. {spec.recidivism.ties.capitalize()}'s treatment of ties, "
        f"errors clustered by officer, multiple imputation; Firth's penalty below {spec.recidivism.min_events_per_parameter:g} events for each parameter. "
        f"{DASH}: not estimated, refused since hazards are not proportional, or too few events."
    )


def write_docx(tables: list[Table], source: Source, out: Path) -> Path:
    """The tables as a Word document: horizontal rules only, number in bold, title in italics, a note below; the same bytes each time.

    Where the cohort is simulated the head of every page says so.
    """
    import docx
    from docx.shared import Pt

    document = docx.Document()
    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = "Times New Roman", Pt(10)
    about = document.core_properties
    about.author, about.title, about.comments = "delictvrij", f"Tables of fit {source.fit_id}", ""
    if source.is_simulated:
        document.sections[0].header.paragraphs[0].text = "SIMULATED: the cohort of these tables does not exist"
    _turn(document)
    for table in tables:
        _add(document, table)
    write_atomically(out, _same_bytes(document))
    return out


def _turn(document: Document) -> None:
    from docx.enum.section import WD_ORIENT

    page = document.sections[0]
    page.orientation = WD_ORIENT.LANDSCAPE
    page.page_width, page.page_height = page.page_height, page.page_width


def _add(document: Document, table: Table) -> None:
    from docx.shared import Pt

    number, _, title = table.caption.partition(". ")
    heading = document.add_paragraph()
    heading.paragraph_format.keep_with_next = True
    heading.add_run(number).bold = True
    named = document.add_paragraph()
    named.paragraph_format.keep_with_next = True
    named.add_run(title).italic = True
    grid = document.add_table(rows=1 + len(table.rows), cols=len(table.headers))
    for place, row in enumerate((table.headers, *table.rows)):
        for cell, text in zip(grid.rows[place].cells, row, strict=True):
            cell.text = text
            for paragraph in cell.paragraphs:
                paragraph.paragraph_format.space_after = Pt(0)
                for run in paragraph.runs:
                    run.font.size = Pt(8)
    _repeat(grid.rows[0])
    for place, edges in ((0, ("top", "bottom")), (len(table.rows), ("bottom",))):
        for cell in grid.rows[place].cells:
            _rule(cell, edges)
    note = document.add_paragraph()
    note.add_run("Note. ").italic = True
    note.add_run(f"{table.note} {table.stated}.").font.size = Pt(8)


def _rule(cell: Any, edges: tuple[str, ...]) -> None:
    """A line above or below a cell; python-docx has no call for one."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    borders = OxmlElement("w:tcBorders")
    for edge in edges:
        line = OxmlElement(f"w:{edge}")
        for name, value in (("val", "single"), ("sz", "6"), ("space", "0"), ("color", "000000")):
            line.set(qn(f"w:{name}"), value)
        borders.append(line)
    cell._tc.get_or_add_tcPr().append(borders)


def _repeat(row: Any) -> None:
    """The row stands at the head of every page that the table goes on to."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    head = OxmlElement("w:tblHeader")
    head.set(qn("w:val"), "true")
    row._tr.get_or_add_trPr().append(head)


def _same_bytes(document: Document) -> bytes:
    """The document's archive with no time of writing in it."""
    import io
    import zipfile

    written, made = io.BytesIO(), io.BytesIO()
    document.save(written)
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as fixed:
        for name in archive.namelist():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            fixed.writestr(entry, archive.read(name))
    return made.getvalue()
