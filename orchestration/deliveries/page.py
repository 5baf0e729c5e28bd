"""The verdict of a dry run as one HTML page that can be mailed: nothing in it but counts, codes and row numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import expected_in, messages
from orchestration.pages import rendered

if TYPE_CHECKING:
    from orchestration.deliveries.ingest import Receipt

TEMPLATES = Path(__file__).parent / "templates"
_WORDS = {
    "nl": {
        "title": "Controle van levering {delivery} van {organisation}, periode {period}",
        "accepted": "Deze levering zou worden aanvaard.",
        "duplicate": "Deze levering bevat hetzelfde als een eerdere levering voor deze periode; er zou niets veranderen.",
        "rejected": "Deze levering zou worden geweigerd.",
        "findings": "Bevindingen",
        "where": "Waar",
        "what": "Wat, en wat te doen",
        "count": "Hoe vaak",
        "of": "van",
        "first_rows": "eerste rijnummers",
        "expected": "verwacht",
        "waived": "Aanvaard, al voldoet het niet (door wie; tot en met; waarom)",
        "warnings": "Opvallend (houdt de levering niet tegen)",
        "corrected": "Hier gecorrigeerd (door wie; tot en met; waarom; aan wie gemeld)",
        "rows": "Gelezen rijen",
        "changes": "Wat er zou veranderen",
        "clients_gained": "cliënten erbij",
        "clients_lost": "cliënten eraf",
        "events_gained": "gebeurtenissen erbij",
        "events_lost": "gebeurtenissen eraf",
        "is_new_version": "nieuwe versie van de gegevens",
        "would_refit": "modellen opnieuw geschat",
        "not_applied": "Niet toegepaste regels",
        "not_applied_why": "Deze regels vergelijken met wat eerder is aanvaard. Dat is hier niet bekend; het platform past ze toe.",
        "dry_run": "Dit was een proef: er is niets verstuurd of verwerkt.",
        "counts_only": "Deze pagina bevat alleen aantallen, codes en rijnummers.",
    },
    "en": {
        "title": "Dry run of delivery {delivery} of {organisation}, period {period}",
        "accepted": "This delivery would be accepted.",
        "duplicate": "This delivery holds the same as an earlier one for this period; nothing would change.",
        "rejected": "This delivery would be rejected.",
        "findings": "Findings",
        "where": "Where",
        "what": "What, and what to do",
        "count": "How many",
        "of": "of",
        "first_rows": "first row numbers",
        "expected": "expected",
        "waived": "Accepted although it fails (by whom; until; why)",
        "warnings": "Noticed (does not keep the delivery out)",
        "corrected": "Corrected here (by whom; until; why; reported to)",
        "rows": "Rows read",
        "changes": "What would change",
        "clients_gained": "clients gained",
        "clients_lost": "clients lost",
        "events_gained": "events gained",
        "events_lost": "events lost",
        "is_new_version": "a new version of the data",
        "would_refit": "models refitted",
        "not_applied": "Rules not applied",
        "not_applied_why": "These rules compare with what was accepted before. That is not known here; the platform applies them.",
        "dry_run": "This was a dry run: nothing was sent or taken in.",
        "counts_only": "This page holds counts, codes and row numbers only.",
    },
}


def page(
    receipt: Receipt,
    organisation: Organisation,
    language: str,
    not_applied: tuple[str, ...] = (),
    changes: Mapping[str, int] | None = None,
) -> str:
    """The page in Dutch (`nl`) or English (`en`); `changes` are the counts of `warehouse.preview`."""
    words = _WORDS[language]
    return rendered(
        TEMPLATES / "verdict.html.j2",
        language=language,
        title=words["title"].format(
            delivery=receipt.delivery_id, organisation=organisation.title[language], period=receipt.period
        ),
        receipt=receipt,
        words=words,
        texts={rule: text[language] for rule, text in messages().items()},
        expected=lambda text: expected_in(text, language),
        not_applied=not_applied,
        changes=changes or {},
    )


def closing_words(rules: tuple[str, ...], language: str) -> str:
    """What the text of a dry run ends with: the rules that could not be applied, and that nothing was taken in."""
    words, texts = _WORDS[language], messages()
    lines = [f"{words['not_applied']}: {words['not_applied_why']}"] if rules else []
    return "\n".join([*lines, *(f"  [{rule}] {texts[rule][language]['what']}" for rule in rules), words["dry_run"]])
