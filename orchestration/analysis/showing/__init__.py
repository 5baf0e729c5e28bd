"""What people see of a fit: the report and what lies beside it. Nothing here changes a number of a fit, so its code is not part of
what a fit is made by (`fit.room_hash`); it has a hash of its own, by which the report is rendered again.
"""

from __future__ import annotations

from pathlib import Path

from orchestration.hashing import code_hash

PACKAGE = Path(__file__).parent
SUFFIXES = {".py", ".yml", ".j2"}


def showing_hash() -> str:
    """SHA-256 over the code, texts and templates of this package."""
    return code_hash(sorted(path for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES), PACKAGE)
