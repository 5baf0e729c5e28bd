"""The letter that a partner gets for a delivery: the verdict, and for each finding what, where, how many and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Judgement, expected_in, messages

if TYPE_CHECKING:
    from orchestration.deliveries.ingest import Receipt

_WORDS = {
    "nl": {
        "title": "Ontvangstbericht levering {delivery} van {organisation}, periode {period}",
        "received": "De levering is ontvangen en wordt beoordeeld.",
        "accepted": "De levering is aanvaard.",
        "duplicate": "De levering bevat hetzelfde als een eerdere levering voor deze periode; er verandert niets.",
        "rejected": "De levering is geweigerd. Er is niets van verwerkt; de gepubliceerde gegevens zijn niet veranderd.",
        "rows": "Gelezen rijen",
        "findings": "Bevindingen",
        "where": "waar",
        "count": "hoe vaak",
        "of": "van",
        "first_rows": "eerste rijnummers",
        "expected": "verwacht",
        "do": "wat te doen",
        "waived": "Aanvaard, al voldoet het niet (door wie; tot en met; waarom)",
        "warnings": "Opvallend (houdt de levering niet tegen)",
        "corrected": "Hier gecorrigeerd (door wie; tot en met; waarom; aan wie gemeld)",
        "contact": "Vragen? Neem contact op met de gegevensbeheerder van het onderzoek en noem deze levering.",
    },
    "en": {
        "title": "Receipt for delivery {delivery} of {organisation}, period {period}",
        "received": "The delivery has been received and is being judged.",
        "accepted": "The delivery is accepted.",
        "duplicate": "The delivery holds the same as an earlier one for this period; nothing changes.",
        "rejected": "The delivery is rejected. Nothing of it was processed; the published data have not changed.",
        "rows": "Rows read",
        "findings": "Findings",
        "where": "where",
        "count": "how many",
        "of": "of",
        "first_rows": "first row numbers",
        "expected": "expected",
        "do": "what to do",
        "waived": "Accepted although it fails (by whom; until; why)",
        "warnings": "Noticed (does not keep the delivery out)",
        "corrected": "Corrected here (by whom; until; why; reported to)",
        "contact": "Questions? Contact the data steward of the study and name this delivery.",
    },
}


def finding(judgement: Judgement, language: str) -> str:
    """One finding in words: what, where, how many, expected, what to do. Counts, codes and row numbers only."""
    words, text = _WORDS[language], messages()[judgement.rule][language]
    where = ", ".join(part for part in (judgement.place, judgement.table, judgement.column) if part)
    lines = [f"[{judgement.rule}] {text['what']}"]
    if where:
        lines.append(f"  {words['where']}: {where}")
    if judgement.failed:
        total = f" {words['of']} {judgement.evaluated}" if judgement.evaluated else ""
        lines.append(f"  {words['count']}: {judgement.failed}{total}")
    if judgement.rows:
        lines.append(f"  {words['first_rows']}: {', '.join(map(str, judgement.rows))}")
    if judgement.expected:
        lines.append(f"  {words['expected']}: {expected_in(judgement.expected, language)}")
    lines.append(f"  {words['do']}: {text['do']}")
    return "\n".join(lines)


def letter(receipt: Receipt, organisation: Organisation, language: str) -> str:
    """The whole letter as plain text, Dutch (`nl`) or English (`en`)."""
    words = _WORDS[language]
    title = words["title"].format(
        delivery=receipt.delivery_id, organisation=organisation.title[language], period=receipt.period
    )
    lines = [title, "=" * len(title), "", words[receipt.status], ""]
    if receipt.row_counts:
        lines += [f"{words['rows']}:", *(f"  {name}: {rows}" for name, rows in receipt.row_counts.items()), ""]
    if receipt.reasons:
        lines += [f"{words['findings']}:", "", *(finding(judgement, language) + "\n" for judgement in receipt.reasons)]
    if receipt.warnings:
        lines += [f"{words['warnings']}:", "", *(finding(judgement, language) + "\n" for judgement in receipt.warnings)]
    if receipt.waived:
        lines += [f"{words['waived']}:", ""]
        lines += [f"{finding(judgement, language)}\n  {judgement.waived}\n" for judgement in receipt.waived]
    if receipt.corrected:
        lines += [f"{words['corrected']}:", ""]
        lines += [
            f"{finding(judgement, language)}\n  {judgement.note}".rstrip() + "\n" for judgement in receipt.corrected
        ]
    return "\n".join([*lines, words["contact"], ""])
