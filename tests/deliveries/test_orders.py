"""Late, early, corrected, repeated: the order of arrival does not matter. `make proof` tries more than a hundred orders."""

from __future__ import annotations

from pathlib import Path

from tests.deliveries.orders import hold


def test_deliveries_end_in_the_same_state_whatever_their_order(tmp_path: Path) -> None:
    assert hold(tmp_path, 6) >= 5
