"""Every path, key, limit and switch of the platform, read from `DELICTVRIJ_*` variables. No other module reads the environment."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parents[1]
# Installed from a wheel, without a checkout: contracts and code lists lie in the package.
_SHIPPED = Path(__file__).parent / "shipped"
_ROOT = _SHIPPED if _SHIPPED.is_dir() else CHECKOUT
DBT_PROJECT = _ROOT / "dbt_project"


class Settings(BaseSettings):
    """The settings of one home.

    `home` holds everything that the platform makes except the pseudonym key, which lies in `key_file`, by default beside
    the home and never in it. `admit_test_numbers` lets national numbers from the range that is set aside for tests pass
    the gate; only the demo switches it on. `sources` names the file that says where deliveries are fetched from, and
    `opening_key_file` the key that opens sealed ones. `audit_seal` is the second place of the audit trail, in which its end is
    sealed; by default a file beside the home. A delivery that is still incomplete `incomplete_hours` after it was
    first seen is taken as it is, and judged. `drift_tolerance` is the share of clients, or of events, by which a candidate may fall
    short of the published version before it is held back. Of what leaves: `dominance` is the share of a group from which a
    class gives it away, `release_difference` the number of people by which a count must have moved (1: any) to be shown again, the other limits
    are in docs/disclosure.md. `permission_years` is how long a permission may last at most; `consents` is where the register of
    consents lies, by default beside the home, apart from the data of the study. `withdrawal_batch` is how many people must have been
    erased together before what is public is superseded: of fewer, the difference would tell of them. `alerts` names the file
    that says who is told what. `draft_releases` says after which fits a release is drafted by itself: `always`, `yearly` (the fit
    brings another year of follow-up) or `never`. `broker` (`redis://:password@host:port/0`) is where workers are handed the
    batches of a refit; unset, `fit_processes` processes of this machine fit them (0: as many as it has processors). What a worker has not fitted after `longest_batch_seconds` is taken for
    lost and handed to another (docs/spreading.md). `look_seconds` is how often the daemon looks into the inbox and at its conditions;
    for what is to be told it looks twice a minute at most.

    `profile` is `embedded` (one account, SQLite, local folders) or `server`, which needs `ledger_url` and `dagster_url`
    (PostgreSQL, the password in the file that PGPASSFILE names and never in a URL) and `roles`, the file that says which account
    may do what. `store` (`s3://bucket/prefix`) is where finished folders are kept beyond this machine; its credentials are found
    the way AWS tools find theirs. The `oidc_*` settings, `session_key_file` and `public_url` are those of the sign-on
    (docs/server.md). `dbt_target` is where dbt puts what it makes of the project, where that may not be written to.
    """

    model_config = SettingsConfigDict(
        env_prefix="DELICTVRIJ_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = (Path.home() if _SHIPPED.is_dir() else CHECKOUT) / ".delictvrij"
    key_file: Path | None = None
    inbox: Path | None = None
    profile: Literal["embedded", "server"] = "embedded"
    ledger_url: str | None = None
    dagster_url: str | None = None
    store: str | None = Field(None, pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/[\w./-]+)?$")
    store_endpoint: str | None = None
    store_region: str | None = None
    roles: Path | None = None
    waivers: Path | None = None
    corrections: Path | None = None
    sources: Path | None = None
    opening_key_file: Path | None = None
    audit_seal: Path | None = None
    project: str = "delictvrij"
    dbt_project: Path = DBT_PROJECT
    dbt_target: Path | None = None
    admit_test_numbers: bool = False
    enrolment_from: date = date(2022, 1, 1)
    enrolment_to: date = date(2022, 12, 31)
    first_quarter: str = Field("2022-Q1", pattern=r"^\d{4}-Q[1-4]$")
    first_registry_year: int = 2022
    landmark_months: int = Field(9, ge=1, le=48)
    imputations: int = Field(20, ge=2, le=200)
    seed: int = 20260101
    landing_retention_days: int = Field(30, ge=0, le=3650)
    incomplete_hours: int = Field(24, ge=0, le=720)
    drift_tolerance: float = Field(0.1, ge=0, le=1)
    small_cell: int = Field(10, ge=5, le=20)
    dominance: float = Field(0.9, gt=0.5, le=1)
    release_difference: int = Field(10, ge=1, le=20)
    model_degrees_of_freedom: int = Field(10, ge=5, le=100)
    curve_step_events: int = Field(10, ge=6, le=50)
    rounding_base: int = Field(5, ge=3, le=10)
    permission_years: int = Field(2, ge=1, le=10)
    consents: Path | None = None
    withdrawal_batch: int = Field(10, ge=2, le=1000)
    alerts: Path | None = None
    draft_releases: Literal["always", "yearly", "never"] = "yearly"
    broker: SecretStr | None = None
    fit_processes: int = Field(0, ge=0, le=64)
    longest_batch_seconds: int = Field(1800, ge=5, le=86400)
    look_seconds: int = Field(5, ge=5, le=3600)
    ui_host: str = "127.0.0.1"
    ui_port: int = Field(3000, ge=1, le=65535)
    public_url: str = "https://localhost"
    oidc_issuer: str | None = None
    oidc_client_id: str = "delictvrij"
    oidc_client_secret_file: Path | None = None
    session_key_file: Path | None = None
    session_minutes: int = Field(30, ge=1, le=720)

    @model_validator(mode="after")
    def _is_fit_for_its_profile(self) -> Self:
        for name in ("ledger_url", "dagster_url"):
            if urlsplit(getattr(self, name) or "").password:
                raise ValueError(f"{name} holds a password: it belongs into the file that PGPASSFILE names, mode 0600")
        lacking = [name for name in ("ledger_url", "dagster_url", "roles") if getattr(self, name) is None]
        if self.profile == "server" and lacking:
            raise ValueError(f"the server profile needs {', '.join(lacking)}")
        return self

    def apart(self, **own: object) -> Settings:
        """The same over another home on this machine, for what is made aside: embedded, with no ledger, seal, register or store of this one.

        A copy of the settings would keep the home that the original has worked out.
        """
        without = dict.fromkeys(("ledger_url", "dagster_url", "store", "roles", "audit_seal", "consents"))
        return Settings(**{**self.model_dump(), "profile": "embedded", **without, **own})

    @field_validator("broker")
    @classmethod
    def _is_redis(cls, broker: SecretStr | None) -> SecretStr | None:
        if broker is not None and not broker.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("a broker is a Redis: redis://:password@host:port/0")
        return broker

    @property
    def expectations(self) -> Path:
        return _ROOT / "expectations"

    @cached_property
    def home_path(self) -> Path:
        return self.home.expanduser().resolve()

    @property
    def key_path(self) -> Path:
        """Where the pseudonym key lies: `key_file`, or a file beside the home."""
        return (self.key_file or self.home_path.with_name(self.home_path.name + ".key")).expanduser()

    @property
    def audit_seal_path(self) -> Path:
        """Where the seal of the audit trail lies: `audit_seal`, or a file beside the home. Another disk is better still."""
        return (self.audit_seal or self.home_path.with_name(self.home_path.name + ".audit")).expanduser()

    @property
    def opening_key_path(self) -> Path:
        """Where the key lies that opens sealed deliveries: `opening_key_file`, or a file beside the home."""
        return (self.opening_key_file or self.home_path.with_name(self.home_path.name + ".age")).expanduser()

    @property
    def seconds_between_looks(self) -> int:
        """How long after one look the next may be, for Dagster: a second less than is asked for.

        Its daemon goes round every five seconds and passes over what is not quite due, which is every other look of five seconds.
        """
        return self.look_seconds - 1

    @property
    def sources_file(self) -> Path | None:
        """Where it stands what is fetched from where; None when organisations deliver into the inbox themselves."""
        return self.sources.expanduser() if self.sources else None

    @property
    def alerts_file(self) -> Path | None:
        """Where it stands who is told what; None where nobody is."""
        return self.alerts.expanduser() if self.alerts else None

    @property
    def waivers_file(self) -> Path:
        """Where waivers stand: `waivers`, or beside the contracts."""
        return (self.waivers or self.expectations / "waivers.yml").expanduser()

    @property
    def corrections_file(self) -> Path:
        """Where corrections stand: `corrections`, or beside the contracts."""
        return (self.corrections or self.expectations / "corrections.yml").expanduser()

    @property
    def consents_file(self) -> Path:
        """Where the register of consents lies: `consents`, or a file beside the home, since it is kept apart from the data."""
        return (self.consents or self.home_path.with_name(self.home_path.name + ".consents.csv")).expanduser()

    @property
    def landing(self) -> Path:
        return self.home_path / "landing"

    @property
    def inbox_path(self) -> Path:
        """Where deliveries appear: `<organisation>/<period>/<delivery>/`, manifest last."""
        return (self.inbox or self.landing / "inbox").expanduser()

    @property
    def quarantine(self) -> Path:
        return self.landing / "quarantine"

    @property
    def letters(self) -> Path:
        return self.home_path / "letters"

    @property
    def raw(self) -> Path:
        return self.home_path / "raw"

    @property
    def builds(self) -> Path:
        return self.home_path / "builds"

    @property
    def versions(self) -> Path:
        return self.home_path / "versions"

    @property
    def fits(self) -> Path:
        return self.home_path / "fits"

    @property
    def own(self) -> Path:
        """Where fits of models and outcomes of one's own lie, by name."""
        return self.home_path / "own"

    @property
    def outcomes(self) -> Path:
        """Where outcome definitions of one's own are computed, beside the versions."""
        return self.home_path / "outcomes"

    @property
    def multiverse(self) -> Path:
        return self.home_path / "multiverse"

    @property
    def releases(self) -> Path:
        """Where releases lie, by tag: what stays in the zone, and what may leave."""
        return self.home_path / "releases"

    @property
    def withdrawals(self) -> Path:
        """Where the receipts of withdrawals lie: inside the zone, counts and estimates only."""
        return self.home_path / "withdrawals"

    @property
    def withdrawn_file(self) -> Path:
        """The keyed hashes of everybody who has withdrawn, beside the home: a home that is restored finds them there."""
        return self.home_path.with_name(self.home_path.name + ".withdrawn.json")

    @property
    def report(self) -> Path:
        """The page of the current fit."""
        return self.home_path / "report.html"

    @property
    def dagster_home(self) -> Path:
        return self.home_path / "dagster"

    @property
    def ledger_location(self) -> str:
        return self.ledger_url or f"sqlite:///{self.ledger_file}"

    @property
    def ledger_file(self) -> Path:
        """Where the ledger lies that no `ledger_url` puts elsewhere."""
        return self.home_path / "ledger.sqlite"
