"""The commands that people type. Each is thin: it opens the home, calls one function, and says what came of it.

Heavy libraries are imported where they are used, so that `--help`, `status` and `versions` answer at once.
"""

from __future__ import annotations

import atexit
import errno
import gc
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from datetime import datetime

    from orchestration.deliveries.contracts import Organisation
    from orchestration.settings import Settings

# A command lives for seconds and loads libraries of hundreds of thousands of objects: with Python's own thresholds it
# looks through all of them, again and again, for garbage that is not there.
COLLECT_SELDOM = (100_000, 20, 50)


class _Trouble(click.ClickException):
    """Something that a person can do something about: said in one line, without a traceback."""

    def show(self, file: Any = None) -> None:
        click.echo(f"delictvrij: {self.format_message()}", err=True)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let only those in who may, and turn the errors that people can mend into one line and exit code 1."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            _require_role()
            return function(*args, **kwargs)
        except (Mendable, FileExistsError, PermissionError) as error:
            raise _Trouble(str(error)) from None
        except Exception as error:
            said = _said_of_surroundings(error)
            if said is None:
                raise
            raise _Trouble(said) from None

    return wrapped


def _said_of_surroundings(error: BaseException) -> str | None:
    """What is wrong around the platform, and what to do: a setting, a disk, a database; None where it is something else."""
    if isinstance(error, ValueError) and type(error).__name__ == "ValidationError":
        return _said_of_settings(error) if getattr(error, "title", "") == "Settings" else None
    after = "; what was published is as it was, and the next `refresh` goes on from there"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: make room{after}"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EIO):
        return f"the disk cannot be written to ({os.strerror(error.errno or 0).lower()}): see to it{after}"
    if type(error).__name__ == "OperationalError":  # of sqlite3, or as SQLAlchemy passes it on
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        return f"a database cannot be used ({reason}): is its disk full or read-only, does its server run{after}"
    return None


def _said_of_settings(error: Any) -> str:
    """Which settings are wrong and what may stand there; what stands there may be a secret and is not said."""
    wrong = [
        f"DELICTVRIJ_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" if one["loc"] else str(one["msg"])
        for one in error.errors(include_input=False)
    ]
    return f"{len(wrong)} setting(s) are not what they may be; {'; '.join(wrong)}"


def _require_role() -> None:
    """That who is signed on may use this command, as `roles.yml` says. Raises NotAllowed and RolesWrong."""
    from orchestration.settings import Settings

    settings = Settings()
    if settings.roles is not None:
        from orchestration.roles import require

        require(settings, _action(click.get_current_context()))


def _action(context: click.Context) -> str:
    """The name of a command as `roles.yml` has it: a group and its command joined by a dot."""
    above = _action(context.parent) if context.parent and context.parent.parent else ""
    return f"{above}.{context.info_name}".removeprefix(".")


def _json(content: Any) -> None:
    click.echo(json.dumps(content, indent=1, sort_keys=True, default=str, ensure_ascii=False))


def _leave(code: int) -> NoReturn:
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="delictvrij")
def main() -> None:
    """The working alliance and recidivism: deliveries in, versions and refitted models out."""
    gc.set_threshold(*COLLECT_SELDOM)


@main.command()
@_plainly
def init() -> None:
    """Make the home, its pseudonym key and its ledger."""
    from orchestration.home import home_settings, initialise

    settings = home_settings()
    made = initialise(settings)
    click.echo(f"home {made.home}")
    click.echo(
        f"key {made.key_id} at {settings.key_path} ({'new; keep it safe and apart' if made.is_new_key else 'known'})"
    )


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--clients", default=200, show_default=True, type=click.IntRange(10, 10_000_000), help="Number of clients."
)
@click.option(
    "--seed", default=20260101, show_default=True, type=click.IntRange(0), help="The same seed gives the same bytes."
)
@click.option("--form", type=click.Choice(["csv"]), help="Let every source deliver CSV instead of its own form.")
@click.option(
    "--periods",
    type=click.Choice(["all", "last"]),
    default="all",
    show_default=True,
    help="The whole backlog or the last snapshots.",
)
@click.option("--mutate", metavar="NAME", help="Spoil one of the last deliveries in a named way.")
@_plainly
def simulate(out: Path, clients: int, seed: int, form: str | None, periods: str, mutate: str | None) -> None:
    """Write the deliveries of a simulated cohort, its consents (consents.csv) and what is true of it (truth.json) to OUT."""
    from orchestration.simulation import simulate as run
    from orchestration.simulation.mutations import MUTATIONS

    if mutate is not None and mutate not in MUTATIONS:
        raise click.BadParameter(f"choose from {', '.join(sorted(MUTATIONS))}", param_hint="--mutate")
    which: Literal["all", "last"] = "last" if periods == "last" else "all"
    truth = run(out, clients, seed, form, which)
    click.echo(f"{truth['deliveries']} simulated deliveries of {clients} clients in {out}")
    if mutate is not None:
        delivery = _spoil_one(out, mutate)
        expected = MUTATIONS[mutate].rule
        said = f"the gate should say {expected}" if expected else "the gate should accept it"
        click.echo(f"spoiled ({mutate}; {said}): {delivery}")


def _spoil_one(out: Path, name: str) -> Path:
    """Spoil the last delivery of the first organisation that has something to spoil; its folder."""
    from orchestration.simulation.mutations import CannotMutate, mutate

    for organisation in ("rn", "registry", "svg", "ljr"):
        delivery = max(path for path in out.glob(f"{organisation}/*/*") if path.is_dir())
        try:
            mutate(delivery, name)
        except CannotMutate:
            continue
        return delivery
    raise click.BadParameter("no delivery has anything to spoil in this way", param_hint="--mutate")


