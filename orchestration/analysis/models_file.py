"""The form of a model file, and everything that can be wrong with one, said at once: keys, types and ranges, names that nothing
has, and columns that were not known when follow-up began. What the entries become is in `specification.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestration.analysis import readable
from orchestration.analysis.imputation import CUMULATIVE_HAZARD, EVENT
from orchestration.analysis.readable import Readable
from orchestration.trouble import Mendable

RANDOM_PARTS = re.compile(r"\((1|1 \+ months) \| (client|officer)\)( \+ \((1|1 \+ months) \| (client|officer)\))*")
RULES = ("half_sd", "rci", "slope")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Names that a table of a fit, or an imputed data set, has for itself.
_TAKEN = {
    EVENT, CUMULATIVE_HAZARD, "imputation", "client_id", "outcome_id", "cluster", "entry_days", "duration_days", "pattern",
    "baseline", "constant", "all",
}  # fmt: skip
_SAID = {"missing": "is missing", "extra_forbidden": "is no key of a model file", "too_short": "is empty, so that there would be no model"}  # fmt: skip
_SHOWN = 40


class SpecificationError(Mendable, ValueError):
    """A model file says something that cannot be, or that was not known at the origin; names each entry and what may stand there."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[list[str], Field(min_length=1)]


class Divide(_Entry):
    """Divided by a number."""

    divide: Positive


class Equals(_Entry):
    """1 where the column has the value, else 0."""

    equals: str | int | float | bool


class CovariateEntry(_Entry):
    """A column, how it enters a model, how it is imputed, and what it is called."""

    column: str
    transform: Literal["identity", "log1p", "positive"] | Divide | Equals = "identity"
    impute: Literal["never", "normal", "logistic", "pmm"]
    label: str


class PredictorEntry(_Entry):
    """The same for Q2, with the table that it is in; the column is called as the entry where none is named."""

    source: Literal["alliance_change", "client", "covariate", "officer"] = Field(alias="from")
    column: str | None = None
    transform: Literal["identity", "log1p", "positive"] | Divide | Equals = "identity"
    combine: Literal["latest", "any"] = "latest"
    impute: Literal["never", "normal", "logistic", "pmm"]
    label: str


class ScoreEntry(_Entry):
    """The scores of one rater at one wave, on every scale of the models."""

    rater: str
    wave: str


class ImputationEntry(_Entry):
    """How missing values are imputed."""

    m: Annotated[int, Field(ge=2, le=200)]
    few: Annotated[int, Field(ge=2)]
    iterations: Annotated[int, Field(ge=1, le=1000)]
    largest_rhat: Annotated[float, Field(gt=1)]
    donors: Count
    score_method: Literal["normal", "logistic", "pmm"]
    scores: Annotated[list[ScoreEntry], Field(min_length=1)]
    auxiliary: list[str]


class ProportionalHazards(_Entry):
    """When a term has no single hazard ratio, and where those of the alliance are split."""

    level: Share
    split_months: Positive


class Patterns(_Entry):
    """Which patterns of change make groups."""

    span: str
    rules: list[Literal["half_sd", "rci", "slope"]]


class Prediction(_Entry):
    """Whose scores risks are predicted from, at which levels, and how often officers are drawn again."""

    raters: list[str]
    levels: list[float]
    bootstraps: Annotated[int, Field(ge=1, le=10_000)]


class ReferenceEntry(_Entry):
    """People who are made up, whose risk every fit predicts: what all have, and what each has instead."""

    raters: list[str]
    adjustment: str
    largest_change: Share
    everybody: dict[str, float]
    people: Annotated[dict[str, dict[str, float]], Field(min_length=1)]


class Processes(_Entry):
    """Which adjustments the start-stop models have."""

    adjustments: list[str]
    last_stratum: Count


class RecidivismEntry(_Entry):
    """Q3."""

    outcome_roles: list[Literal["primary", "sensitivity"]]
    raters: Names
    wave: str
    scales: Names
    exposures: Annotated[dict[str, Annotated[dict[str, str], Field(min_length=1)]], Field(min_length=1)]
    cluster: str
    ties: Literal["efron", "breslow"]
    min_events: Count
    min_events_per_parameter: Annotated[float, Field(ge=0)]
    proportional_hazards: ProportionalHazards
    adjustments: Annotated[dict[str, list[str]], Field(min_length=1)]
    grouped_scale: str
    groups: Annotated[list[str], Field(min_length=2, max_length=5)]
    patterns: Patterns
    risk_months: Annotated[list[Count], Field(min_length=1)]
    restricted_mean_months: Positive
    prediction: Prediction
    reference: ReferenceEntry | None = None
    competing_events: list[Literal["death", "emigration", "detention"]]
    processes: Processes


