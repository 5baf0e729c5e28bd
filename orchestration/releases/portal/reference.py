"""Pages about the release itself: what changed, the codebook, a page for each table, quality of the data, citing, downloads, disclosure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis.explanation import KINDS
from orchestration.analysis.showing.source import Table, is_missing, quarter, records
from orchestration.releases.catalogue import TableDescription, Variable
from orchestration.releases.disclosure_counts import said
from orchestration.releases.portal.content import ROLES, Edition
from orchestration.releases.portal.moves import TOGETHER
from orchestration.releases.portal.parts import Block, Link, Links, Page, Part, Quote, Said, Section, Writer
from orchestration.releases.portal.quality import Quality
from orchestration.releases.portal.recidivism import term_name
from orchestration.warehouse.diff import CAUSES, PAST, PROGRESS, Difference


def changes_page(writer: Writer) -> Page:
    """What is new since the release before, and how the estimates moved for it; counts of people and rows in bands."""
    words, difference = writer.words, writer.content.difference
    if difference is None:
        sections = [Section("first", words("changes.first_title"), [Block("", [Said(words("changes.first"))])])]
        return Page("changes", words("changes.title"), words("changes.lead"), [*sections, _editions(writer)])
    sections = [
        Section("tables", words("changes.tables_title"), [Block("", [_changed_tables(writer, difference)])], words("changes.tables_lead")),
        Section("outcomes", words("changes.outcomes_title"), [Block("", [_changed_outcomes(writer, difference), _past_by_quarter(writer, difference), _causes(writer, difference)])], words("changes.outcomes_lead")),
        Section("why", words("changes.why_title"), [Block("", _reasons(writer, difference))], words("changes.why_lead")),
        Section("moves", words("changes.moves_title"), [Block("", _moves(writer))], words("changes.moves_lead")),
        _editions(writer),
    ]  # fmt: skip
    return Page("changes", words("changes.title"), words("changes.lead"), sections)


def _band(writer: Writer, count: int) -> str:
    low, high = said(count, writer.content.rules.threshold)
    return writer.words("stated.from_to", low=writer.words.count(low), high=writer.words.count(high))


def _changed_tables(writer: Writer, difference: Difference) -> Table:
    words = writer.words
    rows = [
        [name, *[_band(writer, count) for count in (one.rows_old, one.rows_new, one.added, one.removed, one.changed)],
         ", ".join([*(f"+ {column}" for column in one.columns_added), *(f"− {column}" for column in one.columns_removed)]) or "–"]
        for name, one in difference.tables.items()
    ]  # fmt: skip
    heads = [
        words(f"changes.{name}") for name in ("table", "rows_old", "rows_new", "added", "removed", "changed", "columns")
    ]
    return writer.table(words("changes.tables_caption"), heads, rows, writer.no_people(), note=words("changes.bands"))


def _changed_outcomes(writer: Writer, difference: Difference) -> Table:
    words = writer.words
    kinds = (*PAST, *PROGRESS)
    rows = [
        [words.name("outcome", outcome), *[_band(writer, difference.outcomes.get(outcome, {}).get(kind, 0)) for kind in kinds]]
        for outcome in _outcomes(writer, difference)
    ]  # fmt: skip
    heads = [words("outcome"), *[words.name("outcome_change", kind) for kind in kinds]]
    return writer.table(
        words("changes.outcomes_caption"), heads, rows, words("stated.bands"), note=words("changes.bands")
    )


def _outcomes(writer: Writer, difference: Difference) -> list[str]:
    """Every outcome that the release knows: which of them changed for nobody is as telling as which changed for few."""
    return list(dict.fromkeys([*writer.outcomes, *difference.outcomes]))


def _past_by_quarter(writer: Writer, difference: Difference) -> Table:
    """Changed outcomes of the past by quarter of start: every quarter in which somebody could enter, and every outcome."""
    words = writer.words
    quarters = writer.content.quarters
    rows = [
        [words.name("outcome", outcome), *[_band(writer, difference.by_quarter.get(outcome, {}).get(one, 0)) for one in quarters]]
        for outcome in _outcomes(writer, difference)
    ]  # fmt: skip
    return writer.table(
        words("changes.by_quarter_caption"), [words("outcome"), *quarters], rows, words("stated.bands"), note=words("changes.by_quarter_note")
    )  # fmt: skip


def _causes(writer: Writer, difference: Difference) -> Table:
    words = writer.words
    rows = [[words.name("cause_of_change", cause), _band(writer, difference.causes.get(cause, 0))] for cause in CAUSES]
    return writer.table(words("changes.causes_caption"), [words("changes.cause"), words("changes.outcomes_number")], rows, words("stated.bands"))  # fmt: skip


def _reasons(writer: Writer, difference: Difference) -> list[Part]:
    words, found = writer.words, []
    reasons = difference.reasons
    for name in ("deliveries_added", "deliveries_removed"):
        if reasons.get(name):
            found.append(words(f"changes.{name}", what=", ".join(reasons[name])))
    if reasons.get("registry_cutoff_on"):
        old, new = (quarter(day) for day in reasons["registry_cutoff_on"])
        found.append(words("changes.cutoff", old=old, new=new))
    found += [
        words("changes.differs", what=words.name("made_of", name))
        for name in ("settings", "known_on")
        if reasons.get(name)
    ]
    found += [words("changes.differs", what=words.name("made_of", name.removesuffix("_changed"))) for name, value in reasons.items() if name.endswith("_changed") and value]  # fmt: skip
    for name, definition in difference.definitions.items():
        columns = ", ".join(words.name("definition", column) for column in definition.get("columns", {}))
        found.append(
            words(f"changes.definition_{definition['change']}", outcome=words.name("outcome", name), columns=columns)
        )
    for name, counts in difference.code_lists.items():
        found.append(words("changes.code_list", name=name, added=counts["added"], removed=counts["removed"]))
    return [Said(one) for one in found] or [Said(words("changes.nothing"))]


def _moves(writer: Writer) -> list[Part]:
    moves, words = writer.content.moves, writer.words
    if moves is None or not len(moves.parts):
        return [Said(words("changes.no_moves"), "absent")]
    parts = moves.parts[moves.parts["term"].isin(writer.content.spec.recidivism.scales)]
    columns = [*KINDS, TOGETHER]
    rows = [
        [f"{words.name('outcome', row['outcome_id'])}: {term_name(writer, row['term'])}, {_adjustment(writer, row['model_id'])}", words.number(float(np.exp(row["estimate_old"]))),
         words.number(float(np.exp(row["estimate_new"]))), words.number(row["move"], 3, "+"),
         *[words("hidden") if is_missing(row[name]) else words.number(row[name], 3, "+") for name in columns],
         words.number(row["chance_std_error"], 3)]
        for row in records(parts)
    ]  # fmt: skip
    heads = [words("recidivism.outcome_model"), *[words(f"changes.{name}") for name in ("ratio_old", "ratio_new", "move")], *[words.name("kind_of_change", name) for name in columns], words("changes.chance")]  # fmt: skip
    sizes = words("stated.bands")
    if writer.has("estimates"):
        estimates = writer.frame("estimates")
        sizes = writer.sizes(estimates[estimates["model_id"].isin(set(parts["model_id"]))])
    table = writer.table(words("changes.moves_caption"), heads, rows, sizes, ["estimates"], words("changes.moves_note"))
    people = [
        [words.name("outcome", row["outcome_id"]), words.name("kind_of_change", row["kind"]), words("stated.from_to", low=row["low"], high=row["high"])]
        for row in records(moves.people)
    ]  # fmt: skip
    who = writer.table(words("changes.people_caption"), [words("outcome"), words("changes.kind"), words("changes.clients")], people, words("stated.bands"))  # fmt: skip
    caveats: list[Part] = [Said(words("changes.caveats", number=moves.caveats))] if moves.caveats else []
    return [table, who, *caveats]


def _adjustment(writer: Writer, model_id: str) -> str:
    adjustments = [name for name in writer.content.spec.recidivism.adjustments if name in model_id.split(".")]
    return writer.words.name("adjustment", adjustments[0]) if adjustments else model_id


def _editions(writer: Writer) -> Section:
    words, content = writer.words, writer.content
    items = tuple(
        Link(one.tag, edition_said(writer, one), None if content.home is None or one.tag == content.about.tag else f"../{content.home}/{one.portal}/{words.language}/index.html")
        for one in content.editions
    )  # fmt: skip
    parts: list[Part] = [Links(items)] if items else [Said(words("changes.only"))]
    return Section("releases", words("changes.releases_title"), [Block("", parts)], words("changes.releases_lead"))


def edition_said(writer: Writer, one: Edition) -> str:
    """Day and state of a release, and why it no longer counts."""
    words = writer.words
    text = f"{one.released_on.isoformat()}, {words.name('state', one.state)}"
    if one.successor:
        text += f", {words('changes.successor', tag=one.successor)}"
    return f"{text}. {words.of(one.reason)}" if one.reason else text


def codebook_page(writer: Writer) -> Page:
    """Every column of every table as one list, with anchors; a script of its own makes it searchable."""
    words = writer.words
    tables = [{"name": one.name, "said": words.of(one.description), "columns": [_column(writer, variable) for variable in one.variables]} for one in writer.content.catalogue.tables]  # fmt: skip
    return Page("codebook", words("codebook.title"), words("codebook.lead"), [], {"tables": tables}, "codebook")


def _column(writer: Writer, one: Variable) -> dict[str, object]:
    words, policy = writer.words, writer.content.catalogue.policy
    return {
        "name": one.name, "label": words.of(one.label), "said": one.description, "type": _type(writer, one),
        "codes": _codes(writer, one), "personal": words.of(policy.classes[one.personal]), "purpose": words.of(policy.purposes[one.purpose]),
        "kept": words.of(policy.retention[one.purpose]),
    }  # fmt: skip


def _type(writer: Writer, one: Variable) -> str:
    words = writer.words
    unit = words("codebook.unit", unit=one.unit) if one.unit else ""
    return f"{words.name('type', one.type)}, {words.name('measurement', one.measure)}{unit}"


def _codes(writer: Writer, one: Variable) -> str:
    words = writer.words
    found = [f"{value} = {words.of(label)}" for value, label in one.values.items()]
    found += [words("codebook.missing", code=reason.code, label=words.of(reason.label)) for reason in one.missing]
    return "; ".join(found)


def table_pages(writer: Writer) -> list[Page]:
    """A list of the tables, and a page for each: what a row is, its columns, and where it is."""
    words = writer.words
    tables = writer.content.catalogue.tables
    items = tuple(Link(one.name, words.of(one.description), f"tables/{one.name}.html") for one in tables)
    listed = Section("list", words("tables.list_title"), [Block("", [Links(items)])], words("tables.list_lead"))
    return [
        Page("tables", words("tables.title"), words("tables.lead"), [listed]),
        *[_table_page(writer, one) for one in tables],
    ]


def _table_page(writer: Writer, one: TableDescription) -> Page:
    words = writer.words
    rows = [
        [variable.name, words.of(variable.label), _type(writer, variable), _codes(writer, variable) or "–", words.of(writer.content.catalogue.policy.classes[variable.personal])]
        for variable in one.variables
    ]  # fmt: skip
    heads = [words(f"tables.{name}") for name in ("column", "label", "type", "codes", "personal")]
    size = writer.content.about.rows.get(one.name)
    facts = [Said(words("tables.key", key=", ".join(one.key) or "–"))]
    if size is not None:
        facts.append(Said(words("tables.rows", band=_band(writer, size))))
    parts: list[Part] = [*facts, Said(words("tables.where"))]
    sections = [
        Section("table", words("tables.what"), [Block("", parts)]),
        Section("columns", words("tables.columns_title"), [Block("", [writer.table(words("tables.caption", table=one.name), heads, rows, writer.no_people(), is_wordy=True)])]),
    ]  # fmt: skip
    return Page(f"tables/{one.name}", one.name, words.of(one.description), sections, {"parent": "tables"})


def quality_page(writer: Writer) -> Page:
    """Data quality by organisation and quarter."""
    words, quality = writer.words, writer.content.quality
    if quality is None:
        sections = [
            Section(
                "deliveries", words("quality.deliveries_title"), [Block("", [Said(words("quality.absent"), "absent")])]
            )
        ]
        return Page("quality", words("quality.title"), words("quality.lead"), sections)
    rows = [
        [words.name("organisation", row["organisation"]), *[words.count(row[name]) for name in ("received", "accepted", "rejected", "retracted")], str(row["last_period"] or "–")]
        for row in records(quality.deliveries)
    ]  # fmt: skip
    heads = [
        words(f"quality.{name}")
        for name in ("organisation", "received", "accepted", "rejected", "retracted", "last_period")
    ]
    deliveries = writer.table(
        words("quality.deliveries_caption"), heads, rows, writer.no_people(), note=words("quality.deliveries_note")
    )
    sections = [
        Section("deliveries", words("quality.deliveries_title"), [Block("", [deliveries, _periods(writer, quality.periods)])], words("quality.deliveries_lead")),
        Section("ratings", words("quality.ratings_title"), [Block("", [_ratings(writer, quality.ratings), _by_quarter(writer, quality)])], words("quality.ratings_lead")),
    ]  # fmt: skip
    return Page("quality", words("quality.title"), words("quality.lead"), sections)


def _periods(writer: Writer, periods: pd.DataFrame) -> Table:
    words = writer.words
    organisations = sorted(str(name) for name in periods["organisation"].unique())
    rows = []
    for period, own in periods.groupby("period", sort=True):
        cells = {
            name: ", ".join(_verdict(writer, row) for row in records(part))
            for name, part in own.groupby("organisation")
        }
        rows.append([str(period), *[cells.get(name, "–") for name in organisations]])
    heads = [words("quality.period"), *[words.name("organisation", name) for name in organisations]]
    return writer.table(
        words("quality.periods_caption"), heads, rows, writer.no_people(), note=words("quality.periods_note"), is_wordy=True
    )  # fmt: skip


def _verdict(writer: Writer, row: Mapping[str, Any]) -> str:
    said = writer.words.name("verdict_of_delivery", row["status"])
    return said if row["deliveries"] == 1 else f"{writer.words.count(row['deliveries'])} × {said}"


def _by_quarter(writer: Writer, quality: Quality) -> Table:
    words, ratings = writer.words, quality.by_quarter
    quarters = sorted(str(name) for name in ratings["start_quarter"].unique())
    cells = {(row["organisation"], row["rater"], row["start_quarter"]): row for row in records(ratings)}
    lines = ratings[["organisation", "rater"]].drop_duplicates().sort_values(["organisation", "rater"])
    rows = [
        [f"{words.name('organisation', organisation)}, {words.name('rater', rater)}", *[_done(writer, cells.get((organisation, rater, quarter))) for quarter in quarters]]
        for organisation, rater in lines.itertuples(index=False, name=None)
    ]  # fmt: skip
    return writer.table(
        words("quality.by_quarter_caption", wave=quality.wave), [words("quality.organisation_rater"), *quarters], rows, writer.ratings(ratings["n"]),
        note=words("quality.by_quarter_note"),
    )  # fmt: skip


def _ratings(writer: Writer, ratings: pd.DataFrame) -> Table:
    words = writer.words
    waves = sorted(str(name) for name in ratings["wave"].unique())
    cells: Mapping[tuple[str, str, str], dict[str, object]] = {
        (row["organisation"], row["rater"], row["wave"]): row for row in records(ratings)
    }
    rows = [
        [f"{words.name('organisation', organisation)}, {words.name('rater', rater)}", *[_done(writer, cells.get((organisation, rater, wave))) for wave in waves]]
        for organisation in sorted(str(name) for name in ratings["organisation"].unique()) for rater in sorted(str(name) for name in ratings["rater"].unique())
    ]  # fmt: skip
    return writer.table(
        words("quality.ratings_caption"), [words("quality.organisation_rater"), *waves], rows, writer.ratings(ratings["n"]), note=words("quality.ratings_note")
    )  # fmt: skip


def _done(writer: Writer, row: Mapping[str, object] | None) -> str:
    words = writer.words
    if row is None or is_missing(row["done"]):
        return words("hidden")
    return words("quality.done", share=words.percent(float(str(row["done"]))), n=words.count(float(str(row["n"]))))


def cite_page(writer: Writer) -> Page:
    """How to cite: in words and as BibTeX."""
    words, about = writer.words, writer.content.about
    who, title = " & ".join(about.study.creators), words.of(about.study.title)
    title = ("SIMULATED: " if about.is_simulated else "") + title
    text = words("cite.text", who=who, year=about.released_on.year, title=title, tag=about.tag, publisher=about.study.publisher, version=about.version_id)  # fmt: skip
    bibtex = "\n".join([
        f"@misc{{{about.study.publisher}-{about.tag},", f"  author = {{{who}}},", f"  title = {{{title}}},", f"  year = {{{about.released_on.year}}},",
        f"  version = {{{about.tag}}},", f"  publisher = {{{about.study.publisher}}}", "}",
    ])  # fmt: skip
    sections = [
        Section("text", words("cite.text_title"), [Block("", [Quote(text)])], words("cite.text_lead")),
        Section("bibtex", "BibTeX", [Block("", [Quote(bibtex)])]),
        Section("what", words("cite.what_title"), [Block("", [Said(words("cite.what", version=about.version_id, fit=about.fit_id))])]),
    ]  # fmt: skip
    return Page("cite", words("cite.title"), words("cite.lead"), sections)


def downloads_page(writer: Writer) -> Page:
    """What each role gets and where; microdata are named and not linked."""
    words, content = writer.words, writer.content
    sections = []
    for role in ROLES:
        items = tuple(
            Link(one.name, words.of(one.what), None if one.href is None else f"../{one.href}") for one in content.downloads if one.role == role
        )  # fmt: skip
        parts: list[Part] = [Links(items)] if items else [Said(words("downloads.nothing"), "absent")]
        sections.append(Section(role.replace("_", "-"), words.name("role", role), [Block("", parts)], words(f"downloads.{role}")))  # fmt: skip
    return Page("downloads", words("downloads.title"), words("downloads.lead"), sections)


def disclosure_page(writer: Writer) -> Page:
    """What did not leave, and by which rule; counts of rows and cells, never a value."""
    words, rules = writer.words, writer.content.rules
    rows = [
        [words.name("item", row["item"]), words.name("verdict", row["verdict"]), words.count(row["rows"]), words.count(row["hidden"]), writer.reasons(str(row["rule"]))]
        for row in records(writer.content.verdicts)
    ]  # fmt: skip
    heads = [words(f"disclosure.{name}") for name in ("item", "verdict", "rows", "hidden", "why")]
    table = writer.table(
        words("disclosure.caption"), heads, rows, writer.no_people(), note=words("disclosure.note"), is_wordy=True
    )
    settings = [
        [words("disclosure.small_cell"), words.count(rules.threshold)], [words("disclosure.dominance"), words.percent(rules.counts.dominance)],
        [words("disclosure.degrees"), words.count(rules.degrees_of_freedom)], [words("disclosure.steps"), words.count(rules.step_events)],
        [words("disclosure.base"), words.count(rules.base)],
    ]  # fmt: skip
    in_force = writer.table(words("disclosure.rules_caption"), [words("disclosure.rule"), words("disclosure.value")], settings, writer.no_people())  # fmt: skip
    sections = [
        Section("rules", words("disclosure.rules_title"), [Block("", [in_force])], words("disclosure.rules_lead")),
        Section("verdicts", words("disclosure.verdicts_title"), [Block("", [table])], words("disclosure.verdicts_lead")),
    ]  # fmt: skip
    return Page("disclosure", words("disclosure.title"), words("disclosure.lead"), sections)
