"""How well the models hold: proportional hazards, calibration, discrimination, E-values, a second engine, published numbers, coding."""

from __future__ import annotations

import pandas as pd

from orchestration.analysis.showing import figures
from orchestration.analysis.showing.hazards import own_rows
from orchestration.analysis.showing.source import Table, is_missing, records
from orchestration.releases.portal.parts import Block, Figure, Page, Part, Section, Writer
from orchestration.releases.portal.recidivism import term_name, widest

PANELS = 4


def diagnostics_page(writer: Writer) -> Page:
    """The page of diagnostics."""
    words = writer.words
    made = {
        "proportional_hazards": _proportional, "calibration": _calibration, "performance": _performance, "e_values": _e_values,
        "engine_agreement": _engines, "benchmark": _benchmark, "coding": _coding,
    }  # fmt: skip
    sections = [
        Section(
            item.replace("_", "-"), words(f"diagnostics.{item}_title"),
            make(writer) if writer.has(item) else [Block("", [writer.absent(item)])], words(f"diagnostics.{item}_lead"),
        )
        for item, make in made.items()
    ]  # fmt: skip
    return Page("diagnostics", words("diagnostics.title"), words("diagnostics.lead"), sections)


def model_name(writer: Writer, model_id: str) -> str:
    """A Cox model in words, as its estimates say what it is of; its id where none of them left."""
    own = writer.frame("estimates") if writer.has("estimates") else pd.DataFrame({"model_id": []})
    own = own[own["model_id"] == model_id]
    if not len(own):
        return model_id
    row, words = records(own)[0], writer.words
    return f"{words.name('outcome', row['outcome_id'])}: {words.name('scale', row['scale'])}, {words.name('rater', row['rater'])}, {words.name('adjustment', row['adjustment'])}"


def _model_sizes(writer: Writer, models: pd.Series) -> str:
    own = writer.frame("estimates") if writer.has("estimates") else None
    found = own[own["model_id"].isin(set(models))] if own is not None else None
    return writer.words("stated.nobody") if found is None or not len(found) else writer.sizes(found)


