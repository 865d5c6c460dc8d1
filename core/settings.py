"""Settings: read once, at assembly, from LETHE_* variables, and passed down."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core import production, rates
from core._directories import sync_directory
from core.errors import SettingsError

_MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"


class Settings(BaseSettings):
    """Every setting of the service and the worker. See docs/reference/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix="LETHE_", env_ignore_empty=True, extra="ignore", frozen=False
    )

    home: Path = Path("var")
    """Folder for everything the embedded mode keeps."""
    database_url: str | None = None
    """SQLAlchemy URL; not given: SQLite under `home` (embedded mode)."""
    broker_url: str | None = None
    """Celery broker; not given: files under `home`."""
    store_url: str | None = None
    """Where samples and checkpoints lie: a path, or s3://BUCKET/PREFIX; not given: under `home`."""
    store_endpoint: str | None = None
    """Address of an S3 server; not given: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS's own."""
    store_region: str | None = None
    """Region of the bucket; not given: AWS_REGION, AWS_DEFAULT_REGION, or what AWS's tools find."""
    store_access_key: SecretStr | None = None
    """Access key for the bucket; not given: AWS_ACCESS_KEY_ID, or what AWS's tools find."""
    store_secret_key: SecretStr | None = None
    """Its secret key."""
    device: str = "auto"
    """auto, cpu or cuda:N."""
    lease_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A job whose worker has not been heard of for this long may be taken over."""
    replica_lease_seconds: Annotated[float, Field(gt=0)] = 10.0
    """An inference process that could not renew for this long answers 503."""
    batch_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Requests for one model that arrive within this window share one job."""
    batch_requests: Annotated[int, Field(gt=0)] = 500
    """As many requests share one job at most; the next one begins another."""
    worker_classes: str | None = None
    """Classes of models whose jobs a worker takes, as in `small,gpu`; not given: every class."""
    worker_memory_mb: Annotated[int | None, Field(gt=0)] = None
    """Memory that a job may take on a worker's device; not given: what its GPU has free."""
    grace_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a stopping process finishes what it holds."""
    drain_seconds: Annotated[float, Field(ge=0)] = 0.5
    """How long a stopping service still answers while `/readyz` already says 503."""
    max_takeovers: Annotated[int, Field(gt=0)] = 10
    """Leases that one job may lose before a person must look."""
    max_attempts: Annotated[int, Field(gt=0)] = 3
    """Failed tries of one job before a person must look."""
    max_body_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    """Larger request bodies are refused with 413."""
    max_json_depth: Annotated[int, Field(gt=0)] = 32
    """JSON of more levels is refused with 400, before it is parsed."""
    address_rate: str = "12000/minute"
    """Calls from one address, predictions and probes apart; more are refused with 429. Or off."""
    key_rate: str = "6000/minute"
    """Calls with one key, predictions apart. Or off."""
    erasure_rate: str = "1000/minute"
    """Erasure requests with one key; a hundred of one bulk call count as one. Or off."""
    failed_key_rate: str = "30/minute"
    """Keys from one address that are not good; then only keys known already are let in. Or off."""
    key_quota: str = "100000/day"
    """Erasure requests with one key in the long run, each of a bulk call counted. Or off."""
    subject_quota: str = "50/day"
    """Erasure requests for one subject. Or off."""
    review_share: Annotated[float, Field(gt=0, le=1)] = 0.10
    """A job that erases a larger share of a data set waits for a reviewer before it begins."""
    review_class_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Likewise one that erases a larger share of a class's training samples, or all of them."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Pause between two rounds of `sweep`."""
    poll_seconds: Annotated[float, Field(gt=0)] = 0.2
    """How often a process looks for changed jobs and newly published versions."""
    predict_seconds: Annotated[float, Field(gt=0)] = 10.0
    """A prediction that is not ready after so long is answered 504."""
    predict_queue: Annotated[int, Field(gt=0)] = 2048
    """Images that may wait to be classified in one process; more are refused with 429."""
    due_warning_days: Annotated[float, Field(ge=0)] = 7.0
    """An open request that is due within so many days is warned of, once."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How often a long unlearning or retraining keeps where it stands, for a worker to go on."""
    secret: SecretStr | None = None
    """Keys the hashes of subjects. Embedded mode makes one; production must set it."""
    secrets_before: SecretStr | None = None
    """Secrets that were rotated out, the oldest first, with commas or lines between."""
    signing_key: Path | None = None
    """Ed25519 private key (PEM) that signs certificates; not given: made under `home`."""
    callback_allow: str = ""
    """Networks, separated by commas, that callbacks may go to although they are not public."""
    callback_http: bool = False
    """Callbacks may go to http:// too, unencrypted."""
    callback_ca: Path | None = None
    """Authorities (PEM) that may vouch for receivers of callbacks, beside the public ones."""
    opendsr_url: str | None = None
    """Where OpenDSR's controllers find this service, such as https://privacy.example.com."""
    opendsr_key: Path | None = None
    """RSA private key (PEM) that signs what is said by OpenDSR; embedded mode makes one."""
    opendsr_certificate: Path | None = None
    """The certificate (PEM) of that key for the host in `opendsr_url`, and those above it."""
    alive_file: Path | None = None
    """A worker touches it every few seconds while it lives, for a container's health check."""
    log: Literal["json", "text"] | None = None
    """Log lines on stderr: json or text; not given: text on a terminal, json elsewhere."""
    contact: str | None = None
    """Who answers questions of data subjects: an address that the answers to them name."""
    production: bool = False
    """Refuse to start in the embedded mode, so that a forgotten LETHE_DATABASE_URL is noticed."""
    tls: bool = False
    """TLS is in front: browsers are told to come by HTTPS only, for a year."""
    cors_origins: str | None = None
    """Origins whose pages may call the API, with commas between; not given: none."""
    trusted_proxies: str | None = None
    """Addresses or networks, with commas between, whose X-Forwarded-For and -Proto are believed."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic-settings' form
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is passed, then variables, then files that variables name."""
        return init_settings, env_settings, _Files(settings_cls)

    @property
    def embedded(self) -> bool:
        """Is this the embedded mode: one machine, SQLite, nothing to install?"""
        return self.database_url is None

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force, with the psycopg driver for PostgreSQL."""
        if self.database_url is None:
            return f"sqlite:///{self.home.absolute() / 'lethe.db'}"
        for scheme in ("postgres://", "postgresql://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        return self.database_url

    @property
    def store(self) -> str:
        """Root of samples, checkpoints and scratch."""
        return self.store_url or str(self.home.absolute() / "store")

    @cached_property
    def secret_bytes(self) -> bytes:
        """The secret that keys every hash of a subject.

        Raises `SettingsError` in production when LETHE_SECRET is not set or is too short.
        """
        if self.secret is not None:
            value = self.secret.get_secret_value()
            if len(value) < 16:
                raise SettingsError(f"LETHE_SECRET is shorter than 16 characters; {_MAKE_ONE}")
            if not self.embedded and production.weak(value):
                raise SettingsError(f"LETHE_SECRET is a placeholder or too simple; {_MAKE_ONE}")
            return value.encode()
        if not self.embedded:
            raise SettingsError(
                "LETHE_SECRET is not set. With LETHE_DATABASE_URL set it must be, and be the "
                "same for every process: it keys the hashes by which subjects are found"
            )
        return self._kept_secrets[-1]

    @cached_property
    def secrets_before_bytes(self) -> tuple[bytes, ...]:
        """The secrets before it, the oldest first."""
        if self.secret is None and self.embedded:
            return self._kept_secrets[:-1]
        text = self.secrets_before.get_secret_value() if self.secrets_before else ""
        parts = (part.strip() for part in text.replace("\n", ",").split(","))
        return tuple(part.encode() for part in parts if part)

    @property
    def _kept_secrets(self) -> tuple[bytes, ...]:
        """The embedded mode's file: its secrets with NULs between, the newest last."""
        kept = made_once(self.home / "secret", lambda: secrets.token_urlsafe(32).encode())
        return tuple(kept.split(b"\0"))

    @cached_property
    def callback_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`callback_allow`, read; raises `SettingsError`."""
        names = [part.strip() for part in self.callback_allow.split(",") if part.strip()]
        try:
            return tuple(ip_network(name) for name in names)
        except ValueError as error:
            raise SettingsError(
                f"LETHE_CALLBACK_ALLOW: {error}. Give networks, such as 10.1.0.0/16,::1/128"
            ) from None

    def check(self) -> None:
        """Refuse settings that cannot be run with; raises `SettingsError`."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"LETHE_HOME ({self.home}) cannot be used: {error.strerror}. "
                "Set it to a folder this user may write to"
            ) from None
        if not os.access(self.home, os.W_OK):
            raise SettingsError(f"LETHE_HOME ({self.home}) is not writable for this user")
        production.check_database(self.database_url, production=self.production)
        production.origins(self.cors_origins)
        production.proxies(self.trusted_proxies)
        for name in rates.SETTINGS:
            rates.rate(name, getattr(self, name))
        production.check_store(self.store, self.store_access_key, self.store_secret_key)
        _ = self.secret_bytes, self.callback_networks
        if self.callback_ca is not None and not self.callback_ca.is_file():
            raise SettingsError(f"LETHE_CALLBACK_CA ({self.callback_ca}) is not a file")


