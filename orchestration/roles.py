"""Who may do what: the matrix in `roles.yml`, and the file that says which account has which role. Deny by default.

Whether two people are needed for something is not decided here but where it is done; who is at work is said by `audit.signed_on`
or by the sign-on in front of the pages (`signon.py`).
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.audit import signed_on
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.settings import Settings

MATRIX = Path(__file__).with_name("roles.yml")
DRAFT, KNOWN = "draft", "approved"  # states of a release that pages tell apart


class NotAllowed(Mendable):
    """Who is signed on may not do this; says which roles may."""


class RolesWrong(Mendable):
    """The file that says who has which role is not there, or not as it should be; says what."""


@dataclass(frozen=True)
class Page:
    """A page behind the proxy: which paths and methods it takes, who may see it, and of which releases (None: whichever)."""

    action: str
    path: re.Pattern[str]
    methods: frozenset[str]
    roles: frozenset[str]
    state: str | None


@dataclass(frozen=True)
class Matrix:
    """Which roles there are, and what each may do: by action, and the pages in the order in which they are tried."""

    roles: frozenset[str]
    actions: Mapping[str, frozenset[str]]
    pages: tuple[Page, ...]

    def allows(self, roles: Collection[str], action: str) -> bool:
        """Whether one of the roles may do it; False for a role or an action that is not known."""
        return bool(self.actions.get(action, frozenset()) & self.roles & frozenset(roles))

    def page(self, path: str, method: str, state: str | None) -> Page | None:
        """The page of a request; None where there is none. `state` is that of the release that the path names."""
        if not is_plain(path):
            return None
        for page in self.pages:
            if page.path.fullmatch(path) and method in page.methods and page.state in (None, state):
                return page
        return None


@dataclass(frozen=True)
class Members:
    """Which account or group has which roles, and for which organisation an account of a partner delivers."""

    accounts: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]
    organisations: Mapping[str, str]

    def roles_of(self, account: str, groups: Collection[str] = ()) -> frozenset[str]:
        """The roles of an account and of the groups that it is in."""
        return frozenset(self.accounts.get(account, ())).union(*(self.groups.get(name, ()) for name in groups))


def is_plain(path: str) -> bool:
    """Whether a path means what it says: nothing in it goes up, is written twice or in code."""
    return path.startswith("/") and not re.search(r"//|\\|%|[\x00-\x20\x7f]|/\.\.?(/|$)", path)


@cache
def read_matrix(file: Path = MATRIX) -> Matrix:
    """The matrix. Raises RolesWrong where it names a role that is none."""
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    roles = frozenset(content["roles"])
    pages = tuple(
        Page(
            entry["action"], re.compile(entry["path"]), frozenset(entry["methods"]), frozenset(entry["roles"]), entry.get("state")
        )
        for entry in content["pages"]
    )  # fmt: skip
    commands = {name: frozenset(given) for name, given in content["commands"].items()}
    actions = commands | {page.action: page.roles for page in pages}
    strange = sorted({role for given in actions.values() for role in given} - roles)
    if strange or len(actions) != len(commands) + len(pages):
        raise RolesWrong(f"{file.name} names roles that are none ({', '.join(strange)}), or an action twice")
    return Matrix(roles, actions, pages)


def read_members(file: Path) -> Members:
    """Who has which role. Raises RolesWrong: a file that cannot be read gives nobody anything."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        accounts, groups = (
            {str(name): tuple(map(str, given)) for name, given in (content.get(kind) or {}).items()}
            for kind in ("accounts", "groups")
        )
        organisations = {str(name): str(given) for name, given in (content.get("organisations") or {}).items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        raise RolesWrong(
            f"{file.name} cannot be read as accounts, groups and organisations; nobody may do anything"
        ) from None
    strange = {role for given in (*accounts.values(), *groups.values()) for role in given} - read_matrix().roles
    if strange or set(content) - {"accounts", "groups", "organisations"}:
        raise RolesWrong(
            f"{file.name}: {len(strange)} role(s) that are none, or a heading that is not known; nobody may do anything"
        )
    return Members(accounts, groups, organisations)


def groups_of(account: str) -> tuple[str, ...]:
    """The groups of an account of the operating system."""
    try:
        known = pwd.getpwnam(account)
    except KeyError:
        return ()
    found = []
    for number in os.getgrouplist(account, known.pw_gid):
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return tuple(found)


def require(settings: Settings, action: str, account: str | None = None) -> None:
    """That who is signed on may do `action`. Without a roles file (the embedded profile) the one account there is may do all.

    Raises NotAllowed and RolesWrong.
    """
    if settings.roles is None:
        return
    account = account or signed_on()
    matrix, members = read_matrix(), read_members(settings.roles.expanduser())
    if not matrix.allows(members.roles_of(account, groups_of(account)), action):
        may = sorted(matrix.actions.get(action, ()))
        raise NotAllowed(f"{account} may not do this ({action}): it takes the role {' or '.join(may) or 'of nobody'}")


def require_own(settings: Settings, organisation: str, account: str | None = None) -> None:
    """That an account which is a partner's, and nothing else, asks about its own organisation. Raises NotAllowed and RolesWrong."""
    if settings.roles is None:
        return
    account = account or signed_on()
    members = read_members(settings.roles.expanduser())
    is_only_partner = members.roles_of(account, groups_of(account)) <= {"partner"}
    if is_only_partner and members.organisations.get(account) != organisation:
        raise NotAllowed(f"{account} judges deliveries of its own organisation only")
