"""The codebook as a PDF to print, of the same catalogue as the page. Its text lies in it uncompressed and in a standard font, so that
whoever judges what leaves can read all of it; the same codebook gives the same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from orchestration.releases.catalogue import Catalogue, TableDescription, Variable
from orchestration.releases.metadata import About
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from fpdf import FPDF

FONT, LINE_MM = "Helvetica", 4.2
CHARACTERS = "cp1252"  # those of the standard fonts, which hold Dutch and English


class CannotBePrinted(Mendable):
    """The codebook has characters that the standard fonts of a PDF lack; says how many."""


def codebook_pdf(about: About, catalogue: Catalogue) -> bytes:
    """Every table, and every column with labels in both languages, type, unit, codes and what it is of a person. Raises CannotBePrinted."""
    pdf = _document(about)
    pdf.add_page()
    _write(pdf, f"Codebook of {about.tag}", 18, bold=True)
    if about.warning:
        _write(pdf, about.warning, 11, bold=True)
    said = f"Version {about.version_id}, fit {about.fit_id}, registry up to {about.registry_cutoff_on}."
    _write(pdf, f"{about.title}. {said}", 10)
    for table in about.tables:
        _table(pdf, table, about.rows[table.name], catalogue)
    _write(pdf, "Instrument", 14, bold=True, above=4)
    for item in catalogue.instrument:
        turned = ", reversed" if item.is_reversed else ""
        _write(pdf, f"version {item.version}, {item.rater}, {item.scale}: {item.item}, {item.lowest} to {item.highest}{turned}", 8)  # fmt: skip
    return bytes(pdf.output())


def _document(about: About) -> FPDF:
    from fpdf import FPDF

    class Document(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font(FONT, size=8)
            mark = f"{about.mark}. " if about.mark else ""
            self.cell(text=_printable(f"{mark}Codebook of {about.tag}, page {self.page_no()}"))

    pdf = Document(format="A4")
    pdf.set_compression(False)
    pdf.set_creation_date(datetime.combine(about.released_on, time(), UTC))
    pdf.set_title(_printable(f"Codebook {about.tag}: {about.title}"))
    pdf.set_author(_printable(", ".join(about.study.creators)))
    pdf.set_lang("en")
    pdf.set_auto_page_break(True, margin=16)
    return pdf


def _write(pdf: FPDF, text: str, size: float, *, bold: bool = False, above: float = 0) -> None:
    pdf.set_font(FONT, style="B" if bold else "", size=size)
    if above:
        pdf.ln(above)
    text = _printable(text)
    height, lines = max(LINE_MM, size * 0.45), _lines(pdf, text)
    if lines is None:
        pdf.multi_cell(0, height, text, new_x="LMARGIN", new_y="NEXT", align="L")
        return
    for line in lines:
        pdf.cell(0, height, line, new_x="LMARGIN", new_y="NEXT")


def _lines(pdf: FPDF, text: str) -> list[str] | None:
    """A text in the lines in which `multi_cell` would set it, which measures a line anew at each of its letters: most of what a codebook
    took. None where a word is longer than a line, or a line ends by itself.
    """
    room, space = pdf.epw - 2 * pdf.c_margin, pdf.get_string_width(" ")
    words = text.split(" ")
    widths = [pdf.get_string_width(word) for word in words]
    if "\n" in text or max(widths) > room:
        return None
    lines, taken = [words[0]], widths[0]
    for word, width in zip(words[1:], widths[1:], strict=True):
        if taken + space + width > room:
            lines.append(word)
            taken = width
        else:
            lines[-1] += f" {word}"
            taken += space + width
    return lines


def _table(pdf: FPDF, table: TableDescription, rows: int, catalogue: Catalogue) -> None:
    pdf.start_section(table.name)
    _write(pdf, table.name, 14, bold=True, above=4)
    _write(pdf, f"{table.description['en']} {table.description['nl']}", 9)
    _write(pdf, f"{rows} rows, {len(table.variables)} columns; a row is named by {', '.join(table.key)}.", 9)
    for one in table.variables:
        _column(pdf, one, catalogue)


def _column(pdf: FPDF, one: Variable, catalogue: Catalogue) -> None:
    policy = catalogue.policy
    unit = f", in {one.unit}" if one.unit else ""
    _write(pdf, f"{one.name} ({one.type}, {one.measure}{unit})", 9, bold=True, above=1.2)
    _write(pdf, f"{one.label['nl']} / {one.label['en']}. {one.description}", 8)
    codes = [f"{value} {label['nl']} / {label['en']}" for value, label in one.values.items()]
    codes += [f"{reason.code} missing: {reason.label['nl']} / {reason.label['en']}" for reason in one.missing]
    if codes:
        _write(pdf, "; ".join(codes), 8)
    of_person = policy.classes[one.personal]["en"]
    _write(pdf, f"{of_person}. {policy.purposes[one.purpose]['en']}; kept: {policy.retention[one.purpose]['en']}.", 7)


def _printable(text: str) -> str:
    try:
        text.encode(CHARACTERS)
    except UnicodeEncodeError as error:
        raise CannotBePrinted(
            f"the codebook has a text with {error.end - error.start} character(s) that a standard font of a PDF lacks; "
            "write the label or description without"
        ) from None
    return text
