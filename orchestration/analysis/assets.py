"""From a published version to a fit and its report: the fingerprint of what models read, the refit, the page.

The fit hangs on the fingerprint, so that new rows refit and the same rows do not; a refit that fails a check of `gate.py`
leaves the last good one where it is. The work is in `fit.py`, `reuse.py`, `comparison.py`, `explanation.py` and `showing/`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from orchestration.analysis.fit import fit_id, is_whole, made_by, read_fit, room_hash, run_fit, write_fit
from orchestration.analysis.gate import CHECKS, judge_fit, signed_off
from orchestration.analysis.inputs import MODEL_TABLES, Inputs, read_inputs
from orchestration.analysis.recidivism import modelled_outcomes
from orchestration.analysis.reuse import BY_OUTCOME, OF_EVERY_OUTCOME, WHOLE, Earlier, outcome_part, rows_read
from orchestration.analysis.showing import showing_hash
from orchestration.analysis.showing.measures import measured
from orchestration.analysis.signoff import is_enough
from orchestration.analysis.specification import Specification, read_specification
from orchestration.deliveries.assets import column_schema
from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import combined_hash
from orchestration.home import opened
from orchestration.progress import Progress, both, named, nobody, throttled
from orchestration.settings import Settings
from orchestration.spreading.batches import Work, clear, gathered, side_by_side
from orchestration.store import keep, keep_note, point
from orchestration.warehouse.versions import Version, current_version

VERSIONS, ANALYSIS = "versions", "analysis"
VERSION = dg.AssetKey(["versions", "version"])
FINGERPRINT = dg.AssetKey(["versions", "model_inputs"])
GRID = dg.AssetKey(["analysis", "grid"])  # spreading/assets.py, where there is a broker
FIT = dg.AssetKey(["analysis", "fit"])
REPORT = dg.AssetKey(["analysis", "report"])
CURRENT = "current"
COVERS, STATES = "covers_what_models_read", "states_its_fit"


class NothingPublished(RuntimeError):
    """Models read published versions only, and there is none."""


def published(settings: Settings) -> Version:
    """The current version. Raises NothingPublished."""
    version = current_version(settings)
    if version is None:
        raise NothingPublished("no version is published: nothing can be fitted")
    return version


def without_mark(inputs: Inputs, spec: Specification, marks: Mapping[str, str]) -> list[str]:
    """What models read and no part of the fingerprint stands for: tables, and primary outcomes. Of these a change would refit nothing."""
    covered = {*BY_OUTCOME, *OF_EVERY_OUTCOME}.union(*(WHOLE[part] for part in WHOLE if part in marks))
    outcomes = [outcome_part(outcome) for outcome in modelled_outcomes(inputs.outcome_definition, spec)]
    return [name for name in inputs.tables if name not in covered] + [part for part in outcomes if part not in marks]


def model_inputs_asset(settings: Settings, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The fingerprint of the rows that models read."""

    @dg.asset(
        key=FINGERPRINT,
        group_name=VERSIONS,
        deps=[VERSION],
        description="A fingerprint of the rows that models read. While it stays the same, nothing is refitted.",
        owners=["team:stewards"],
        kinds={"python"},
        automation_condition=condition,
        check_specs=[
            dg.AssetCheckSpec(
                COVERS,
                asset=FINGERPRINT,
                description="Every table and every primary outcome that models read is in the fingerprint.",
            )
        ],
    )
    def model_inputs() -> dg.MaterializeResult:
        version = published(settings)
        spec, inputs = specification(settings), read_inputs(version)
        marks = rows_read(inputs, spec)
        mark, left_out = combined_hash(marks), without_mark(inputs, spec, marks)
        tables = version.manifest["tables"]
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name=COVERS,
                    passed=not left_out,
                    description=f"a change of these would refit nothing: {', '.join(left_out)}" if left_out else None,
                    metadata={"parts": len(marks), "tables": len(MODEL_TABLES), "left_out": len(left_out)},
                )
            ],
            data_version=dg.DataVersion(mark),
            metadata={
                "version": version.version_id,
                "fingerprint": mark[:16],
                **{f"rows_{name}": tables[name]["rows"] for name in MODEL_TABLES},
            },
        )

    return model_inputs


