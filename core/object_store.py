"""An S3 bucket as the store: how it is reached, and what it keeps of objects that are gone.

fsspec (s3fs) reads and writes checkpoints, Lance reads and writes samples; here is what neither
does. A bucket with versioning keeps what is deleted, and a killed writer leaves parts of an
upload that no listing of objects shows: an erasure must destroy both, or say that it cannot.

botocore is imported on first use, and has neither threads nor an event loop: it may be used
before a fork, which s3fs and Lance may not.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.errors import SettingsError, Unavailable
from core.settings import Settings

CONNECT_SECONDS = 5
ATTEMPTS = 3
_BATCH = 1000  # what one call may delete


class StoreUnreachable(Unavailable):
    """The object store does not answer, or not to these credentials."""


class VersionsKept(Unavailable):
    """Old versions of deleted objects cannot be destroyed: the erasure is not complete."""


_SAID = {
    "NoSuchBucket": "there is no such bucket: make it, or correct LETHE_STORE_URL",
    "bucket does not exist": "there is no such bucket: make it, or correct LETHE_STORE_URL",
    "InvalidAccessKeyId": "it does not know the access key: correct LETHE_STORE_ACCESS_KEY or "
    "AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is not the access key's: correct "
    "LETHE_STORE_SECRET_KEY or AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session's token has expired: get a new one",
    "Unable to locate credentials": "there are no credentials: set LETHE_STORE_ACCESS_KEY and "
    "LETHE_STORE_SECRET_KEY, or the usual AWS variables",
    "CredentialsNotLoaded": "there are no credentials: set LETHE_STORE_ACCESS_KEY and "
    "LETHE_STORE_SECRET_KEY, or the usual AWS variables",
    "AccessDenied": "it denies access: grant the rights that docs/guides/object-storage.md lists",
    "Access Denied": "it denies access: grant the rights that docs/guides/object-storage.md lists",
    "Forbidden": "it denies access: grant the rights that docs/guides/object-storage.md lists",
    "Could not connect": "it does not answer: check LETHE_STORE_ENDPOINT and the network",
    "error sending request": "it does not answer: check LETHE_STORE_ENDPOINT and the network",
    "Connection was closed": "it does not answer: check LETHE_STORE_ENDPOINT and the network",
    "timed out": "it does not answer in time: check LETHE_STORE_ENDPOINT and the network",
    "timeout": "it does not answer in time: check LETHE_STORE_ENDPOINT and the network",
}
"""What a store, botocore or Lance says, in errors that have no common class, and what to do."""


def explained(error: BaseException) -> str | None:
    """What an object store's error means, in a line; None for one that is not known."""
    text = f"{type(error).__name__}: {error}"
    return next((what for said, what in _SAID.items() if said in text), None)


@dataclass(frozen=True)
class Access:
    """How a bucket is reached. What is None, the libraries look for where AWS's tools do."""

    endpoint: str | None = None
    region: str | None = None
    key: SecretStr | None = None
    secret: SecretStr | None = None

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """From LETHE_STORE_*; endpoint and region also from the usual AWS variables."""
        endpoint = settings.store_endpoint or _from_environment(
            "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"
        )
        region = settings.store_region or _from_environment("AWS_REGION", "AWS_DEFAULT_REGION")
        if endpoint is not None and region is None:
            region = "us-east-1"  # what servers other than AWS's go by, or pass over
        return cls(endpoint, region, settings.store_access_key, settings.store_secret_key)

    @property
    def for_fsspec(self) -> dict[str, Any]:
        """Options of s3fs."""
        options: dict[str, Any] = {
            "key": self.key.get_secret_value() if self.key else None,
            "secret": self.secret.get_secret_value() if self.secret else None,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region} if self.region else None,
            "config_kwargs": _PATIENCE,
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def for_lance(self) -> dict[str, str]:
        """Lance's storage options."""
        options = {
            "aws_access_key_id": self.key.get_secret_value() if self.key else None,
            "aws_secret_access_key": self.secret.get_secret_value() if self.secret else None,
            "aws_endpoint": self.endpoint,
            "aws_region": self.region,
            "allow_http": "true" if (self.endpoint or "").startswith("http://") else None,
            "client_max_retries": str(ATTEMPTS),
            "client_retry_timeout": str(CONNECT_SECONDS * ATTEMPTS),
            "connect_timeout": f"{CONNECT_SECONDS}s",
        }
        return {name: value for name, value in options.items() if value is not None}

    def client(self) -> Any:
        """A botocore client. Raises `SettingsError` where the extra is not installed."""
        try:
            session = importlib.import_module("botocore.session")
            config = importlib.import_module("botocore.config")
        except ImportError:
            raise SettingsError(
                "LETHE_STORE_URL names an object store, and what reaches it is not installed: "
                "pip install 'lethe[s3]'"
            ) from None
        return session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key.get_secret_value() if self.key else None,
            aws_secret_access_key=self.secret.get_secret_value() if self.secret else None,
            config=config.Config(**_PATIENCE),
        )