class Growth(_Entry):
    """The random parts that are tried, in order."""

    min_clients: Annotated[int, Field(ge=2)]
    min_waves: Annotated[int, Field(ge=2)]
    structures: dict[str, str]


class DevelopmentEntry(_Entry):
    """Q1."""

    confidence: Share
    low_reliability: Share
    growth: Growth


class DeterminantsEntry(_Entry):
    """Q2; without scales there are no such models."""

    raters: Names
    span: Literal["T1-T2", "T1-last"]
    rules: Annotated[list[Literal["half_sd", "rci", "slope"]], Field(min_length=1)]
    scales: list[str]
    reference: Literal["stable", "improving", "deteriorating"]
    min_class: Count
    baseline_months: Positive
    cluster: Literal["officer_id"]
    predictors: Annotated[dict[str, PredictorEntry], Field(min_length=1)]
    auxiliary: dict[str, PredictorEntry]


class ModelsFile(_Entry):
    """A whole model file."""

    seed: Annotated[int, Field(ge=0)]
    covariates: dict[str, CovariateEntry]
    imputation: ImputationEntry
    recidivism: RecidivismEntry
    development: DevelopmentEntry
    determinants: DeterminantsEntry


def read_models_file(path: Path, known: Readable | None = None) -> ModelsFile:
    """A model file, checked as a whole against what models may read (default: as the marts say).

    Raises `SpecificationError` with every trouble: file, key, what was expected.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceEach)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError):
        raise SpecificationError(f"{path.name} cannot be read as UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecificationError(f"{path.name} is no YAML{line}: {error.problem}") from None
    except yaml.YAMLError:
        raise SpecificationError(f"{path.name} is no YAML") from None
    try:
        entries = ModelsFile.model_validate(content)
    except ValidationError as error:
        raise _refusal(path, _said_of_form(error)) from None
    if troubles := list(troubles_of(entries, known or readable.readable())):
        raise _refusal(path, troubles)
    return entries


class _OnceEach(yaml.SafeLoader):
    """Reads YAML safely, and refuses a key that stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.MarkedYAMLError(problem=f"the key {key} stands twice", problem_mark=node.value[place][0].start_mark)  # fmt: skip
        return super().construct_mapping(node, deep)


def _refusal(path: Path, troubles: list[str]) -> SpecificationError:
    more = f"\n  and {len(troubles) - _SHOWN} more" if len(troubles) > _SHOWN else ""
    listed = "\n  ".join(troubles[:_SHOWN])
    return SpecificationError(f"{path.name}, {len(troubles)} thing(s) to mend:\n  {listed}{more}")


def _said_of_form(error: ValidationError) -> list[str]:
    found: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False):
        where = [str(part) for part in item["loc"] if str(part) not in ("Divide", "Equals") and not str(part).startswith("literal[")]  # fmt: skip
        said = _SAID.get(item["type"], item["msg"][:1].lower() + item["msg"][1:])
        found.setdefault(".".join(where) or "the file", []).append(said)
    return [f"{where}: {' or '.join(dict.fromkeys(said))}" for where, said in found.items()]


def troubles_of(entries: ModelsFile, known: Readable) -> Iterator[str]:
    """What is wrong with a file whose form is right, one line each."""
    yield from _names(entries, known)
    for name, covariate in entries.covariates.items():
        yield from _covariate(name, covariate, entries, known)
    yield from _scores(entries, known)
    yield from _grid(entries.recidivism, entries.covariates, known)
    auxiliary = entries.imputation.auxiliary
    yield from _among("imputation.auxiliary", auxiliary, entries.covariates, "which is no covariate")
    for name, structure in entries.development.growth.structures.items():
        if not RANDOM_PARTS.fullmatch(structure):
            yield f"development.growth.structures.{name}: expected (1 | client), (1 + months | client) or (1 | officer), joined by +"
    yield from _determinants(entries, known)