def fit_asset(
    settings: Settings, condition: dg.AutomationCondition, progress: Progress = nobody
) -> dg.AssetsDefinition:
    """The refit of all models on the published version. `progress` is told of every step, the run's log of every tenth."""

    @dg.asset(
        key=FIT,
        group_name=ANALYSIS,
        deps=[GRID if settings.broker else FINGERPRINT],
        description="The recidivism models (Cox, multiple imputation, errors by officer), change patterns and determinants.",
        owners=["team:researchers"],
        kinds={"python"},
        code_version=room_hash()[:16],
        automation_condition=condition,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(name, asset=FIT, blocking=True, description=said) for name, said in CHECKS.items()
        ],
    )  # fmt: skip
    def fit(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        version = published(settings)
        spec, inputs = specification(settings), read_inputs(version)
        marks = rows_read(inputs, spec)
        mark = combined_hash(marks)
        name = fit_id(mark, spec, settings.seed)
        folder, last_good = settings.fits / name, _last_good(settings)
        ledger = opened(settings)  # one that an earlier release made may lack the table of signatures
        by = ledger.signatures(name, "" if last_good is None else last_good.name)
        made: dict[str, int | float] = {"parts_taken_over": len(marks)}
        if not (is_enough(by) and is_whole(folder)):  # what people signed is what they saw: it is not made anew
            work = Work(name, version, inputs.in_order(), spec, settings.seed, marks)
            tell = both(throttled(context.log.info), named("fit", progress))
            began = time.monotonic()
            good = lent(settings, spec)
            fitted = [] if settings.broker else side_by_side(settings.fits, work, good, settings.fit_processes, tell)
            earlier = gathered(settings.fits, work, good)
            result = run_fit(inputs, spec, settings.seed, tell, earlier)
            own = {mark for part in fitted for mark in work.reads(part)}
            result = replace(result, reused=tuple(part for part in result.reused if part not in own))
            made = {
                "seconds": round(time.monotonic() - began, 1),
                "steps": result.steps,
                "models_fitted": result.models_fitted,
                "parts_taken_over": len(result.reused),
                "parts_fitted_side_by_side": len(fitted),
            }
            manifest = {
                "fit_id": name,
                "version_id": version.version_id,
                "fingerprint": mark,
                "simulated": version.manifest["simulated"],
                "registry_cutoff_on": version.manifest["registry_cutoff_on"],
            }
            with folder_by_rename(folder) as aside:
                write_fit(result, aside, manifest)
            keep(settings, folder)
        clear(settings.fits)
        tables, kept = read_fit(folder)
        before = None if last_good is None else read_fit(last_good)[0]
        rules = spec.recidivism

        def without_growth() -> pd.DataFrame | None:
            from orchestration.analysis.explanation import Side, risks_without_growth
            from orchestration.analysis.sides import intervals_of, side_of

            old = side_of(settings.versions, last_good) if last_good is not None else None
            if old is None or before is None:
                return None
            new = Side(inputs, tables["estimates"], kept, version.manifest["build"], intervals_of(version))
            return risks_without_growth(old, new, before["reference_risk"], spec)

        checks = judge_fit(tables, before, rules.min_events, rules.reference.largest_change, without_growth)
        checks = signed_off(checks, by)
        failed = [check for check in checks if not check.is_passed]
        if failed:
            reason = "; ".join(check.reason for check in failed)
            ledger.record_held_fit(name, version.version_id, reason, [check.name for check in failed])
        else:
            explained = _explain(settings, name, version, inputs, spec)
            point(settings, settings.fits, name)
            ledger.record_fit(name, version.version_id, mark)
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(name),
                metadata={
                    "fit": name,
                    "version": version.version_id,
                    "estimates": len(tables["estimates"]),
                    "models_not_estimable": kept["models_not_estimable"],
                    "imputations": kept["imputations"],
                    "seed": kept["seed"],
                    **made,
                    **measured(tables, spec, settings.small_cell),
                    **explained,
                    **column_schema(
                        (table, f"{len(frame)} rows", f"columns: {', '.join(map(str, frame.columns))}")
                        for table, frame in sorted(tables.items())
                    ),
                },
            )
        for check in checks:
            yield dg.AssetCheckResult(
                check_name=check.name,
                passed=check.is_passed,
                description=check.reason or None,
                metadata=dict(check.counts),
            )

    return fit


