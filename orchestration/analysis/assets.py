"""From a published version to a fit and its report: the fingerprint of what models read, the refit, the page.

The fit hangs on the fingerprint, so that new rows refit and the same rows do not. The work is in `fit.py`,
`comparison.py` and `report.py`.
"""

import json
from collections.abc import Iterator

import dagster as dg

from orchestration.analysis.fit import fit_id, read_fit, room_hash, run_fit, write_fit
from orchestration.analysis.inputs import MODEL_TABLES, read_inputs
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import folder_by_rename, swap_link, write_json
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.warehouse.versions import Version, current_version, fingerprint, verify

VERSIONS, ANALYSIS = "versions", "analysis"
VERSION = dg.AssetKey(["versions", "version"])
FINGERPRINT = dg.AssetKey(["versions", "model_inputs"])
FIT = dg.AssetKey(["analysis", "fit"])
REPORT = dg.AssetKey(["analysis", "report"])
CURRENT = "current"


class NothingPublished(RuntimeError):
    """Models read published versions only, and there is none."""


def _published(settings: Settings) -> Version:
    version = current_version(settings)
    if version is None:
        raise NothingPublished("no version is published: nothing can be fitted")
    return version


def model_inputs_asset(settings: Settings, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The fingerprint of the rows that models read."""

    @dg.asset(
        key=FINGERPRINT,
        group_name=VERSIONS,
        deps=[VERSION],
        description="A fingerprint of the rows that models read. While it stays the same, nothing is refitted.",
        owners=["team:stewards"],
        automation_condition=condition,
    )
    def model_inputs() -> dg.MaterializeResult:
        version = _published(settings)
        mark = fingerprint(version, MODEL_TABLES)
        tables = version.manifest["tables"]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(mark),
            metadata={
                "version": version.version_id,
                "fingerprint": mark[:16],
                **{f"rows_{name}": tables[name]["rows"] for name in MODEL_TABLES},
            },
        )

    return model_inputs


def fit_asset(settings: Settings, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The refit of all models on the published version."""

    @dg.asset(
        key=FIT,
        group_name=ANALYSIS,
        deps=[FINGERPRINT],
        description="The recidivism models (Cox, multiple imputation, errors by officer), change patterns and determinants.",
        owners=["team:researchers"],
        kinds={"python"},
        code_version=room_hash()[:16],
        automation_condition=condition,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                "benchmark", asset=FIT, blocking=True,
                description="The published estimates of the North Carolina cohort are found again, to every printed digit.",
            ),
            dg.AssetCheckSpec(
                "second_engine", asset=FIT, blocking=True,
                description="Another implementation finds the same coefficients and errors, to 1e-7.",
            ),
        ],
    )  # fmt: skip
    def fit(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        version = _published(settings)
        verify(version)
        spec = specification(settings)
        mark = fingerprint(version, MODEL_TABLES)
        name = fit_id(mark, spec, settings.seed)
        folder = settings.fits / name
        result = run_fit(read_inputs(version.folder), spec, settings.seed)
        manifest = {
            "fit_id": name,
            "version_id": version.version_id,
            "fingerprint": mark,
            "simulated": version.manifest["simulated"],
            "registry_cutoff_on": version.manifest["registry_cutoff_on"],
        }
        with folder_by_rename(folder) as aside:
            write_fit(result, aside, manifest)
        is_good = result.engines_agree and result.benchmark_agrees
        if is_good:
            _explain(settings, name)
            swap_link(settings.fits / CURRENT, name)
            Ledger(settings.ledger_location).record_fit(name, version.version_id, mark)
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(name),
                metadata={
                    "fit": name,
                    "version": version.version_id,
                    "estimates": len(result.estimates),
                    "models_not_estimable": result.not_estimable,
                    "imputations": result.imputations,
                    **_events(result.estimates),
                },
            )
        compared = result.benchmark
        yield dg.AssetCheckResult(
            check_name="benchmark",
            passed=result.benchmark_agrees,
            metadata={"numbers": len(compared), "disagreeing": int((~compared["agrees"].astype(bool)).sum())},
        )
        yield dg.AssetCheckResult(
            check_name="second_engine", passed=result.engines_agree, metadata={"models": len(result.engine_agreement)}
        )

    return fit


def specification(settings: Settings) -> Specification:
    """The models of the repository with the number of imputations of the settings."""
    return read_specification().with_imputations(settings.imputations)


def _events(estimates: object) -> dict[str, int]:
    frame = estimates.groupby("outcome_id")["events"].max()  # type: ignore[attr-defined]
    return {f"events_{outcome}": int(count) for outcome, count in frame.items()}


def _explain(settings: Settings, name: str) -> None:
    """Write what changed since the fit before beside the new fit, as counts and moves of estimates."""
    from orchestration.analysis.comparison import compare_fits

    link = settings.fits / CURRENT
    before = link.readlink().name if link.is_symlink() else None
    if before == name:
        return
    compared = compare_fits(settings.fits / before if before else None, settings.fits / name)
    moves = compared.moves.to_json(orient="records", double_precision=15)
    write_json(settings.fits / f"{name}.changes.json", {**compared.summary(), "moves": json.loads(moves)})


def report_asset(settings: Settings, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The page that a person looks at first."""

    @dg.asset(
        key=REPORT,
        group_name=ANALYSIS,
        deps=[FIT],
        description="One self-contained page: flow, alliance by wave, recidivism by Trust, estimates, benchmark.",
        owners=["team:researchers"],
        kinds={"html"},
        automation_condition=condition,
    )
    def report() -> dg.MaterializeResult:
        from orchestration.analysis.report import render_report

        name = (settings.fits / CURRENT).readlink().name
        _, manifest = read_fit(settings.fits / name)
        version = _published(settings)
        out = settings.home_path / "report.html"
        render_report(settings.fits / name, dict(version.manifest), out)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(f"{name} {version.version_id}"),
            metadata={"fit": name, "version": manifest["version_id"], "path": dg.MetadataValue.path(str(out))},
        )

    return report


def analysis_assets(
    settings: Settings, chain: dg.AutomationCondition, refit: dg.AutomationCondition
) -> list[dg.AssetsDefinition]:
    """Fingerprint, fit and report."""
    return [model_inputs_asset(settings, chain), fit_asset(settings, refit), report_asset(settings, chain)]
