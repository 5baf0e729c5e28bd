"""Periods of delivery: quarters for partners, years for the registry, their last days, and which day it is."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Amsterdam")
_QUARTER = re.compile(r"([0-9]{4})-Q([1-4])")
_YEAR = re.compile(r"[0-9]{4}")


def is_period(period: str, cadence: str) -> bool:
    """Whether `period` is one of a quarterly (`2024-Q1`), yearly or single (`2024`) delivery."""
    return bool((_QUARTER if cadence == "quarterly" else _YEAR).fullmatch(period))


def last_day(period: str) -> date:
    """The last day of a quarter or a year. Raises ValueError."""
    if match := _QUARTER.fullmatch(period):
        year, quarter = int(match[1]), int(match[2])
        return date(year + quarter // 4, quarter % 4 * 3 + 1, 1) - timedelta(days=1)
    if _YEAR.fullmatch(period):
        return date(int(period), 12, 31)
    raise ValueError(f"{period!r} is not a period")


def first_day(period: str) -> date:
    """The first day of a quarter or a year. Raises ValueError."""
    last = last_day(period)
    return date(last.year, last.month - 2 if _QUARTER.fullmatch(period) else 1, 1)


def first_month(period: str) -> str:
    """The first month of a quarter as `YYYY-MM`, which is how the orchestrator names it."""
    match = _QUARTER.fullmatch(period)
    if not match:
        raise ValueError(f"{period!r} is not a quarter")
    return f"{match[1]}-{int(match[2]) * 3 - 2:02d}"


def quarter_of_month(month: str) -> str:
    """The quarter that starts in the month `YYYY-MM`."""
    year, number = month.split("-")
    return f"{year}-Q{(int(number) + 2) // 3}"


def local_day(moment: datetime) -> date:
    """The day in the Netherlands at a moment (UTC without a zone, as the ledger writes it)."""
    return moment.replace(tzinfo=UTC).astimezone(ZONE).date()