def specification(settings: Settings) -> Specification:
    """The models of the repository with the number of imputations of the settings."""
    return read_specification().with_imputations(settings.imputations)


def _last_good(settings: Settings) -> Path | None:
    link = settings.fits / CURRENT
    return link.resolve() if link.is_symlink() else None


def lent(settings: Settings, spec: Specification) -> Earlier | None:
    """The last good fit, if it was made by this code, with these models, packages and seed."""
    last_good = _last_good(settings)
    return None if last_good is None else Earlier.of(last_good, made_by(spec, settings.seed))


def _explain(
    settings: Settings, name: str, version: Version, inputs: Inputs, spec: Specification
) -> dict[str, int | float | str]:
    """Write what changed since the fit before beside the new fit; gives its counts and the largest move.

    The moves are split by kind of change while the version of the fit before is still there.
    """
    from orchestration.analysis.comparison import compare_fits
    from orchestration.analysis.explanation import Side, explain
    from orchestration.analysis.sides import intervals_of, side_of

    began, before = time.monotonic(), _last_good(settings)
    if before is not None and before.name == name:
        return {}
    compared = compare_fits(before, settings.fits / name)
    record: dict[str, Any] = {**compared.summary(), "moves": json.loads(compared.moves.to_json(orient="records", double_precision=15))}  # fmt: skip
    said: dict[str, int | float | str] = {"largest_move_in_std_errors": compared.largest_move}
    if before is not None:
        old = side_of(settings.versions, before)
        if old is None:
            record["explanation"] = {"caveats": ["the version of the fit before is not kept: its moves are not split"]}
        else:
            tables, manifest = read_fit(settings.fits / name)
            new = Side(inputs, tables["estimates"], manifest, version.manifest["build"], intervals_of(version))
            explained = explain(old, new, spec)
            record["explanation"] = explained.as_record()
            kinds = explained.people.groupby("kind")["clients"].sum()
            said |= {f"rows_{kind}": int(count) for kind, count in kinds.items()}
            said |= {"explained_in_seconds": round(time.monotonic() - began, 1), "outcomes_fitted_to_explain": explained.fits}  # fmt: skip
    note = settings.fits / f"{name}.changes.json"
    write_json(note, record)
    keep_note(settings, note)
    return said


def report_asset(settings: Settings, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The page that a person looks at first."""

    @dg.asset(
        key=REPORT,
        group_name=ANALYSIS,
        deps=[FIT],
        description="One self-contained page, the answers first; beside it model cards, checklists, tables for a manuscript.",
        owners=["team:researchers"],
        kinds={"html"},
        code_version=showing_hash()[:16],
        automation_condition=condition,
        check_specs=[
            dg.AssetCheckSpec(STATES, asset=REPORT, description="The page is written, and names the fit that it shows.")
        ],
    )
    def report() -> dg.MaterializeResult:
        from orchestration.analysis.showing.pages import write_pages

        name = (settings.fits / CURRENT).readlink().name
        _, manifest = read_fit(settings.fits / name)
        version = published(settings)
        out = settings.report
        written = write_pages(settings.fits / name, dict(version.manifest), out, settings.small_cell)
        is_named = out.is_file() and name in out.read_text(encoding="utf-8")
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name=STATES,
                    passed=is_named,
                    description=None if is_named else f"the page does not name fit {name}; materialise it again",
                    metadata={"files": len(written)},
                )
            ],
            data_version=dg.DataVersion(f"{name} {version.version_id}"),
            metadata={
                "fit": name,
                "version": manifest["version_id"],
                "path": dg.MetadataValue.path(str(out)),
                "files": len(written),
            },
        )

    return report


def analysis_assets(
    settings: Settings,
    chain: dg.AutomationCondition,
    refit: dg.AutomationCondition,
    show: dg.AutomationCondition,
    progress: Progress = nobody,
) -> list[dg.AssetsDefinition]:
    """Fingerprint, fit and report. `progress` is told how far the fit is."""
    return [model_inputs_asset(settings, chain), fit_asset(settings, refit, progress), report_asset(settings, show)]
