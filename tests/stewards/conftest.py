"""The small release of the releases' tests, for those that look at a home with everything in it."""

from tests.releases.conftest import release

__all__ = ["release"]