def _names(entries: ModelsFile, known: Readable) -> Iterator[str]:
    q3, q2 = entries.recidivism, entries.determinants
    scored = {
        f"{rater}_{scale}_{part}"
        for rater in known.raters
        for scale in known.scales
        for part in (*known.waves, "state")
    }
    terms = {*known.scales, *(f"{scale}_{part}" for scale in known.scales for parts in q3.exposures.values() for part in parts)}  # fmt: skip
    taken = {
        "covariates": _TAKEN | scored | terms, "recidivism.adjustments": {"split", "score"}, "recidivism.exposures": {"split"},
        "determinants.predictors": _TAKEN | set(q2.auxiliary), "determinants.auxiliary": _TAKEN,
    }  # fmt: skip
    named: dict[str, Iterable[str]] = {
        "covariates": entries.covariates, "recidivism.adjustments": q3.adjustments, "recidivism.exposures": q3.exposures,
        "determinants.predictors": q2.predictors, "determinants.auxiliary": q2.auxiliary,
        **{f"recidivism.exposures.{name}": parts for name, parts in q3.exposures.items()},
    }  # fmt: skip
    for where, names in named.items():
        for name in names:
            if not _NAME.fullmatch(name):
                yield f"{where}: a name begins with a letter and holds small letters, digits and underscores, 63 at most"
            elif name in taken.get(where, ()):
                yield f"{where}.{name}: the name is taken; choose another"


def _covariate(name: str, entry: CovariateEntry, entries: ModelsFile, known: Readable) -> Iterator[str]:
    where = f"covariates.{name}"
    column = known.cohort.get(entry.column)
    if column is None or column.read_as not in (readable.COVARIATE, readable.SCORE):
        yield f"{where}: {known.why_not(entry.column)}"
        return
    q3 = entries.recidivism
    imputed = {f"{score.rater}_{scale}_" for score in entries.imputation.scores for scale in q3.scales}
    if column.read_as == readable.SCORE and entry.column.startswith(tuple(imputed)):
        yield f"{where}: {entry.column} is of a rater and a scale whose scores are imputed; an exposure names it, no covariate can"
    yield from _of_type(where, entry.column, column.data_type, entry)


def _of_type(where: str, column: str, data_type: str, entry: CovariateEntry | PredictorEntry) -> Iterator[str]:
    """What transform and method ask of a column that its type cannot give."""
    argument = entry.transform.equals if isinstance(entry.transform, Equals) else None
    is_number = isinstance(argument, int | float) and not isinstance(argument, bool)
    fits = {"varchar": isinstance(argument, str), "boolean": isinstance(argument, bool)}.get(data_type, is_number)
    if argument is not None and not fits:
        yield f"{where}: {column} is {data_type}, and equals has a value of another type"
    if argument is None and data_type == "varchar":
        yield f"{where}: {column} is text, so its transform is equals with one of its values"
    if data_type == "boolean" and not (entry.transform == "identity" or argument is not None):
        yield f"{where}: {column} is yes or no, so its transform is identity or equals"
    if entry.impute == "logistic" and (entry.transform == "log1p" or isinstance(entry.transform, Divide)):
        yield f"{where}: logistic imputes what is 0 or 1; normal and pmm impute numbers"
    if entry.impute == "normal" and (data_type == "boolean" or argument is not None or entry.transform == "positive"):
        yield f"{where}: normal imputes numbers; logistic imputes what is 0 or 1"


def _scores(entries: ModelsFile, known: Readable) -> Iterator[str]:
    """Raters, waves and scales that exist; every score that a model reads is known at the origin, and imputed."""
    q3 = entries.recidivism
    for place, score in enumerate(entries.imputation.scores):
        yield from _among(
            f"imputation.scores.{place}", [score.rater], known.raters, f"which is no rater: {', '.join(known.raters)}"
        )
        yield from _waves(f"imputation.scores.{place}", score.wave, known)
    yield from _twice("imputation.scores", [f"{score.rater} {score.wave}" for score in entries.imputation.scores])
    yield from _waves("recidivism.wave", q3.wave, known)
    of_scales = {"recidivism.scales": q3.scales, "recidivism.grouped_scale": [q3.grouped_scale], "determinants.scales": entries.determinants.scales}  # fmt: skip
    for where, scales in of_scales.items():
        yield from _among(where, scales, known.scales, f"which is no scale: {', '.join(known.scales)}")
        yield from _twice(where, scales)
    for where, raters in {"recidivism.raters": q3.raters, "determinants.raters": entries.determinants.raters}.items():
        yield from _among(where, raters, known.raters, f"which is no rater: {', '.join(known.raters)}")
        yield from _twice(where, raters)
    waves = {rater: {score.wave for score in entries.imputation.scores if score.rater == rater} for rater in q3.raters}
    for name, parts in q3.exposures.items():
        for part in dict.fromkeys(parts.values()):
            if part != "state" and part not in known.waves:
                yield f"recidivism.exposures.{name}: names {part}; known at the origin are the scores of {', '.join(known.waves)}, and state, the change between them"
                continue
            asked = {"t1", "t2"} if part == "state" else {part}
            lacking = [rater for rater, imputed in waves.items() if not asked <= imputed and rater in known.raters]
            if lacking:
                yield f"recidivism.exposures.{name}: {part} of {', '.join(lacking)} stands in a model, but not among the imputed scores"
    lacking = [rater for rater, imputed in waves.items() if q3.wave not in imputed and rater in known.raters]
    if lacking and q3.wave in known.waves:
        yield f"recidivism.wave: {q3.wave} of {', '.join(lacking)} makes the groups, but is not among the imputed scores"


