"""What the tests of the server profile may ask for: a bucket, and a home whose finished folders are kept in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Platform
from tests.server.s3 import ENVIRONMENT, Bucket, bucket_at, served


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a running S3 server; the account is where AWS tools look for it."""
    with served() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture(params=["plain", "versioned"])
def bucket(request: pytest.FixtureRequest, s3: str) -> Bucket:
    """An empty bucket: one that keeps no versions, and one that does."""
    return bucket_at(s3, is_versioned=request.param == "versioned")


@pytest.fixture
def stored(published: Platform, bucket: Bucket) -> Platform:
    """A published home that has just got a store; nothing is in it yet."""
    return Platform(published.settings.model_copy(update=bucket.settings), published.ledger)
