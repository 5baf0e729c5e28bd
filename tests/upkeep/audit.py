"""What is installed, and what is known against it: `python -m tests.upkeep.audit`, or `make audit`.

Writes the bill of materials (CycloneDX) of the environment and has every package of the lock looked up for known vulnerabilities.
Leaves with 1 where one is known that nobody accepted (`deploy/vulnerabilities.yml`), and says how many could not be looked up: a
check that asked nobody is no check, and `--require-answers` makes it a failure.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK, ACCEPTED, BILL = (
    CHECKOUT / "requirements.lock", CHECKOUT / "deploy" / "vulnerabilities.yml", CHECKOUT / "build" / "sbom.cdx.json",
)  # fmt: skip
TOOLS = Path(sys.executable).parent


class NotAccepted(ValueError):
    """An entry of the file of accepted vulnerabilities lacks something; names which."""


@dataclass(frozen=True)
class Accepted:
    """A known vulnerability with which the platform is run: why, and until when."""

    vulnerability: str
    reason: str
    until: date


@dataclass(frozen=True)
class Looked:
    """What was found: packages looked up, packages of which nobody knew anything to say, and known vulnerabilities by package."""

    asked: int
    unanswered: tuple[str, ...]
    known: tuple[tuple[str, str], ...]


def accepted(path: Path) -> tuple[Accepted, ...]:
    """The vulnerabilities that were accepted: a list of `vulnerability`, `reason` and `until`. Raises NotAccepted."""
    found = []
    for number, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")) or [], start=1):
        if not isinstance(entry, dict) or set(entry) != {"vulnerability", "reason", "until"} or not str(entry["reason"]).strip():  # fmt: skip
            raise NotAccepted(f"{path.name}, entry {number}: it says vulnerability, reason and until, and no more")
        if not isinstance(entry["until"], date):
            raise NotAccepted(f"{path.name}, entry {number}: until is a day, yyyy-mm-dd")
        found.append(Accepted(str(entry["vulnerability"]), str(entry["reason"]), entry["until"]))
    return tuple(found)


def look_up(lock: Path, *more: str) -> Looked:
    """Ask the service for every package of a lock; `more` are options of pip-audit. Nobody there means nobody answered."""
    asked = sum(map(len, pinned(lock).values()))
    ran = subprocess.run(
        [TOOLS / "pip-audit", "--requirement", lock, "--no-deps", "--disable-pip", "--format", "json", "--desc", "off",
         "--progress-spinner", "off", "--timeout", "15", *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Looked(asked, tuple(sorted(pinned(lock))), ())
    unanswered = tuple(sorted(one["name"] for one in packages if "skip_reason" in one))
    known = tuple(
        sorted((one["name"], vulnerability["id"]) for one in packages for vulnerability in one.get("vulns", ()))
    )
    return Looked(asked, unanswered, known)


def pinned(lock: Path) -> dict[str, set[str]]:
    """The packages of a lock and their versions: more than one where that depends on the version of Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


def bill(out: Path) -> dict[str, str]:
    """Write the bill of materials of this environment (CycloneDX); gives the packages in it and their versions."""
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [TOOLS / "cyclonedx-py", "environment", "--pyproject", CHECKOUT / "pyproject.toml", "--output-reproducible",
         "--output-file", out, "--no-validate", sys.executable],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(out.read_text())["components"]}


def judged(looked: Looked, waived: Sequence[Accepted], today: date) -> list[str]:
    """The known vulnerabilities that nobody accepted, or no longer, in words."""
    until = {one.vulnerability: one.until for one in waived}
    return [
        f"{package}: {vulnerability}"
        + (f", which was accepted until {until[vulnerability]}" if vulnerability in until else "")
        for package, vulnerability in looked.known
        if until.get(vulnerability, date.min) < today
    ]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upkeep.audit", description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--accepted", type=Path, default=ACCEPTED)
    parser.add_argument("--osv-url", help="Ask this service of the OSV form instead.")
    parser.add_argument(
        "--require-answers", action="store_true", help="Leave with 1 where a package could not be looked up."
    )
    asked = parser.parse_args(words)
    waived = accepted(asked.accepted)
    in_use, locked = bill(BILL), pinned(LOCK)
    other = sorted(name for name, version in in_use.items() if name in locked and version not in locked[name])
    print(
        f"bill of materials: {len(in_use)} packages, {BILL.relative_to(CHECKOUT)}; {len(other)} not of the version of the lock"
    )
    looked = look_up(
        asked.lock, *(("--vulnerability-service", "osv", "--osv-url", asked.osv_url) if asked.osv_url else ())
    )
    wrong = judged(looked, waived, datetime.now(UTC).date())
    print(
        f"looked up for known vulnerabilities: {looked.asked - len(looked.unanswered)} of {looked.asked} packages of the lock"
    )
    for line in wrong:
        print(
            f"  KNOWN {line}: move to a version without it (`make lock`), or accept it in {ACCEPTED.relative_to(CHECKOUT)}"
        )
    if looked.unanswered:
        print(
            f"  NOT LOOKED UP: {len(looked.unanswered)} packages; the service could not be reached or does not know them"
        )
    print(f"known and not accepted: {len(wrong)}; accepted: {len(looked.known) - len(wrong)}")
    return int(bool(wrong or other or (asked.require_answers and looked.unanswered)))


if __name__ == "__main__":
    sys.exit(main())
