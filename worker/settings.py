"""What the operator has decided: environment and `.env`, read once, refused when unsafe."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.sealing import read_keys
from worker.errors import ConfigError

#: Four separate deployments; a key of one is unknown to the others. Source: docs.recall.ai, regions.
RECALL_REGIONS = ("us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1")
SHORTEST_SECRET_BYTES = 16
_URLS = (
    *("public_url", "recall_base_url"),
    *("google_accounts_url", "google_oauth_url", "google_api_url"),
    *("microsoft_login_url", "microsoft_graph_url"),
)


class Settings(BaseSettings):
    """Every setting there is; names are the environment variables without `PUNCTUAL_`."""

    model_config = SettingsConfigDict(
        env_prefix="PUNCTUAL_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Path("var")
    database_url: SecretStr | None = None
    broker_url: SecretStr = SecretStr("memory://")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    public_url: str | None = None
    encryption_keys: SecretStr | None = None
    admin_api_key: SecretStr | None = None

    recall_api_key: SecretStr | None = None
    recall_region: Literal["us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1"] = "us-west-2"
    recall_base_url: str | None = None
    recall_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    recall_adopt: bool = True
    bot_mode: Literal["recall_managed", "recall_self_managed"] = "recall_managed"
    recall_list_per_minute: int = Field(default=60, ge=1)
    recall_schedule_per_minute: int = Field(default=600, ge=1)
    recall_bot_create_per_minute: int = Field(default=60, ge=1)
    recall_other_per_minute: int = Field(default=300, ge=1)

    google_client_id: str | None = None
    google_client_secret: SecretStr | None = None
    google_calls_per_minute: int = Field(default=10_000, ge=1)
    google_accounts_url: str = "https://accounts.google.com"
    google_oauth_url: str = "https://oauth2.googleapis.com"
    google_api_url: str = "https://www.googleapis.com"
    microsoft_client_id: str | None = None
    microsoft_client_secret: SecretStr | None = None
    microsoft_calls_per_minute: int = Field(default=100_000, ge=1)
    microsoft_tenant: str = "common"
    microsoft_login_url: str = "https://login.microsoftonline.com"
    microsoft_graph_url: str = "https://graph.microsoft.com"

    reconcile_near_seconds: int = Field(default=300, ge=1)
    reconcile_all_seconds: int = Field(default=3600, ge=1)
    events_url: SecretStr | None = None
    events_exchange: str = "punctual.events"
    allow_private_endpoints: bool = False
    log_format: Literal["console", "json"] | None = None
    work_concurrency: int = Field(default=8, ge=1, le=256)
    metrics_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("recall_webhook_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def base_url(self) -> str:
        """Where the world reaches us, without a trailing slash."""
        return (self.public_url or f"http://{self.http_host}:{self.http_port}").rstrip("/")

    @property
    def recall_url(self) -> str:
        """Base URL of the Recall workspace, without a trailing slash."""
        return (self.recall_base_url or f"https://{self.recall_region}.recall.ai").rstrip("/")

    @property
    def amqp_url(self) -> str | None:
        """Where domain events are published: the setting, else the broker when it speaks AMQP."""
        if self.events_url is not None:
            return self.events_url.get_secret_value() or None
        broker = self.broker_url.get_secret_value()
        return broker if broker.startswith(("amqp://", "amqps://")) else None

    @property
    def is_embedded(self) -> bool:
        """No database server was named: ours comes with us."""
        return self.database_url is None

    @property
    def reconcile_near(self) -> timedelta:
        return timedelta(seconds=self.reconcile_near_seconds)

    @property
    def reconcile_all(self) -> timedelta:
        return timedelta(seconds=self.reconcile_all_seconds)


def load_settings(*, may_embed: bool = True, env_file: str | None = ".env") -> Settings:
    """
    Read the settings; ConfigError with one line per fault when they cannot be used.

    *may_embed* allows the embedded database and the `memory://` broker, which live only inside the
    process tree of `punctual up`.
    """
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as invalid:
        lines = [
            f"PUNCTUAL_{'_'.join(str(part) for part in fault['loc'][:1]).upper()}: {fault['msg']}"
            for fault in invalid.errors(include_input=False, include_url=False)
        ]
        raise ConfigError("\n".join(lines)) from None
    faults = [*_faults(settings), *([] if may_embed else _faults_alone(settings))]
    if faults:
        raise ConfigError("\n".join(faults))
    return settings


def signing_key(secret: str) -> bytes:
    """Decode a `whsec_…` secret; ValueError when it is malformed or too short to be safe."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as malformed:
        msg = "a webhook secret is whsec_ followed by base64"
        raise ValueError(msg) from malformed
    if not secret.startswith("whsec_") or len(key) < SHORTEST_SECRET_BYTES:
        msg = f"a webhook secret is whsec_ followed by base64 of at least {SHORTEST_SECRET_BYTES} bytes"
        raise ValueError(msg)
    return key


def _faults(settings: Settings) -> list[str]:
    faults: list[str] = []
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            faults.append("PUNCTUAL_DATABASE_URL: must be postgresql://…")
        if settings.encryption_keys is None:
            faults.append(
                "PUNCTUAL_ENCRYPTION_KEYS: required with PUNCTUAL_DATABASE_URL (punctual keys new)"
            )
        if settings.admin_api_key is None:
            faults.append("PUNCTUAL_ADMIN_API_KEY: required with PUNCTUAL_DATABASE_URL")
    broker = settings.broker_url.get_secret_value()
    if not broker.startswith(("memory://", "amqp://", "amqps://", "redis://", "rediss://")):
        faults.append("PUNCTUAL_BROKER_URL: must be memory://, amqp://… or redis://…")
    events = settings.events_url.get_secret_value() if settings.events_url else ""
    if events and not events.startswith(("amqp://", "amqps://")):
        faults.append("PUNCTUAL_EVENTS_URL: must be amqp://… or empty")
    for name in _URLS:
        value = getattr(settings, name)
        if value is not None and not _is_base_url(value):
            faults.append(
                f"PUNCTUAL_{name.upper()}: must be http(s)://host[:port][/path], no user, query or #"
            )
    for platform in ("google", "microsoft"):
        pair = [getattr(settings, f"{platform}_client_{what}") for what in ("id", "secret")]
        if (pair[0] is None) != (pair[1] is None):
            name = f"PUNCTUAL_{platform.upper()}_CLIENT"
            faults.append(f"{name}_ID and {name}_SECRET: give both or neither")
    if settings.encryption_keys is not None:
        try:
            read_keys(settings.encryption_keys.get_secret_value())
        except (ValueError, binascii.Error) as wrong:
            faults.append(f"PUNCTUAL_ENCRYPTION_KEYS: {wrong}")
    if settings.admin_api_key is not None and len(settings.admin_api_key.get_secret_value()) < 20:
        faults.append("PUNCTUAL_ADMIN_API_KEY: at least 20 characters")
    for secret in settings.recall_webhook_secrets:
        try:
            signing_key(secret.get_secret_value())
        except ValueError as wrong:
            faults.append(f"PUNCTUAL_RECALL_WEBHOOK_SECRETS: {wrong}")
    return faults


def _faults_alone(settings: Settings) -> list[str]:
    faults: list[str] = []
    if settings.database_url is None:
        faults.append("PUNCTUAL_DATABASE_URL: required here; only `punctual up` embeds a database")
    if settings.broker_url.get_secret_value().startswith("memory://"):
        faults.append("PUNCTUAL_BROKER_URL: required here; memory:// exists only inside `punctual up`")
    return faults


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    clean = not (parts.query or parts.fragment or parts.username or parts.password)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and clean