def _waves(where: str, wave: str, known: Readable) -> Iterator[str]:
    if wave not in known.waves:
        yield f"{where}: names {wave}; waves whose scores are known at the origin are {', '.join(known.waves)}"


def _grid(q3: RecidivismEntry, covariates: Mapping[str, CovariateEntry], known: Readable) -> Iterator[str]:
    for name, terms in q3.adjustments.items():
        yield from _among(f"recidivism.adjustments.{name}", terms, covariates, "which is no covariate")
        yield from _twice(f"recidivism.adjustments.{name}", terms)
    yield from _among("recidivism.grouped_scale", [q3.grouped_scale], q3.scales, "which is none of recidivism.scales")
    yield from _among("recidivism.prediction.raters", q3.prediction.raters, q3.raters, "which is none of recidivism.raters")  # fmt: skip
    yield from _among("recidivism.processes.adjustments", q3.processes.adjustments, q3.adjustments, "which is no adjustment")  # fmt: skip
    yield from _reference(q3, covariates, known)
    clusters = known.named(readable.CLUSTER)
    yield from _among("recidivism.cluster", [q3.cluster], clusters, f"which is no cluster: {', '.join(clusters)}")
    yield from _twice("recidivism.groups", q3.groups)
    if {"all", "not_rated"} & {*q3.groups}:
        yield "recidivism.groups: the names all and not_rated are taken; choose others"
    ends_by = f"T1-{q3.wave.upper()}"
    if q3.patterns.rules and q3.patterns.span != ends_by:
        yield f"recidivism.patterns: span {q3.patterns.span} is known only after the score of {q3.wave}; expected {ends_by}, or no rules"
    if q3.patterns.rules and q3.wave == known.waves[0]:
        yield f"recidivism.patterns: no change is known with the score of {q3.wave}; expected no rules"


def _reference(q3: RecidivismEntry, covariates: Mapping[str, CovariateEntry], known: Readable) -> Iterator[str]:
    """Of each reference person everything is said that a model reads, and nothing that no model could."""
    entry = q3.reference
    if entry is None:
        return
    yield from _among("recidivism.reference.raters", entry.raters, q3.raters, "which is none of recidivism.raters")
    if entry.adjustment not in q3.adjustments:
        yield f"recidivism.reference.adjustment: names {entry.adjustment}, which is no adjustment"
        return
    terms = [term for term in q3.adjustments[entry.adjustment] if term in covariates]
    needed = {*q3.scales, *(covariates[term].column for term in terms)}
    allowed = {*known.scales, *(covariate.column for covariate in covariates.values())}
    unsaid = set.intersection(*(needed - {*entry.everybody, *own} for own in entry.people.values()))
    if unsaid:
        yield f"recidivism.reference.everybody: lacks {', '.join(sorted(unsaid))}, which the models read; reference may be left out"
    for name, own in entry.people.items():
        where, said = f"recidivism.reference.people.{name}", {*entry.everybody, *own}
        if lacking := sorted(needed - said - unsaid):
            yield f"{where}: lacks {', '.join(lacking)}, which the models read"
        yield from _among(where, sorted(said), allowed, "which no model reads")


def _determinants(entries: ModelsFile, known: Readable) -> Iterator[str]:
    q2 = entries.determinants
    for part, predictors in (("predictors", q2.predictors), ("auxiliary", q2.auxiliary)):
        for name, entry in predictors.items():
            where, column = f"determinants.{part}.{name}", entry.column or name
            if entry.source == "covariate":  # rows, not columns: which names there are is for the version to say
                yield from _of_type(where, column, "integer", entry)
                continue
            columns = known.predictors[entry.source]
            if column not in columns:
                yield f"{where}: {entry.source} has no column {column} that was known at baseline; those are {', '.join(columns)}"
                continue
            yield from _of_type(where, column, columns[column].data_type, entry)


def _among(where: str, names: Iterable[str], allowed: Iterable[str], otherwise: str) -> Iterator[str]:
    unknown = [name for name in dict.fromkeys(names) if name not in set(allowed)]
    if unknown:
        yield f"{where}: names {', '.join(unknown)}, {otherwise}"


def _twice(where: str, names: Iterable[str]) -> Iterator[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield f"{where}: {', '.join(twice)} stands there more than once"
