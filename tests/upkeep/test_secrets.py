"""The search for secrets, as `make check` and the hook before a commit run it: one that is planted is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.upkeep.audit import CHECKOUT, TOOLS


def found_in(content: str, folder: Path) -> bool:
    file = folder / "settings.env"
    file.write_text(content)
    hook = [TOOLS / "detect-secrets-hook", "--baseline", CHECKOUT / ".secrets.baseline", file]
    return subprocess.run(hook, capture_output=True, check=False).returncode == 1


# Put together here, so that this file holds none.
@pytest.mark.parametrize(
    "secret",
    [
        "AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7" + "EXAMPLF",
        "ledger = " + "postgresql://ledger:" + "Tr0ub4dour" + "@db/ledger",
        "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
        "pseudonym_key = '" + "9f86d081884c7d659a2feaa0c55ad015" + "a3bf4f1b2b0b822cd15d6c15b0f00a08'",
    ],
    ids=["cloud key", "password in an address", "private key", "pseudonym key"],
)
def test_a_secret_that_is_planted_is_found(tmp_path: Path, secret: str) -> None:
    assert found_in(secret, tmp_path)


def test_what_is_no_secret_is_no_alarm(tmp_path: Path) -> None:
    assert not found_in("DELICTVRIJ_SMALL_CELL=10\n", tmp_path)