class _Files(PydanticBaseSettingsSource):
    """LETHE_SECRET_FILE names the file that holds LETHE_SECRET; so for every setting."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002  # pydantic-settings' form
        field_name: str,
    ) -> tuple[str | None, str, bool]:
        """The file's text, without the newline at its end; raises `SettingsError`."""
        name = f"LETHE_{field_name.upper()}"
        path = os.environ.get(f"{name}_FILE")
        if not path:
            return None, field_name, False
        if os.environ.get(name):
            raise SettingsError(f"{name} and {name}_FILE are both set; which one is meant?")
        try:
            text = Path(path).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"{name}_FILE ({path}) cannot be read: {why}") from None
        if not text:
            raise SettingsError(f"{name}_FILE ({path}) is empty")
        return text, field_name, False

    def __call__(self) -> dict[str, str]:
        """The settings that lie in files."""
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: text for name, text in found.items() if text is not None}


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment, checked; raises `SettingsError` in one line."""
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as error:
        first = error.errors()[0]
        name = "LETHE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}, got {first['input']!r}") from None
    settings.check()
    return settings


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes of a secret file, made by `make()` on first use, readable by this user alone.

    Two processes that start together agree: the file is linked into place whole, and the
    loser reads the winner's.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    # Records are keyed by a secret at once: the file's name must outlast a power cut as well.
    sync_directory(path.parent)
    return path.read_bytes()