@main.command()
@click.argument("delivery", type=click.Path(path_type=Path))
@click.option("--lang", type=click.Choice(["nl", "en"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the verdict as one page that can be mailed, too.")
@click.option("--offline", is_flag=True, help="Without a home, as a partner does before sending.")
@click.option(
    "--reference", type=click.Path(path_type=Path), help="Offline: the counts that came with the last receipt."
)
@click.option("--changes", "with_changes", is_flag=True, help="Build aside, and say what would change.")
@_plainly
def check(
    delivery: Path,
    lang: str,
    as_json: bool,
    html: Path | None,
    offline: bool,
    reference: Path | None,
    with_changes: bool,
) -> None:
    """Judge a delivery without taking it in: 0 accepted, 1 rejected, 2 not a delivery."""
    from orchestration.deliveries.contracts import read_contracts
    from orchestration.deliveries.ingest import Receipt, check_delivery, placed, report
    from orchestration.deliveries.letter import letter
    from orchestration.deliveries.manifest import NotADelivery
    from orchestration.deliveries.offline import OfflineVerdict, check_offline, read_reference
    from orchestration.deliveries.page import closing_words, page
    from orchestration.files import write_atomically
    from orchestration.home import home_settings, opened
    from orchestration.roles import require_own

    if reference and not offline:
        raise click.UsageError("--reference goes with --offline")
    if with_changes and offline:
        raise click.UsageError("--changes needs what the platform knows; it does not go with --offline")
    settings = home_settings()
    changes: dict[str, int] | None = None
    try:
        if settings.roles is not None:
            require_own(settings, placed(delivery.resolve(), read_contracts(settings.expectations))[0])
        if offline:
            found = check_offline(delivery, settings, read_reference(reference) if reference else None)
        else:
            ledger = opened(settings)
            receipt: Receipt = check_delivery(delivery, settings, ledger)
            found = OfflineVerdict(receipt, ())
            if with_changes and receipt.status == "accepted":
                changes = _changes(delivery, settings)
    except NotADelivery as error:
        click.echo(f"delictvrij: {error}", err=True)
        _leave(2)
    organisation = read_contracts(settings.expectations)[found.receipt.organisation]
    if html:
        write_atomically(html, page(found.receipt, organisation, lang, found.not_applied, changes).encode())
    if as_json:
        _json({**report(found.receipt), "not_applied": list(found.not_applied), "changes": changes})
    else:
        click.echo(letter(found.receipt, organisation, lang))
        click.echo(closing_words(found.not_applied, lang))
        for name, count in (changes or {}).items():
            click.echo(f"{name}: {count}")
    _leave(0 if found.receipt.status != "rejected" else 1)


def _changes(delivery: Path, settings: Settings) -> dict[str, int]:
    from orchestration.analysis.inputs import MODEL_TABLES
    from orchestration.ledger import Ledger
    from orchestration.warehouse.preview import preview

    return preview(delivery, settings, Ledger.of(settings), MODEL_TABLES).as_counts()


@main.command()
@click.argument("organisation")
@click.argument("out", type=click.Path(path_type=Path))
@_plainly
def specification(organisation: str, out: Path) -> None:
    """Write what a partner is asked to deliver, in Dutch, with a template and an example of each table, to OUT."""
    from orchestration.deliveries.contracts import read_organisations
    from orchestration.settings import Settings
    from orchestration.simulation.specification import write_specification

    expectations = Settings().expectations
    if organisation not in (known := read_organisations(expectations)):
        raise click.BadParameter(f"choose from {', '.join(sorted(known))}", param_hint="ORGANISATION")
    for path in write_specification(out, organisation, expectations):
        click.echo(str(path))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
@_plainly
def refresh(as_json: bool) -> None:
    """Take in what waits, build, publish, and refit what has changed."""
    from orchestration.deliveries.contracts import read_organisations
    from orchestration.deliveries.inbox import is_backlog, waiting
    from orchestration.home import home_settings, readings
    from orchestration.workers import apart

    settings = home_settings()
    waits = waiting(settings, readings(settings), read_organisations(settings.expectations))
    if is_backlog(waits) or settings.sources_file:
        _leave(apart(_refresh, settings, as_json, workers=os.cpu_count() or 1))
    _leave(_refresh(settings, as_json, workers=min(len(waits), 1)))


def _refresh(settings: Settings, as_json: bool, workers: int = 0) -> int:
    from orchestration.definitions import launch
    from orchestration.deliveries.sources import read_sources
    from orchestration.deliveries.transports import WHY
    from orchestration.ledger import Ledger, now
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.versions import current_id

    ledger = Ledger.of(settings)
    before, began = current_id(settings), now()
    with progress_on_terminal(is_quiet=as_json) as progress:
        done = launch(settings, progress, workers=workers)
    _write_status(settings)
    deliveries = [record for record in ledger.deliveries() if record.decided_at and record.decided_at >= began]
    rejected = [record for record in deliveries if record.status == "rejected"]
    after, fits = current_id(settings), ledger.fits()
    if as_json:
        _json(
            {
                "is_success": done.is_success,
                "deliveries": [
                    {"organisation": record.organisation, "period": record.period, "delivery_id": record.delivery_id, "status": record.status}
                    for record in deliveries
                ],
                "unplaced": list(done.unplaced),
                "rebuilt": list(done.requested),
                "version": after,
                "is_new_version": after != before,
                "fit": fits[-1]["fit_id"] if fits else None,
                "untold": done.untold,
                "failed_runs": [run.run_id for run in done.runs if not run.is_success],
            }
        )  # fmt: skip
        return 0 if done.is_success else 1
    click.echo(f"deliveries: {len(deliveries) - len(rejected)} taken in, {len(rejected)} rejected")
    for record in rejected:
        folder = (
            settings.letters
            / record.organisation
            / record.period
            / f"{record.delivery_id}-{record.manifest_sha256[:8]}"
        )
        rules = sorted(
            {
                item["rule"]
                for item in ledger.judgements(record.manifest_sha256)
                if item["status"] in ("failed", "error")
            }
        )
        click.echo(
            f"  rejected {record.organisation} {record.period} {record.delivery_id}: {', '.join(rules)}; letter in {folder}"
        )
    for place in done.unplaced:
        click.echo(f"  not taken in {place}: its period is not one that this organisation delivers")
    for name in read_sources(settings.sources_file):
        last = ledger.fetchings(name)[-1:]
        if last and last[0]["trouble"]:
            click.echo(f"  not fetched from {name}: {last[0]['trouble']}: {WHY[last[0]['trouble']]}")
    if done.untold:
        click.echo(f"alerts: {done.untold}")
    if done.requested:
        click.echo(f"rebuilt: {len(done.requested)} assets")
    click.echo(f"version: {after or 'none yet'} ({'new' if after != before else 'unchanged'})")
    for run in done.runs:
        if not run.is_success and run.name == "__ASSET_JOB":
            click.echo(f"  run {run.run_id[:8]} failed; the published version is as it was; see `delictvrij ui`")
    return 0 if done.is_success else 1


def _write_status(settings: Settings) -> None:
    """The status page of now, in both languages, in the home."""
    from datetime import datetime

    from orchestration.deliveries.contracts import read_organisations
    from orchestration.home import readings
    from orchestration.stewards.status_page.overview import overview
    from orchestration.stewards.status_page.page import write_pages

    organisations = read_organisations(settings.expectations)
    write_pages(settings, overview(settings, readings(settings), organisations, datetime.now().astimezone()))


def _organisation(settings: Settings, name: str) -> Organisation:
    from orchestration.deliveries.contracts import read_contracts

    contracts = read_contracts(settings.expectations)
    if name not in contracts:
        raise click.BadParameter(f"choose from {', '.join(sorted(contracts))}", param_hint="ORGANISATION")
    return contracts[name]


@main.command()
@click.argument("delivery")
@click.argument("table")
@click.argument("row", type=click.IntRange(1))
@click.argument("column")
@click.option("--becomes", required=True, help="What it should say, as the contract spells it; '' for empty.")
@click.option("--why", required=True, help="How it is known that the source is wrong.")
@click.option("--reported-to", required=True, help="Who was told at the source.")
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it holds.")
@_plainly
def correct(
    delivery: str, table: str, row: int, column: str, becomes: str, why: str, reported_to: str, until: datetime
) -> None:
    """Correct one value that the source has wrong: TABLE, ROW (1 is the first under the header) and COLUMN of DELIVERY.

    DELIVERY, as ORGANISATION/PERIOD/ID, still lies in landing. What was delivered is kept as it is; the correction is applied
    to this and later deliveries until the source is mended.
    """
    from orchestration.audit import record
    from orchestration.deliveries.corrections import CannotCorrect
    from orchestration.deliveries.corrections import correct as write
    from orchestration.deliveries.ingest import known_key
    from orchestration.deliveries.retraction import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        named = [
            known
            for known in ledger.deliveries()
            if f"{known.organisation}/{known.period}/{known.delivery_id}" == delivery and known.status != "retracted"
        ]
        if not named or until.date() < now().date():
            raise CannotCorrect(
                "the ledger knows no delivery of that name, or the day is over; `delictvrij status` lists them"
            )
        made = write(
            settings, ledger, _organisation(settings, named[-1].organisation), named[-1], known_key(settings, ledger),
            (table, row, column), becomes, why, reported_to, signed_on(), until.date(),
        )  # fmt: skip
    about = f"{table}.{made.column} of {delivery}: entry {made.number} until {made.until}"
    record(opened(settings), "delivery.corrected", about, who=signed_on())
    click.echo(f"entry {made.number} of {settings.corrections_file}: {made.table}.{made.column} until {made.until}")


@main.command()
@_plainly
def recipient() -> None:
    """Say the public key that partners seal deliveries for; the first time, make the key that opens them."""
    from orchestration.deliveries.sealing import make_opening_key
    from orchestration.deliveries.sealing import recipient as public_key
    from orchestration.settings import Settings

    path = Settings().opening_key_path
    if not path.exists():
        make_opening_key(path)
        click.echo(f"new key at {path}; keep it safe: without it no sealed delivery can be opened", err=True)
    click.echo(public_key(path))


@main.command()
@click.argument("delivery", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "public_key", required=True, help="The public key of the platform; it begins with age1.")
@_plainly
def seal(delivery: Path, out: Path, public_key: str) -> None:
    """Seal a delivery that only the platform can open, as a partner does before sending: the folder OUT is what to send."""
    from orchestration.deliveries.manifest import NotADelivery, manifest_hash
    from orchestration.deliveries.sealing import seal as pack

    try:
        manifest_hash(delivery)
    except NotADelivery as error:
        click.echo(f"delictvrij: {error}", err=True)
        _leave(2)
    click.echo(str(pack(delivery, public_key, out)))


@main.command()
@click.argument("delivery")
@click.option("--reason", required=True, help="Why it is taken back; kept on record.")
@_plainly
def retract(delivery: str, reason: str) -> None:
    """Take back a delivery that was sent or accepted by mistake; the next refresh builds without it.

    DELIVERY is its id, or ORGANISATION/PERIOD/ID where an id is used twice. What it held stays in the raw store and counts
    for nothing; the same delivery stays out, a new one (another id, a higher sequence) is taken in as any other.
    """
    from orchestration.automation import announce, instance_of
    from orchestration.deliveries.contracts import read_contracts
    from orchestration.deliveries.retraction import retract as take_back
    from orchestration.home import home_settings, opened
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        record = take_back(opened(settings), delivery, reason)
        with instance_of(settings) as instance:
            announce(settings, read_contracts(settings.expectations), instance)
    click.echo(
        f"taken back: {record.organisation} {record.period} {record.delivery_id}; `delictvrij refresh` builds without it"
    )


@main.command()
@click.argument("delivery")
@click.argument("rule")
@click.option("--reason", required=True, help="Why the failed rule is accepted; stands in every letter.")
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it holds.")
@_plainly
def waive(delivery: str, rule: str, reason: str, until: datetime) -> None:
    """Accept a failed RULE for one rejected DELIVERY, in the name of who is signed on.

    Two people sign by typing the same; the next refresh judges the delivery again. The rule deliveries.missing, with the
    name of an organisation in the place of a delivery, lets builds be made without one that never delivered. The rule
    marts.drift, with the published version in that place, lets the next one have far fewer clients or events.
    """
    from orchestration.audit import record
    from orchestration.deliveries.retraction import signed_on
    from orchestration.deliveries.waivers import DRIFT, MISSING, PEOPLE, waive_drift, waive_missing
    from orchestration.deliveries.waivers import waive as sign
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.warehouse.build import one_writer
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    with one_writer(settings):
        terms = (reason, until.date(), signed_on(), now().date())
        if rule == MISSING:
            organisation = _organisation(settings, delivery)
            waiver = waive_missing(settings.waivers_file, opened(settings), organisation, *terms)
            place = organisation.name
        elif rule == DRIFT:
            place = named_version(settings, delivery).version_id
            waiver = waive_drift(settings.waivers_file, place, *terms)
        else:
            waiver, named = sign(settings.waivers_file, opened(settings), delivery, rule, *terms)
            place = f"{named.organisation} {named.period} {named.delivery_id}"
    record(opened(settings), "rule.waived", f"{rule} for {place} until {waiver.until}", reason.strip(), signed_on())
    if waiver.holds(now().date()):
        then = {MISSING: "builds without it", DRIFT: "publishes what falls short of it"}.get(rule, "judges it again")
        click.echo(f"{rule} is waived for {place} until {waiver.until}; `delictvrij refresh` {then}")
    else:
        click.echo(f"signed by {len(waiver.by)} of {PEOPLE}: {rule} of {place}; somebody else types the same")


@main.command("sign-off")
@click.argument("fit")
@click.option("--reason", required=True, help="Why the risks may have moved so far; kept on record.")
@_plainly
def sign_off(fit: str, reason: str) -> None:
    """Accept FIT, which is held because the risks of the reference people moved too far, in the name of who is signed on.

    Two people sign by typing the same; with the second signature the fit takes the place of the last good one. What another
    check holds cannot be signed away.
    """
    from orchestration.analysis.signoff import sign_off as sign
    from orchestration.deliveries.retraction import signed_on
    from orchestration.deliveries.waivers import PEOPLE
    from orchestration.home import home_settings, opened
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        held = sign(opened(settings), fit, reason, signed_on())
    if not held.is_signed:
        click.echo(f"signed by {len(held.by)} of {PEOPLE}: fit {held.fit_id}; somebody else types the same")
        return
    from orchestration.definitions import judge_again

    done = judge_again(settings)
    ledger = opened(settings)
    if done.is_success and ledger.fits()[-1]["fit_id"] == held.fit_id:
        click.echo(f"fit {held.fit_id} is signed by {', '.join(held.by)} and takes the place of {held.stays}")
        return
    from orchestration.status import held_back

    click.echo(held_back(ledger) or f"the run {done.run_id[:8]} failed; see `delictvrij ui`")
    _leave(1)


@main.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--html", "page_file", type=click.Path(path_type=Path, dir_okay=False), help="Write it as one page, too.")
@click.option(
    "--lang", type=click.Choice(["nl", "en"]), default="nl", show_default=True, help="The language of the page."
)
@_plainly
def status(as_json: bool, page_file: Path | None, lang: str) -> None:
    """Show each organisation and period: oldest problem first."""
    from dataclasses import asdict
    from datetime import datetime

    from orchestration.deliveries.contracts import read_organisations
    from orchestration.home import home_settings, readings
    from orchestration.status import held_back, lines

    settings = home_settings()
    organisations = read_organisations(settings.expectations)
    ledger, moment = readings(settings), datetime.now().astimezone()
    if page_file is not None:
        from orchestration.stewards.status_page.overview import overview
        from orchestration.stewards.status_page.page import page

        if not page_file.parent.is_dir():
            raise click.UsageError(f"--html: there is no folder {page_file.parent.name}")
        seen = overview(settings, ledger, organisations, moment)
        page_file.write_text(page(seen, lang, with_other=False), encoding="utf-8")
    found = lines(settings, ledger, organisations, moment.date())
    if as_json:
        _json([asdict(line) for line in found])
        return
    click.echo(f"{'organisation':16}{'period':10}{'state':11}{'rows':>9}  due         why")
    for line in found:
        click.echo(
            f"{line.organisation:16}{line.period:10}{line.state:11}{line.rows:>9}  {line.due_on}  {line.reason}".rstrip()
        )
    if held := held_back(ledger):
        click.echo(held)


@main.command()
@click.option("--rule", help="One rule, in every delivery; else each rule that ever failed.")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def rules(rule: str | None, as_json: bool) -> None:
    """Show each rule over the deliveries, and where today's contract would judge the same counts differently."""
    from dataclasses import asdict

    from orchestration.deliveries.contracts import read_contracts
    from orchestration.deliveries.trend import noticed, trend
    from orchestration.home import home_settings, readings

    settings = home_settings()
    found = trend(readings(settings), read_contracts(settings.expectations), rule)
    shown = found if rule else list(noticed(found))
    if as_json:
        _json([{**asdict(point), "share": point.share} for point in shown])
        return
    for point in shown:
        counts = "" if point.evaluated is None else f"{point.failed} of {point.evaluated}"
        place = ", ".join(part for part in (point.table, point.column) if part)
        now = f"; now {point.status_now} (at most {point.threshold_now:.1%})" if point.has_changed else ""
        click.echo(
            f"{point.organisation:16}{point.period:10}{point.rule:20}{point.status:16}{counts:>18}  {place}{now}".rstrip()
        )
    if not shown:
        click.echo("no delivery has been judged by it" if rule else "no rule has failed in any delivery")


@main.command()
@click.option("--json", "as_json", is_flag=True)
@_plainly
def versions(as_json: bool) -> None:
    """List the published versions; the current one is marked."""
    from orchestration.home import home_settings, readings
    from orchestration.status import listed_versions

    settings = home_settings()
    found = listed_versions(settings, readings(settings))
    if as_json:
        _json(found)
        return
    for entry in found:
        mark = "*" if entry["is_current"] else " "
        label = " SIMULATED" if entry["simulated"] else ""
        click.echo(
            f"{mark} {entry['version_id']}  {entry['first_built_at']}  {entry['rows']:>8} rows  "
            f"{entry['builds']} build(s)  {entry['fits']} fit(s){label}"
        )
    if not found:
        click.echo("nothing has been published yet")


@main.command()
@click.argument("old")
@click.argument("new", default="current")
@click.option("--json", "as_json", is_flag=True)
@click.option("--html", "page_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write it as a page.")
@_plainly
def diff(old: str, new: str, as_json: bool, page_file: Path | None) -> None:
    """Show what changed from version OLD to NEW (default: current): rows, past outcomes, definitions, and why.

    A version is named by its id, the beginning of it, or `current`. Leaves with 0 when they hold the same, 1 when not.
    """
    from orchestration.home import home_settings, opened
    from orchestration.warehouse.diff import CAUSES, PAST, PROGRESS, page
    from orchestration.warehouse.evidence import compared
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    found = compared(settings, opened(settings), named_version(settings, old), named_version(settings, new))
    if page_file is not None:
        if not page_file.parent.is_dir():
            raise click.UsageError(f"--html: there is no folder {page_file.parent.name}")
        page_file.write_text(page(found), encoding="utf-8")
    if as_json:
        _json(found.as_record())
        _leave(0 if found.is_same else 1)
    label = "  SIMULATED" if found.simulated else ""
    click.echo(f"{found.old} -> {found.new}{label}")
    for name, change in found.tables.items():
        if change.is_same:
            continue
        columns = ", ".join(f"{column} {count}" for column, count in change.columns.items())
        click.echo(f"  {name:28}+{change.added} -{change.removed} ~{change.changed}  {columns}".rstrip())
        for what, names in (("new", change.columns_added), ("gone", change.columns_removed)):
            if names:
                click.echo(f"  {'':28}columns {what}: {', '.join(names)}")
    for outcome, kinds in found.outcomes.items():
        for kind, count in kinds.items():
            mark = "PAST " if kind in PAST else ""
            click.echo(f"  {outcome:28}{mark}{count} {PAST.get(kind) or PROGRESS[kind]}")
    for cause, count in found.causes.items():
        click.echo(f"  because {count}: {CAUSES[cause]}")
    for name, definition in found.definitions.items():
        click.echo(f"  outcome {name}: {definition['change']} {', '.join(definition.get('columns', {}))}".rstrip())
    for name, rows in found.code_lists.items():
        click.echo(f"  code list {name}: +{rows['added']} -{rows['removed']}")
    for name, value in found.reasons.items():
        if value:
            said = "" if value is True else ": " + ", ".join(map(str, value))
            click.echo(f"  why: {name.replace('_', ' ')}{said}")
    click.echo("the same rows" if found.is_same else f"outcomes of the past that changed: {found.past_changed}")
    _leave(0 if found.is_same else 1)


@main.command()
@click.argument("outcome")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def revisions(outcome: str, as_json: bool) -> None:
    """Show how the events of OUTCOME were revised: a row for each quarter of start, a column for each version."""
    from orchestration.home import home_settings, readings
    from orchestration.status import listed_versions
    from orchestration.warehouse.revisions import revisions as revised
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    names = [entry["version_id"] for entry in listed_versions(settings, readings(settings))]
    made = sorted(
        (named_version(settings, name) for name in names), key=lambda item: item.manifest["registry_cutoff_on"]
    )
    found = revised(made, outcome)
    if as_json:
        _json(found.to_dict("records"))
        return
    label = "  SIMULATED" if any(version.manifest["simulated"] for version in made) else ""
    click.echo(f"{outcome}: events of people followed, by quarter of start and version (up to the cut-off){label}")
    shown = {(row.quarter, row.version_id): f"{row.events} of {row.followed}" for row in found.itertuples()}
    click.echo(f"{'':10}" + "".join(f"{version.version_id[:8]:>12}" for version in made))
    click.echo(f"{'':10}" + "".join(f"{version.manifest['registry_cutoff_on']:>12}" for version in made))
    for quarter in sorted(set(found["quarter"])):
        click.echo(f"{quarter:10}" + "".join(f"{shown.get((quarter, version.version_id), ''):>12}" for version in made))


@main.command()
@click.argument("version", default="current")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def reproduce(version: str, as_json: bool) -> None:
    """Build VERSION again from what it was built from, and compare. Leaves with 0 when every table is the same, 1 when not."""
    from orchestration.home import home_settings, opened
    from orchestration.warehouse import aside
    from orchestration.warehouse.build import one_writer
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        made = aside.reproduce(settings, ledger, named_version(settings, version))
    if as_json:
        _json({"version_id": made.version_id, "same": made.is_same, "differing": list(made.differing), "changed_since": list(made.changed_since)})  # fmt: skip
    else:
        since = f" (changed since it was built: {', '.join(made.changed_since)})" if made.changed_since else ""
        if made.is_same:
            click.echo(f"{made.version_id}: the same rows in every table{since}")
        else:
            click.echo(f"{made.version_id}: {len(made.differing)} tables differ: {', '.join(made.differing)}{since}")
            if "code" in made.changed_since or "code_lists" in made.changed_since:
                click.echo("the code or its seeds are not those that it was built with: check those out and try again")
    _leave(0 if made.is_same else 1)


@main.command()
@click.option("--version", default="current", show_default=True, help="A version by its id or the beginning of it.")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def multiverse(version: str, as_json: bool) -> None:
    """Fit every outcome definition x scale x rater x adjustment: one table, one picture, and what a correction leaves."""
    from orchestration.analysis.showing.multiverse import folder_of, make_multiverse
    from orchestration.analysis.specification import read_specification
    from orchestration.home import home_settings, readings
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    readings(settings)
    chosen = named_version(settings, version)
    spec = read_specification().with_imputations(settings.imputations)
    folder = folder_of(settings, chosen, spec, settings.seed)
    with progress_on_terminal(is_quiet=as_json) as progress:
        whole = make_multiverse(settings, chosen, spec, settings.seed, progress)
    if as_json:
        _json({**whole, "folder": str(folder)})
        return
    label = "  SIMULATED" if whole["simulated"] else ""
    click.echo(
        f"{whole['models']} models of version {chosen.version_id}: {whole['tests']} tests, {whole['refused']} refused{label}"
    )
    click.echo(
        f"below .05: {whole['below_5_percent']}; by Holm {whole['below_5_percent_holm']}, "
        f"by Benjamini-Hochberg {whole['below_5_percent_benjamini_hochberg']}"
    )
    click.echo(str(folder / "multiverse.png"))


@main.command("reproduce-fit")
@click.argument("fit", default="current")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def reproduce_fit(fit: str, as_json: bool) -> None:
    """Fit again what FIT (an id, the beginning of one, or `current`) was made from, and compare. Leaves with 0 when it is the same.

    To the bit where code, models and libraries are those it was made by; to 1e-8 where they are not.
    """
    from orchestration.analysis import reproduction
    from orchestration.home import home_settings, opened
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    opened(settings)
    folder = reproduction.named_fit(settings.fits, fit)
    version = named_version(settings, reproduction.version_of(folder))
    with progress_on_terminal(is_quiet=as_json) as progress:
        made = reproduction.reproduce_fit(folder, version, progress=progress)
    if as_json:
        _json({"fit_id": made.fit_id, "same": made.is_same, "differing": list(made.differing),
               "largest_difference": made.largest_difference, "changed_since": list(made.changed_since)})  # fmt: skip
    else:
        since = f" (changed since it was made: {', '.join(made.changed_since)})" if made.changed_since else ""
        how = "the same to the bit" if not made.differing else f"{', '.join(made.differing)} differ by at most {made.largest_difference:.1e}"  # fmt: skip
        click.echo(f"{made.fit_id}: {how}{since}")
    _leave(0 if made.is_same else 1)


@main.command()
@click.option(
    "--models", type=click.Path(path_type=Path), help="A whole file in the form of orchestration/analysis/models.yml."
)
@click.option(
    "--outcomes", type=click.Path(path_type=Path), help="Outcome definitions, as `delictvrij outcome` takes them."
)
@click.option("--version", default="current", show_default=True, help="A version by its id or the beginning of it.")
@click.option("--name", help="What the fit is called; by default a hash of what it was made of.")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def fit(models: Path | None, outcomes: Path | None, version: str, name: str | None, as_json: bool) -> None:
    """Fit models or outcome definitions of one's own on a version, kept apart in own/NAME with a report of its own.

    The platform's fits stay as they are, and so does what it says of itself.
    """
    from orchestration.analysis.own import REPORT, Asked, fit_own
    from orchestration.home import home_settings, opened
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.versions import named_version

    settings = home_settings()
    ledger = opened(settings)
    asked = Asked(named_version(settings, version), models, outcomes, name)
    with progress_on_terminal(is_quiet=as_json) as progress:
        made = fit_own(settings, ledger, asked, progress)
    said = made.manifest
    if as_json:
        _json({**said, "is_new": made.is_new, "folder": str(made.folder)})
        return
    label = "  SIMULATED" if said["simulated"] else ""
    click.echo(f"{made.name}: version {said['version_id']}, seed {said['seed']}{label}")
    click.echo(said["own"]["said"])
    click.echo(f"recovery: {said['recovery']['said']}")
    click.echo(
        f"{said['tables']['estimates']['rows']} estimates, {said['models_not_estimable']} models not estimable, "
        f"{said['models_with_few_events_per_parameter']} with fewer than 10 events for each parameter"
    )
    if said["models_with_few_events_and_no_penalty"]:
        click.echo(
            f"warning: {said['models_with_few_events_and_no_penalty']} of these have no penalty; "
            "recidivism.min_events_per_parameter says from where on"
        )
    if not made.is_new:
        click.echo("it was there, made of the same: the same to the bit")
    click.echo(str(made.folder / REPORT))


@main.command("known-on")
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@_plainly
def known_on(day: datetime) -> None:
    """Make the version of what was known at the end of DAY (UTC): from the deliveries that had been received by then.

    It is kept beside the others; `current` stays where it is.
    """
    from orchestration.home import home_settings, opened
    from orchestration.warehouse import aside
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        version, is_new = aside.known_on(settings, ledger, day.date())
    label = "  SIMULATED" if version.manifest["simulated"] else ""
    click.echo(f"{version.version_id}  what was known on {day.date()} ({'new' if is_new else 'was there'}){label}")


@main.group()
def permission() -> None:
    """The register of permissions: who may use what of a release, for what, on which basis, and until when."""


@permission.command("grant")
@click.option("--to", "person", required=True, help="The account name of who may use it.")
@click.option(
    "--basis", "bases", required=True, multiple=True, help="The legal basis; more than once where there are more."
)
@click.option("--purpose", required=True, help="What it is used for, in one line.")
@click.option("--reference", required=True, help="The number of the decision on paper.")
@click.option("--tables", required=True, help="Names with commas between; `imputed` for every imputed set, or `all`.")
@click.option("--classes", required=True, help="The classes of personal data, with commas between.")
@click.option("--from", "starts_on", type=click.DateTime(["%Y-%m-%d"]), help="The first day; today by default.")
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it holds.")
@_plainly
def permission_grant(
    person: str, bases: tuple[str, ...], purpose: str, reference: str, tables: str, classes: str,
    starts_on: datetime | None, until: datetime,
) -> None:  # fmt: skip
    """Sign a permission, in the name of who is signed on; two people sign by typing the same, neither of them who gets it.

    Which bases, classes and consents there are stands in orchestration/releases/policy.yml.
    """
    from orchestration.audit import signed_on
    from orchestration.deliveries.waivers import PEOPLE
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.catalogue import catalogue_in
    from orchestration.releases.registers import Terms, grant

    settings = home_settings()
    ledger, catalogue, today = opened(settings), catalogue_in(settings), now().date()
    terms = Terms(
        person, tuple(sorted(bases)), purpose, reference, tuple(sorted(tables.split(","))), tuple(sorted(classes.split(","))),
        starts_on.date() if starts_on else today, until.date(),
    )  # fmt: skip
    known = [table.name for table in catalogue.tables]
    made = grant(ledger, terms, catalogue.policy, known, by=signed_on(), today=today, years=settings.permission_years)
    if made.state(today) == "waiting":
        click.echo(
            f"signed by {len(made.by)} of {PEOPLE}: permission {made.permission_id}; somebody else types the same"
        )
        if starts_on is None:
            click.echo(f"on another day also --from {terms.starts_on}")
        return
    click.echo(f"permission {made.permission_id} of {person} is signed by {', '.join(made.by)}; it holds from {terms.starts_on} to {terms.ends_on}")  # fmt: skip


@permission.command("revoke")
@click.argument("permission_id")
@click.option("--reason", required=True, help="Why it ends; kept on record.")
@_plainly
def permission_revoke(permission_id: str, reason: str) -> None:
    """End a permission at once, named by its id or the beginning of it. What was handed over under it is in `release downloads`."""
    from orchestration.audit import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.releases.registers import revoke

    made = revoke(opened(home_settings()), permission_id, reason, by=signed_on())
    click.echo(f"permission {made.permission_id} of {made.terms.person} is revoked")


@permission.command("list")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def permission_list(as_json: bool) -> None:
    """List every permission there was, with its state today."""
    from dataclasses import asdict

    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.registers import permissions

    today, found = now().date(), permissions(opened(home_settings()))
    if as_json:
        _json(
            [
                {**asdict(one.terms), "permission_id": one.permission_id, "state": one.state(today), "by": list(one.by),
                 "revoked_by": one.revoked_by, "reason": one.reason}
                for one in found
            ]
        )  # fmt: skip
        return
    for one in found:
        terms = one.terms
        click.echo(
            f"{one.permission_id}  {terms.person:16}{one.state(today):10}{terms.starts_on} to {terms.ends_on}  "
            f"{', '.join(terms.bases)}; {terms.reference}; {', '.join(terms.tables)}; {', '.join(terms.classes)}"
        )
    if not found:
        click.echo("no permission has been given")


@main.group()
def consent() -> None:
    """The register of consents: which clients consented to what, by pseudonym, apart from the data of the study."""


@consent.command("take")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--left-out", default=0, show_default=True, type=click.IntRange(0), help="Clients of the register before that are missing on purpose, as after an erasure.")  # fmt: skip
@_plainly
def consent_take(file: Path, left_out: int) -> None:
    """Make FILE the register: CSV with ; and national_number, consent, given_on, withdrawn_on, earlier_data (kept or ended).

    It replaces the register before. FILE has national numbers and is not kept: remove it.
    """
    from orchestration.audit import signed_on
    from orchestration.deliveries.ingest import known_key
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.catalogue import read_policy
    from orchestration.releases.consents import take
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        taken = take(
            settings.consents_file, file, ledger, known_key(settings, ledger), read_policy().consents, by=signed_on(),
            today=now().date(), admits_test_numbers=settings.admit_test_numbers, left_out=left_out,
        )  # fmt: skip
    counts = taken.counts
    click.echo(f"{counts.clients} clients, {counts.entries} consents, {counts.withdrawn} withdrawn; {counts.left_out} clients left out")  # fmt: skip
    if taken.stay_out:
        click.echo(f"{taken.stay_out} client(s) of the file were erased here and stay out of the register")
    if taken.ended_here:
        click.echo(
            f"{taken.ended_here} consent(s) stand as withdrawn, which the file does not say: these people stopped here"
        )
    click.echo(f"{file} holds national numbers and is not needed any more: remove it")


@consent.command("list")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def consent_list(as_json: bool) -> None:
    """Say, for each consent, how many clients gave it and took it back. No client is named."""
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.consents import read_register, stand

    settings = home_settings()
    ledger = opened(settings)
    found = stand(read_register(settings.consents_file, ledger), now().date())
    if as_json:
        _json({"consents": found, "taken": [dict(row) for row in ledger.consent_registers()]})
        return
    if not found:
        click.echo("the register is empty: nobody has consented to anything")
    for name, counts in found.items():
        click.echo(f"{name:16}{counts['valid']:>8} valid{counts['withdrawn']:>8} withdrawn, of which {counts['kept']} leave what was collected in use")  # fmt: skip


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--version", default="current", show_default=True, help="The version whose deliveries are followed.")
@_plainly
def outcome(file: Path, version: str) -> None:
    """Compute the outcome definitions of FILE (CSV, the columns of seeds/outcome.csv) beside a version, which stays as it is."""
    from orchestration.home import home_settings, opened
    from orchestration.warehouse import aside
    from orchestration.warehouse.build import one_writer
    from orchestration.warehouse.outcomes import read_definitions
    from orchestration.warehouse.versions import named_version

    read_definitions(file)
    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        folder, rows = aside.own_outcomes(settings, ledger, named_version(settings, version), file)
    for name, count in rows.items():
        click.echo(f"{name:24}{count:>9} rows")
    click.echo(f"in {folder}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--mode",
    required=True,
    type=click.Choice(["stop", "erase"]),
    help="stop: nothing new; erase: out of everything, also what is old.",
)
@click.option("--reason", required=True, help="Why, without a name: it stays on record.")
@click.option(
    "--basis",
    type=click.Choice(["consent", "exception"]),
    default="consent",
    show_default=True,
    help="exception: erasure was asked for, and the exception for research is applied by decision; the data stay and stop.",
)
@click.option("--json", "as_json", is_flag=True, help="The receipt as JSON.")
@_plainly
def withdraw(file: Path, mode: str, reason: str, basis: str, as_json: bool) -> None:
    """Let the people whom FILE names leave the study. FILE is CSV: organisation, column, number.

    FILE is read once and nothing of it is kept; remove it afterwards. Interrupted at any moment, the next `withdraw` or
    `refresh` goes on.
    """
    from orchestration.deliveries.retraction import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.releases.withdrawal import Asked, begin
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    ledger = opened(settings)
    _finish_interrupted(settings)
    with one_writer(settings):
        begun = begin(settings, ledger, file, Asked(mode, basis, reason, signed_on()))
    from orchestration.definitions import finish_withdrawals  # heavy: not before the file is in order

    with progress_on_terminal(is_quiet=as_json) as progress:
        finish_withdrawals(settings, progress)
    (done,) = [item for item in ledger.withdrawals() if item.withdrawal_id == begun.withdrawal_id]
    receipt = json.loads(str(done.receipt))
    if as_json:
        _json(receipt)
        return
    click.echo(f"withdrawal {done.withdrawal_id}: {done.mode}, {done.people} people; {receipt['decision']}")
    for place, counts in receipt["places"].items():
        said = ", ".join(f"{count} {name}".replace("_", " ") for name, count in counts.items())
        click.echo(f"  {place}: {said}")
    for old, new in receipt["versions"].items():
        click.echo(f"  version {old} is now {new or 'gone: it could not be built again'}")
    public = receipt["public"]
    if done.mode == "erase":
        click.echo(
            f"  what is public stays until {public['batch']} people have left together; {public['people_waiting']} have"
        )
    click.echo(f"receipt: {settings.withdrawals / done.withdrawal_id / 'receipt.json'}")
    click.echo(f"{file.name} was not kept here: remove it where it lies")


@main.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", "recipient", help="Seal the copy for this public key of age; it begins with age1.")
@_plainly
def backup(out: Path, recipient: str | None) -> None:
    """Write a copy of the home into the folder OUT, every file with its checksum. The key is not in it, nor what lies in landing."""
    from orchestration.home import home_settings, opened
    from orchestration.stewards.backup import back_up
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    ledger = opened(settings)
    with one_writer(settings):
        made = back_up(settings, ledger, out, recipient)
    click.echo(f"{made.files} files, {made.size / 1e6:.1f} MB, version {made.version_id or 'none yet'}: {made.path}")
    click.echo(f"keep the key at {settings.key_path} elsewhere, apart from the copy: without it nothing comes back")


@main.command()
@click.argument("backup", type=click.Path(path_type=Path))
@click.option(
    "--opening-key", type=click.Path(path_type=Path), help="The private key of age, for a copy that was sealed."
)
@_plainly
def restore(backup: Path, opening_key: Path | None) -> None:
    """Make the home of a copy, where there is no home, and take out again who has withdrawn since. The key lies in its place."""
    from orchestration.home import home_settings
    from orchestration.settings import Settings
    from orchestration.stewards.backup import restore as bring_back
    from orchestration.terminal import progress_on_terminal

    back = bring_back(Settings(), backup, opening_key)
    from orchestration.definitions import finish_withdrawals  # heavy: not before the copy is known to be whole

    with progress_on_terminal(is_quiet=False) as progress:
        done = finish_withdrawals(home_settings(), progress)
    click.echo(f"the copy of {back.made_at}: {back.files} files, {back.versions} versions, {back.fits} fits, {back.releases} releases, all whole")  # fmt: skip
    click.echo(f"{len(done)} withdrawals were carried out again; {back.acts_lost} acts that came after the copy are not on record any more")  # fmt: skip
    click.echo("next: `delictvrij refresh` takes in what came since; partners send again what had not been judged")


@main.command()
@click.option("--clients", default=200, show_default=True, type=click.IntRange(50, 100_000))
@click.option("--seed", default=20260101, show_default=True, type=click.IntRange(0))
@_plainly
def demo(clients: int, seed: int) -> None:
    """Simulate four years of deliveries beside the real North Carolina cohort and take them all the way."""
    from orchestration import home
    from orchestration.settings import Settings
    from orchestration.simulation import simulate as run
    from orchestration.workers import apart, load_early

    settings = Settings(admit_test_numbers=True)
    if settings.home_path.exists() and any(settings.home_path.iterdir()) and not home.is_demo(settings):
        raise _Trouble(f"{settings.home_path} holds a home that is no demo; set DELICTVRIJ_HOME to another folder")
    home.forget(settings)
    settings.home_path.mkdir(parents=True)
    (settings.home_path / home.DEMO_MARK).touch()
    home.initialise(settings)
    load_early()
    truth = run(settings.inbox_path, clients, seed)
    click.echo(
        f"{truth['deliveries']} deliveries written: {clients} simulated clients, and the real North Carolina cohort"
    )
    take_simulated_consents(settings)
    code = apart(_refresh, settings, as_json=False, workers=os.cpu_count() or 1)
    if code == 0:
        click.echo(f"report: {settings.report}")
        click.echo("next: `delictvrij status`, `delictvrij versions`, `delictvrij release draft`, `delictvrij ui`")
    _leave(code)


@main.group("release")
def release_group() -> None:
    """The way of a version and its fit to researchers: drafted, approved by somebody else, superseded by the next."""


@release_group.command("draft")
@click.option("--version", default="current", show_default=True, help="A version by its id or the beginning of it.")
@click.option("--fit", default="current", show_default=True, help="A fit by its id or the beginning of it.")
@click.option("--tag", help="YYYY.MINOR.PATCH; by default what the rule makes of what changed.")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def release_draft(version: str, fit: str, tag: str | None, as_json: bool) -> None:
    """Write a release of a version and its fit, checked for disclosure, in the name of who is signed on.

    It goes nowhere before somebody else approves it, and never changes.
    """
    from orchestration.analysis.specification import read_specification
    from orchestration.audit import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.catalogue import catalogue_in
    from orchestration.releases.drafting import Asked, draft_release
    from orchestration.terminal import progress_on_terminal
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    asked = Asked(signed_on(), now().date(), version, fit, tag)
    with one_writer(settings), progress_on_terminal(is_quiet=as_json) as progress:
        made = draft_release(settings, opened(settings), asked, catalogue_in(settings), read_specification(), progress)
    if as_json:
        _json(made.__dict__)
        return
    click.echo(f"draft {made.tag}: version {made.version_id}, fit {made.fit_id}, after {made.after or 'none'}")
    click.echo(f"in {made.folder(settings)}; somebody else types `delictvrij release approve {made.tag}`")


@release_group.command("approve")
@click.argument("tag")
@click.option("--reason", default="", help="What was looked at; kept on record.")
@_plainly
def release_approve(tag: str, reason: str) -> None:
    """Approve the draft TAG of somebody else, in the name of who is signed on. The release before it is superseded."""
    from orchestration.audit import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.releases.approval import approve
    from orchestration.releases.shelf import write_shelf
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    ledger = opened(settings)
    with one_writer(settings):
        made = approve(settings, ledger, tag, signed_on(), reason)
        write_shelf(settings, ledger)
    then = f"; {made.after} is superseded" if made.after else ""
    click.echo(f"{made.tag} is approved by {made.decided_by} (drafted by {made.drafted_by}){then}")


@release_group.command("reject")
@click.argument("tag")
@click.option("--reason", required=True, help="Why; kept on record.")
@_plainly
def release_reject(tag: str, reason: str) -> None:
    """Reject the draft TAG, in the name of who is signed on. Its tag is not used again."""
    from orchestration.audit import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.releases.approval import reject
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        made = reject(opened(settings), tag, signed_on(), reason)
    click.echo(f"{made.tag} is rejected by {made.decided_by}")


@release_group.command("list")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def release_list(as_json: bool) -> None:
    """List the releases, and say of each whether it is still what was drafted. Leaves with 1 when one is not."""
    from orchestration.home import home_settings, readings
    from orchestration.releases.approval import damage, is_buried, releases

    settings = home_settings()
    found = [(release, damage(settings, release)) for release in releases(readings(settings))]
    if as_json:
        _json([{**release.__dict__, "damaged": files} for release, files in found])
    else:
        for release, files in found:
            by = f"drafted by {release.drafted_by}" + (f", {release.decided_by} decided" if release.decided_by else "")
            state = (
                "DAMAGED: its folder is gone"
                if files and not release.folder(settings).is_dir()
                else f"DAMAGED: {len(files)} file(s), {', '.join(files[:3])}"
                if files
                else "microdata withdrawn"
                if is_buried(release.folder(settings))
                else "as drafted"
            )
            click.echo(f"{release.tag:12}{release.state:12}{release.drafted_at.date()}  {release.version_id[:8]} {release.fit_id[:8]}  {by}; {state}")  # fmt: skip
        if not found:
            click.echo("nothing has been drafted yet")
    _leave(1 if any(files for _, files in found) else 0)


@release_group.command("hand-over")
@click.argument("tag")
@click.option("--to", "person", required=True, help="The account name of who receives it.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="An empty folder, or one that is not there yet."
)
@click.option("--tables", help="Names with commas between; by default all that the permission covers.")
@_plainly
def release_hand_over(tag: str, person: str, out: Path, tables: str | None) -> None:
    """Copy what PERSON has a permission for of an approved release to a folder, with a receipt beside it, on record.

    Only columns of the classes that the permission names, and only while everybody in them has a valid consent.
    """
    from orchestration.audit import signed_on
    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.catalogue import catalogue_in
    from orchestration.releases.handover import hand_over, kept_release, receipt_of
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    with one_writer(settings):
        ledger = opened(settings)
        receipt = hand_over(
            settings, ledger, kept_release(settings, ledger, tag), person, out, catalogue_in(settings), by=signed_on(),
            today=now().date(), tables=() if tables is None else tuple(tables.split(",")),
        )  # fmt: skip
    label = "  SIMULATED" if receipt.simulated else ""
    click.echo(f"{tag} to {person} under permission {receipt.permission_id}, until {receipt.until}{label}")
    for name, columns in receipt.columns.items():
        click.echo(f"  {name:28}{receipt.rows[name]:>8} rows{len(columns):>5} columns")
    click.echo(f"{receipt.columns_left_out} column(s) of these tables are not covered; receipt: {receipt_of(out)}")


@release_group.command("downloads")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def release_downloads(as_json: bool) -> None:
    """List who had what when; marked where the release has been superseded or withdrawn since, so that they can be told."""
    from dataclasses import asdict

    from orchestration.home import home_settings, opened
    from orchestration.ledger import now
    from orchestration.releases.handover import downloads

    settings = home_settings()
    found = downloads(settings, opened(settings), now().date())
    if as_json:
        _json([{**asdict(one), "is_stale": one.is_stale} for one in found])
        return
    for one in found:
        mark = "!" if one.is_stale or one.permission_state != "in_force" else " "
        click.echo(
            f"{mark} {one.handed_at:%Y-%m-%d %H:%M}  {one.tag:12}{one.person:16}{len(one.tables):>3} tables{one.columns:>5} columns  "
            f"release {one.release_state}, permission {one.permission_id} {one.permission_state}"
        )
    stale = sorted({one.person for one in found if one.is_stale})
    if stale:
        click.echo(f"to be told that there is a newer release, or none: {', '.join(stale)}")
    ended = sorted({one.person for one in found if one.permission_state != "in_force"})
    if ended:
        click.echo(f"to be told that a permission has ended, and to remove what they have: {', '.join(ended)}")
    if not found:
        click.echo("nothing has been handed over")


@main.command()
@click.option("--verify", "is_verified", is_flag=True, help="Leave with 1 when an entry is not as it was written.")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def audit(is_verified: bool, as_json: bool) -> None:
    """Show the audit trail: who did what, when, about what and why. With --verify, say which entries are not as they were written."""
    from dataclasses import asdict

    from orchestration.audit import Sealing, entry_of, findings
    from orchestration.files import locked
    from orchestration.home import home_settings, readings

    settings = home_settings()
    ledger, sealing = readings(settings), Sealing.of(settings)
    with locked(sealing.lock_file):  # nobody is between an entry and its seal
        entries = [entry_of(row) for row in ledger.audit()]
        found = findings(entries, sealing) if is_verified else []
    if as_json:
        _json({"entries": [asdict(entry) for entry in entries], **({"findings": [asdict(one) for one in found]} if is_verified else {})})  # fmt: skip
    elif is_verified:
        for one in found:
            click.echo(f"entry {one.number} {one.said}" if one.number else one.said)
        if not found:
            click.echo(f"{len(entries)} entries, each as it was written")
    else:
        for entry in entries:
            click.echo(f"{entry.number:>5}  {entry.at[:19]}  {entry.who:12}  {entry.what:20}  {entry.about}  {entry.why}".rstrip())  # fmt: skip
    _leave(1 if found else 0)


@main.group("store")
def store_group() -> None:
    """The bucket in which finished folders are kept beyond this machine."""


@store_group.command("push")
@_plainly
def store_push() -> None:
    """Bring what the bucket lacks: once, when a home gets one."""
    from orchestration.home import home_settings, opened
    from orchestration.store import push_all
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    opened(settings)
    with one_writer(settings):
        moved = push_all(settings)
    click.echo(f"{len(moved.folders)} folders brought to the store, {moved.bytes} bytes")


@store_group.command("pull")
@_plainly
def store_pull() -> None:
    """Bring what this home lacks: what another machine made, or everything, on a new one."""
    from orchestration.home import home_settings, opened
    from orchestration.store import pull_all
    from orchestration.warehouse.build import one_writer

    settings = home_settings()
    opened(settings)
    _finish_interrupted(settings)  # what was erased here may still be there
    with one_writer(settings):
        moved = pull_all(settings)
    click.echo(f"{len(moved.folders)} folders brought from the store, {moved.bytes} bytes")


@store_group.command("verify")
@_plainly
def store_verify() -> None:
    """Hold every object of the bucket against its inventory. Leaves with 1 when one is not as it should be."""
    from orchestration.home import home_settings
    from orchestration.store import damaged

    found = damaged(home_settings())
    for place, names in found.items():
        click.echo(f"{place}: {len(names)} file(s) are not what the inventory says: {', '.join(names[:3])}")
    if not found:
        click.echo("every object is what its inventory says")
    _leave(1 if found else 0)


def take_simulated_consents(settings: Settings) -> None:
    """Make the consents that came with the simulated deliveries the register, and remove the file, which has numbers of people."""
    from orchestration.audit import signed_on
    from orchestration.deliveries.ingest import known_key
    from orchestration.home import opened
    from orchestration.ledger import now
    from orchestration.releases.catalogue import read_policy
    from orchestration.releases.consents import take
    from orchestration.simulation.consents import CONSENTS

    ledger, file = opened(settings), settings.inbox_path / CONSENTS
    take(
        settings.consents_file, file, ledger, known_key(settings, ledger), read_policy().consents, by=signed_on(),
        today=now().date(), admits_test_numbers=True,
    )  # fmt: skip
    ledger.close()  # before the fork
    file.unlink()


def _finish_interrupted(settings: Settings) -> None:
    """Carry out what an interrupted `withdraw` left undone."""
    from orchestration.home import opened

    if any(item.finished_at is None for item in opened(settings).withdrawals()):
        from orchestration.definitions import finish_withdrawals

        finish_withdrawals(settings)


@main.group("alerts")
def alerts_group() -> None:
    """Who is told of what: incidents on record, and whether messages arrive."""


@alerts_group.command("test")
@_plainly
def alerts_test() -> None:
    """Send a test message by every way that the alerts file sets. Where it arrives, what was refused before is sent too."""
    from orchestration.home import home_settings, opened
    from orchestration.stewards.alerts import send_test
    from orchestration.stewards.sending import WHY

    settings = home_settings()
    came_of = send_test(settings, opened(settings))
    for channel, trouble in came_of:
        click.echo(f"{channel}: {trouble}: {WHY[trouble]}" if trouble else f"{channel}: sent")
    _leave(1 if any(trouble for _, trouble in came_of) else 0)


@alerts_group.command("list")
@click.option("--all", "with_closed", is_flag=True, help="Those that are over too.")
@click.option("--json", "as_json", is_flag=True, help="All incidents and messages, as JSON.")
@_plainly
def alerts_list(with_closed: bool, as_json: bool) -> None:
    """Show the incidents that are open, and the messages that could not be sent."""
    from orchestration.home import home_settings, readings
    from orchestration.stewards.sending import WHY

    ledger = readings(home_settings())
    incidents, messages = ledger.incidents(), ledger.messages()
    if as_json:
        _json({"incidents": incidents, "messages": messages})
        return
    for row in incidents:
        if row["closed_at"] is None or with_closed:
            ended = f"closed {row['closed_at']:%Y-%m-%d %H:%M}" if row["closed_at"] else "open"
            click.echo(
                f"{row['opened_at']:%Y-%m-%d %H:%M}  {row['event']:16} {row['about']:30} seen {row['times']} times  {ended}"
            )
    for row in messages:
        if row["sent_at"] is None:
            why = f"{row['trouble']}: {WHY.get(row['trouble'], '')}" if row["trouble"] else "not tried yet"
            click.echo(
                f"  not sent by {row['channel']}: {row['event']} {row['about'] or ''} ({row['attempts']} tries; {why})"
            )


@main.command("follow-up")
@click.option("--json", "as_json", is_flag=True)
@_plainly
def follow_up(as_json: bool) -> None:
    """Show the years whose registry extract was asked for: since when, and how far each has come."""
    from dataclasses import asdict

    from orchestration.deliveries.contracts import read_organisations
    from orchestration.home import home_settings, readings
    from orchestration.releases.follow_up import follow_ups

    settings = home_settings()
    found = follow_ups(readings(settings), read_organisations(settings.expectations))
    if as_json:
        _json([asdict(one) for one in found])
        return
    for one in found:
        stands = (
            "waits for the extract" if one.waits else f"release {one.release}" if one.release else "goes on by itself"
        )
        click.echo(f"{one.year}  asked for on {one.asked_at:%Y-%m-%d} by {one.asked_by:12} {one.state:9} {stands}")
    if not found:
        click.echo("no extract has been asked for yet")


@main.command()
@click.argument("year", required=False)
@click.option("--lang", type=click.Choice(["nl", "en"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True)
@_plainly
def checklist(year: str | None, lang: str, as_json: bool) -> None:
    """Fill in the checklist of a yearly refresh, as Markdown: of the extract of YEAR, or of the last one that is asked for."""
    from dataclasses import asdict

    from orchestration.deliveries.contracts import read_organisations
    from orchestration.home import home_settings, readings
    from orchestration.ledger import now
    from orchestration.releases.follow_up import year_asked_on
    from orchestration.stewards.checklist import checklist as filled
    from orchestration.stewards.checklist import markdown

    settings, today = home_settings(), now().date()
    if year is not None and not (year.isdigit() and len(year) == 4):
        raise click.BadParameter("a year is four digits, as 2025", param_hint="YEAR")
    ledger, year = readings(settings), year or year_asked_on(today)
    items = filled(settings, ledger, read_organisations(settings.expectations), today, year)
    if as_json:
        _json([asdict(item) for item in items])
        return
    is_simulated = any(record.is_simulated for record in ledger.deliveries())
    click.echo(markdown(items, year, lang, is_simulated=is_simulated), nl=False)


@main.command()
@click.option("--port", type=int, help="Port on the loopback address.")
@_plainly
def ui(port: int | None) -> None:
    """Open Dagster over the home, on 127.0.0.1, with its sensors and schedules; the status page is on the next port."""
    from orchestration.home import home_settings
    from orchestration.terminal import serve

    settings = home_settings()
    _finish_interrupted(settings)
    _leave(serve(settings, port or settings.ui_port))


def run() -> None:
    """What the console script calls: `main`, and then an end at once.

    The interpreter would look for garbage in all that is loaded once more before it ends, which takes seconds. What is
    registered with `atexit` has its turn first.
    """
    left = {"code": 1}

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(left["code"])

    atexit.register(end)
    try:
        main()
    except SystemExit as ended:
        left["code"] = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


if __name__ == "__main__":
    run()
