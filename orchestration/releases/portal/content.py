"""What a portal shows, judged before it comes here. Nothing is read and nothing is decided in this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pandas as pd

from orchestration.analysis.specification import Specification
from orchestration.releases.catalogue import Catalogue, Label
from orchestration.releases.disclosure import ReleaseRules
from orchestration.releases.metadata import About
from orchestration.releases.portal.moves import Moves
from orchestration.releases.portal.quality import Quality
from orchestration.warehouse.diff import Difference

State = Literal["draft", "approved", "superseded", "withdrawn"]
Role = Literal["public", "researcher", "output_checker"]
ROLES: tuple[Role, ...] = ("public", "researcher", "output_checker")


@dataclass(frozen=True)
class Edition:
    """One release in the list of releases. `portal`: its site, relative to the folder of all releases; `successor`: the tag that
    took its place; `reason`: why it no longer counts, in words that name nobody."""

    tag: str
    released_on: date
    state: State
    portal: str
    successor: str | None = None
    reason: Label | None = None


@dataclass(frozen=True)
class Download:
    """Something that a role may have. `href`: relative to the root of the portal; None where it is named and not linked, as
    microdata always are."""

    role: Role
    name: str
    what: Label
    href: str | None = None


@dataclass(frozen=True)
class PortalContent:
    """Everything that the site of one release shows.

    `frames` and `verdicts`: of `disclosure.Judged`. `spec`: the models that the fit was made by. `difference`: since the version of
    the release before, None for a first release; its counts are shown in bands. `moves` and `quality`: judged, see their modules.
    `quarters`: those in which somebody could enter the study, whoever did.
    `home`: the folder of all releases, relative to the root of the portal; None where there is none to go to.
    """

    about: About
    catalogue: Catalogue
    spec: Specification
    rules: ReleaseRules
    frames: Mapping[str, pd.DataFrame]
    verdicts: pd.DataFrame
    difference: Difference | None = None
    moves: Moves | None = None
    quality: Quality | None = None
    quarters: tuple[str, ...] = ()
    editions: tuple[Edition, ...] = ()
    downloads: tuple[Download, ...] = ()
    home: str | None = None