_PATIENCE: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "retries": {"max_attempts": ATTEMPTS, "mode": "standard"},
}


@dataclass(frozen=True)
class Destroyed:
    """Old versions destroyed: how many, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Bucket:
    """One bucket and what lies in it beneath a URL. Threads may share it."""

    url: str
    access: Access = field(default_factory=Access)

    @property
    def name(self) -> str:
        """The bucket's own name."""
        return urlsplit(self.url).netloc

    @cached_property
    def _client(self) -> Any:
        return self.access.client()

    @cached_property
    def _errors(self) -> tuple[type[Exception], ...]:
        """What the client raises."""
        errors = importlib.import_module("botocore.exceptions")
        return errors.ClientError, errors.BotoCoreError

    def check(self) -> None:
        """Raise `SettingsError` unless the bucket is there, for us, old versions included."""
        try:
            self._client.list_objects_v2(Bucket=self.name, MaxKeys=1)
            next(self._versions(_key(self.url)), None)
        except Unavailable as error:
            raise SettingsError(str(error)) from error
        except self._errors as error:
            raise SettingsError(self._told(error)) from error

    def destroy(self, path: str) -> Destroyed:
        """Destroy every version of the one object at bucket/path, the one in force too."""
        key = path.partition("/")[2]
        return self._delete([each for each in self._versions(key) if each["Key"] == key])

    def destroy_old_versions(self, url: str) -> Destroyed:
        """Destroy what versioning has kept of deleted and replaced objects beneath `url`.

        Raises `VersionsKept` when it cannot be seen or destroyed: the bucket is locked, or the
        right is missing.
        """
        found = self._versions(_key(url))
        return self._delete([each for each in found if not _in_force(each)])

    def end_uploads(self, url: str, older_than: timedelta = timedelta(0)) -> int:
        """End uploads beneath `url` that were begun and not ended, and so free their parts.

        A store that does not know such uploads has none.
        """
        ended = 0
        try:
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.name, Prefix=_key(url)):
                for upload in page.get("Uploads", []):
                    begun = upload["Initiated"]
                    if type(begun).now(begun.tzinfo) - begun < older_than:
                        continue
                    self._client.abort_multipart_upload(
                        Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    ended += 1
        except self._errors as error:
            if _code(error) == "NotImplemented":
                return ended
            raise StoreUnreachable(self._told(error)) from error
        return ended

    def _versions(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Versions and markers of deletion; of a bucket without versioning, its objects."""
        try:
            pages = self._client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                yield from page.get("Versions", [])
                yield from page.get("DeleteMarkers", [])
        except self._errors as error:
            if _code(error) == "NotImplemented":  # then it keeps none
                return
            if _code(error) in ("AccessDenied", "403"):
                raise VersionsKept(
                    f"Whether {self.url} keeps old versions of what is deleted cannot be seen: "
                    "grant s3:ListBucketVersions. Without it no erasure can be called complete"
                ) from error
            raise StoreUnreachable(self._told(error)) from error

    def _delete(self, versions: list[dict[str, Any]]) -> Destroyed:
        for start in range(0, len(versions), _BATCH):
            named = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in versions[start : start + _BATCH]
            ]
            try:
                done = self._client.delete_objects(
                    Bucket=self.name, Delete={"Objects": named, "Quiet": True}
                )
            except self._errors as error:
                if _code(error) not in ("AccessDenied", "403"):
                    raise StoreUnreachable(self._told(error)) from error
                done = {"Errors": [{"Code": "AccessDenied"}] * len(named)}
            if done.get("Errors"):
                why = ", ".join(sorted({each["Code"] for each in done["Errors"]}))
                raise VersionsKept(
                    f"{len(done['Errors'])} objects beneath {self.url} cannot be destroyed with "
                    f"their old versions ({why}): grant s3:DeleteObjectVersion, and lift the "
                    "bucket's object lock. The erasure is not complete before"
                )
        return Destroyed(len(versions), sum(each.get("Size", 0) for each in versions))

    def _told(self, error: Exception) -> str:
        return f"The object store of {self.url}: {explained(error) or error}"


def bucket_of(settings: Settings) -> Bucket | None:
    """The bucket that LETHE_STORE_URL names, if it names one."""
    if not settings.store.startswith(("s3://", "s3a://")):
        return None
    return Bucket(settings.store.rstrip("/"), Access.of(settings))


def _key(url: str) -> str:
    path = urlsplit(url).path.strip("/")
    return f"{path}/" if path else ""


def _in_force(version: dict[str, Any]) -> bool:
    return bool(version["IsLatest"]) and "Size" in version  # a marker of deletion has no size


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    code: str = response.get("Error", {}).get("Code", "")
    return code


def _from_environment(*names: str) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