def _proportional(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("proportional_hazards")
    level = writer.content.spec.recidivism.proportional_level
    own = own_rows(writer.frame("estimates"), writer.content.spec.recidivism.rater) if writer.has("estimates") else None
    scale_of = {} if own is None else dict(zip(own["model_id"], own["scale"], strict=True))
    tests = frame[frame["p_value"].notna()]
    by_model = {(row["model_id"], row["term"]): row for row in records(tests)}
    rows = []
    for model, scale in scale_of.items():
        one, whole = by_model.get((model, scale)), by_model.get((model, "GLOBAL"))
        if one is None:
            continue
        verdict = words("diagnostics.split" if one["p_value"] < level else "diagnostics.holds")
        rows.append([model_name(writer, str(model)), words.number(one["chi_squared"]), words.p(one["p_value"]), words.p(whole["p_value"]) if whole else words("hidden"), verdict])  # fmt: skip
    terms = tests[tests["term"] != "GLOBAL"]
    below = int((terms["p_value"] < level).sum())
    table = writer.table(
        words("diagnostics.proportional_caption"),
        [words("recidivism.outcome_model"), words("diagnostics.chi"), "p", words("diagnostics.p_model"), words("diagnostics.verdict")],
        rows, _model_sizes(writer, frame["model_id"]), ["proportional_hazards"],
        words("diagnostics.proportional_note", tested=words.count(len(terms)), below=words.count(below), level=words.number(level), chance=words.number(level * len(terms), 0)),
    )  # fmt: skip
    return [Block("", [table])]


def _calibration(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("calibration")
    own = frame[frame["observed"].notna()]
    if not len(own):
        return [Block("", [writer.absent("calibration")])]
    first = own[own["months"] == own["months"].min()]
    adjustment = widest(writer)
    models = [str(name) for name in dict.fromkeys(first["model_id"])]
    drawn = [name for name in models if adjustment in name.split(".")][:PANELS] or models[:PANELS]
    titles = {name: model_name(writer, name).replace(": ", "\n") for name in drawn}
    months = words("recidivism.month", month=int(first["months"].iloc[0]))
    sizes = _model_sizes(writer, own["model_id"])
    picture: Figure = writer.figure(
        "calibration", lambda stamp: figures.calibration(first, titles, stamp), words("diagnostics.calibration_caption", months=months),
        words("diagnostics.calibration_alternative"), sizes, ["calibration"],
    )  # fmt: skip
    rows = [
        [f"{model_name(writer, row['model_id'])}, {words('recidivism.month', month=int(row['months']))}, {words('diagnostics.fifth', number=int(row['fifth']))}", words.count(row["n"]), words.count(row["events"]),
         words.percent(row["predicted"]), f"{words.percent(row['observed'])} {words.span(words.percent(row['conf_low']), words.percent(row['conf_high']))}"]
        for row in records(own)
    ]  # fmt: skip
    table = writer.table(
        words("diagnostics.calibration_table"), [words("diagnostics.model_fifth"), "n", words("events"), words("diagnostics.predicted"), words("diagnostics.observed")],
        rows, sizes, ["calibration"],
    )  # fmt: skip
    return [Block("", [picture]), Block(words("beside"), [table], is_open=False)]


def _performance(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("performance")
    own = frame[frame["apparent"].notna()]
    rows = [
        [f"{model_name(writer, row['model_id'])}: {words.name('measure', row['measure'])}" + ("" if is_missing(row["months"]) else f", {words('recidivism.month', month=int(row['months']))}"),
         words.number(row["apparent"]), words.number(row["std_error"], 3), words.number(row["corrected"])]
        for row in records(own)
    ]  # fmt: skip
    table = writer.table(
        words("diagnostics.performance_caption"),
        [words("diagnostics.model_measure"), words("diagnostics.apparent"), words("diagnostics.error"), words("diagnostics.corrected")],
        rows, writer.sizes(own), ["performance"], words("diagnostics.performance_note"),
    )  # fmt: skip
    return [Block("", [table])]


def _e_values(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("e_values")
    own = (
        own_rows(writer.frame("estimates"), writer.content.spec.recidivism.rater) if writer.has("estimates") else frame
    )
    part = frame[frame["model_id"].isin(set(own["model_id"]))]
    rows = [
        [f"{model_name(writer, row['model_id'])}", words.number(row["hazard_ratio"]), words.number(row["e_value"]), words.number(row["e_value_limit"])]
        for row in records(part) if not is_missing(row["e_value"])
    ]  # fmt: skip
    table = writer.table(
        words("diagnostics.e_values_caption"), [words("recidivism.outcome_model"), words("recidivism.ratio"), words("diagnostics.e_value"), words("diagnostics.e_limit")],
        rows, _model_sizes(writer, part["model_id"]), ["e_values"], words("diagnostics.e_values_note"),
    )  # fmt: skip
    return [Block("", [table], is_open=True)]


def _engines(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("engine_agreement")
    known = frame[frame["agrees"].notna()]
    agree = int(known["agrees"].astype(bool).sum())
    largest = known[["largest_coefficient_difference", "largest_error_difference"]].max().max()
    rows = [[words("diagnostics.models"), words.count(len(known))], [words("diagnostics.agree"), words.count(agree)], [words("diagnostics.largest"), "–" if is_missing(largest) else f"{largest:.0e}"]]  # fmt: skip
    table: Table = writer.table(words("diagnostics.engines_caption"), [words("diagnostics.what"), words("diagnostics.found")], rows, _model_sizes(writer, known["model_id"]), ["engine_agreement"], words("diagnostics.engines_note"))  # fmt: skip
    return [Block("", [table])]


def _benchmark(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("benchmark")
    rows = [
        [str(row["name"]), str(row["published"]), str(row["rounded"]), words("yes" if row["agrees"] else "no")]
        for row in records(frame)
    ]
    table = writer.table(
        words("diagnostics.benchmark_caption"), [words("diagnostics.number"), words("diagnostics.published"), words("diagnostics.computed"), words("diagnostics.same")],
        rows, words("stated.benchmark"), ["benchmark"], words("diagnostics.benchmark_note"),
    )  # fmt: skip
    return [Block("", [table])]


def _coding(writer: Writer) -> list[Block]:
    words, frame = writer.words, writer.frame("coding")
    columns = [name for name in ("term", "unit", "reference", "imputed_by") if name in frame]
    unique = frame[columns].drop_duplicates()
    rows = [
        [term_name(writer, str(row["term"])), *["–" if is_missing(row[name]) else str(row[name]) for name in columns[1:]]] for row in records(unique)
    ]  # fmt: skip
    heads = [words(f"diagnostics.coding_{name}") for name in columns]
    parts: list[Part] = [
        writer.table(words("diagnostics.coding_caption"), heads, rows, writer.no_people(), ["coding"], is_wordy=True)
    ]
    return [Block("", parts)]
