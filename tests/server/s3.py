"""A real S3 server in this process, on the loopback address, with a bucket of one's own; and one in a process of its own."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

REGION, ACCOUNT, SECRET = "eu-west-1", "delictvrij", "a secret of the tests only"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True)
class Bucket:
    """A bucket: where its server is, and a client that looks into it by itself."""

    endpoint: str
    name: str
    client: Any

    @property
    def settings(self) -> dict[str, str]:
        return {"store": f"s3://{self.name}/home", "store_endpoint": self.endpoint, "store_region": REGION}

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(item["Key"].removeprefix("home/") for page in pages for item in page.get("Contents", ()))

    def everything(self) -> list[tuple[str, bytes]]:
        """Every version of every object with its bytes."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name)
        found = [(item["Key"], item["VersionId"]) for page in pages for item in page.get("Versions", ())]
        return [
            (key, self.client.get_object(Bucket=self.name, Key=key, VersionId=version)["Body"].read())
            for key, version in found
        ]


def bucket_at(endpoint: str, *, is_versioned: bool = False) -> Bucket:
    """Make a bucket on the server at `endpoint`."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key=SECRET
    )
    name = f"store-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    if is_versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return Bucket(endpoint, name, client)


@contextmanager
def served() -> Iterator[str]:
    """Serve S3 from a thread of this process; gives its address."""
    from moto.moto_api import state_manager  # noqa: F401 - moto is loaded here, not by every test
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
