"""A real S3 server for tests: moto's, in this process, with a bucket of the test's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from core.object_store import Access, Bucket

KEY, SECRET_KEY = "test-access-key", "test-secret-key"


@dataclass(frozen=True)
class Server:
    """Where the server listens."""

    url: str

    @property
    def access(self) -> Access:
        """How a store reaches it."""
        return Access(self.url, "us-east-1", SecretStr(KEY), SecretStr(SECRET_KEY))

    def bucket(self, *, versioned: bool = False) -> TestBucket:
        """A new bucket."""
        client = self.access.client()
        name = f"bucket-{secrets.token_hex(4)}"
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return TestBucket(self, name, client)


@dataclass(frozen=True)
class TestBucket:
    """One bucket, its client, and the settings that name it."""

    __test__ = False

    server: Server
    name: str
    client: Any

    @property
    def url(self) -> str:
        """For LETHE_STORE_URL."""
        return f"s3://{self.name}/lethe"

    @property
    def bucket(self) -> Bucket:
        """As the stores know it."""
        return Bucket(self.url, self.server.access)

    @property
    def variables(self) -> dict[str, str]:
        """The settings, by the names of their variables."""
        return {
            "LETHE_STORE_URL": self.url,
            "LETHE_STORE_ENDPOINT": self.server.url,
            "LETHE_STORE_ACCESS_KEY": KEY,
            "LETHE_STORE_SECRET_KEY": SECRET_KEY,
        }

    @property
    def values(self) -> dict[str, str]:
        """The settings, by their own names."""
        return {k.removeprefix("LETHE_").lower(): v for k, v in self.variables.items()}

    def everything(self) -> dict[str, bytes]:
        """What the bucket holds, every version and every part of an unfinished upload too."""
        found = {}
        for each in self.client.list_object_versions(Bucket=self.name).get("Versions", []):
            key, version = each["Key"], each["VersionId"]
            body = self.client.get_object(Bucket=self.name, Key=key, VersionId=version)["Body"]
            found[f"{key} {version}"] = body.read()
        for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []):
            found[f"{upload['Key']} unfinished"] = b"parts of an upload"
        return found

    def holding(self, patterns: list[bytes]) -> list[str]:
        """Where any of these bytes are."""
        return [
            where
            for where, data in self.everything().items()
            if any(pattern in data for pattern in patterns)
        ]


@contextmanager
def s3_server() -> Iterator[Server]:
    """The server, on a port of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()
