"""The settings of one process: what each is, and which values it takes."""

import os
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from convergence.errors import Fault, Invalid
from convergence.settings import places
from convergence.settings.places import invalid, unknown, variable

POSTGRES = "postgresql+psycopg"
SECRETS = frozenset({"database_url", "admin_key", "pepper", "credentials_key", "smtp_url"})
"""Their values are never repeated."""
WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "does not have the form {pattern}",
}


class Settings(BaseModel):
    """The settings of one process. `load` reads them; secrets never show in a repr or a dump."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    home: Path = Field(
        Path(".cdp"), description="Folder of the state; a relative one counts from where you are."
    )
    database_url: SecretStr | None = Field(
        None,
        description="Control store: `sqlite:////path/file` or "
        "`postgresql+psycopg://user@host/name` (a Unix socket with `?host=/path`). Unset: "
        "`control.db` in the home.",
    )
    database_connections: int = Field(
        20, ge=4, le=1000, description="Most connections to PostgreSQL; 8 above the runs at least."
    )
    claim_files: bool = Field(
        default=True, description="Whether this home may become the one with the tenants' files."
    )
    warehouse: Literal["duckdb", "bigquery"] = Field(
        "duckdb",
        description="Where the tenants' tables are: `duckdb`, a file each in the home, or "
        "`bigquery`, a dataset each in the project `GCP_PROJECT_ID`.",
    )
    bigquery_location: str = Field(
        "US",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{1,39}$",
        description="Location of the tenants' datasets in BigQuery, such as `EU` or "
        "`europe-west3`: that of the exports they are loaded from.",
    )
    bigquery_max_bytes: int | None = Field(
        None,
        ge=10_485_760,
        description="Bytes that one statement in BigQuery may be billed for; more is refused "
        "before it runs. Unset: as many as the step and the tenant's limit say.",
    )
    bigquery_job_seconds: int = Field(
        3600, ge=10, le=21_600, description="Seconds that a job of BigQuery may take."
    )
    bigquery_endpoint: str = Field(
        "",
        description="Address of an emulator of BigQuery, asked without credentials. Read as "
        "`BIGQUERY_EMULATOR_HOST`.",
    )
    bigquery_key_file: Path | None = Field(
        None,
        description="Key file of the service account that works in BigQuery for tenants without "
        "credentials of their own. Unset: the process's own credentials.",
    )
    bigquery_impersonate: str = Field(
        "",
        pattern=r"^([a-z0-9-]+@[a-z0-9.-]+)?$",
        description="Service account to act as, with those credentials.",
    )
    bigquery_price_per_tib: float = Field(
        6.25, ge=0, description="Dollars for a TiB read, in plans: on-demand in `US` as of 2025."
    )
    host: str = Field("127.0.0.1", description="Address that `cdp serve` listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Its port; 0 takes a free one.")
    environment: Literal["development", "staging", "production"] = Field(
        "development",
        description="`development`, `staging` or `production`. Outside development no secret is "
        "generated. Also read as `ENVIRONMENT`.",
    )
    admin_key: SecretStr | None = Field(
        None,
        description="The operator's key. Unset in development: made in `admin.key` in the home. "
        "Also read as `ADMIN_API_KEY`.",
    )
    pepper: SecretStr | None = Field(
        None,
        description="Key of the API keys' hashes; several with commas between, the newest last. "
        "Unset in development: made in `pepper` in the home. Part of a backup.",
    )
    credentials_key: SecretStr | None = Field(
        None,
        description="Seals tenants' cloud credentials; several with commas between, the newest "
        "last. Unset in development: made in `credentials.key` in the home. Part of a backup.",
    )
    disable_auth: bool = Field(
        default=False,
        description="No keys are needed. Only in development and on a loopback address. Also read "
        "as `DISABLE_AUTH`.",
    )
    rate_limit: int = Field(10_000, ge=1, description="Requests per minute and key.")
    arriving_days: int = Field(
        3, ge=0, le=60, description="A usage day younger than this is still coming in."
    )
    closing_days: int = Field(
        15, ge=1, le=366, description="An invoice month unchanged for so long is closed."
    )
    keep_queue_days: int = Field(
        7,
        ge=0,
        description="Days that the queue's records of a run stay after its end; 0: all.",
    )
    keep_events_days: int = Field(
        90,
        ge=0,
        description="Days that a run's events and log stay after its end, and notifications "
        "that were sent or given up; 0: for ever.",
    )
    keep_runs_days: int = Field(
        400,
        ge=0,
        description="Days that a run is kept which loaded nothing; 0: for ever. One that loaded "
        "something stays: its rows lead to it.",
    )
    project_id: str = Field(
        "local",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="The project's name in SQL, `project.dataset.table`. Read as `GCP_PROJECT_ID`.",
    )
    dataset_prefix: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9_]{0,19})?$",
        description="Begins the name of each new tenant's dataset.",
    )
    configs_dir: Path | None = Field(
        None, description="Folder of templates, in place of those that are shipped."
    )
    worker_concurrency: int = Field(
        4, ge=1, le=256, description="Runs that one process works on at once."
    )
    query_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds that a query may take; one of checks, four times."
    )
    memory_limit: str = Field(
        "512MB",
        pattern=r"^[0-9]{1,6}(\.[0-9]{1,3})?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
        description="Memory that DuckDB may use for one tenant, such as `512MB` or `2GB`.",
    )
    threads: int = Field(2, ge=1, le=256, description="Threads that DuckDB may use for one tenant.")
    alert_allow: frozenset[str] = Field(
        frozenset(),
        description="Mail addresses that any template may write to, with commas between. A "
        "tenant's own address is always allowed.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server: `smtp://[user:password@]host[:port][?starttls=1]`, or "
        "`smtps://…`. Unset: no mail is sent, and the step log says so.",
    )
    smtp_from: str = Field("cdp@localhost", description="Sender of mail.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severity that the log keeps: `DEBUG` to `ERROR`."
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(
        cls,
        *,
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
        **flags: Any,  # noqa: ANN401 - each field checks its own
    ) -> Self:
        """Read all places: `variables` are those of the environment, the files are in `folder`.

        A flag that is None, and an empty value, count as not given.
        Raises Invalid with every fault; the value of a secret is never repeated in it.
        """
        folder = folder or Path.cwd()
        found = places.read(
            cls.model_fields, os.environ if variables is None else variables, folder
        )
        found["flag"] = {name: value for name, value in flags.items() if value is not None}
        values = {name: value for place in found.values() for name, value in place.items()}
        origins = {name: origin for origin, place in found.items() for name in place}
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise invalid([_fault(each, origins) for each in error.errors()]) from None
        settings._origins = origins
        return settings

    @field_validator("bigquery_endpoint", mode="after")
    @classmethod
    def _address(cls, value: str) -> str:
        return f"http://{value}" if value and "://" not in value else value

    @field_validator("home", "configs_dir", "bigquery_key_file", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("alert_allow", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("database_url", "smtp_url", mode="after")
    @classmethod
    def _a_url(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            _ = urlsplit(text_of(value) or "").port
        except ValueError:
            raise ValueError("is not a url; write %23 for # and %2F for / in a password") from None
        return value

    @field_validator("database_url", mode="after")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("sqlite:////", f"{POSTGRES}://")):
            raise ValueError(f"begins with neither sqlite:////absolute/path nor {POSTGRES}://")
        return value

    @model_validator(mode="after")
    def _open_only_at_home(self) -> Self:
        if self.disable_auth and not (self.environment == "development" and _is_local(self.host)):
            raise ValueError(
                "DISABLE_AUTH works only with CDP_ENVIRONMENT=development and a loopback CDP_HOST"
            )
        return self

    def database_url_text(self) -> str:
        """The control store's url: `control.db` in the home when none is set."""
        return text_of(self.database_url) or f"sqlite:///{self.home / 'control.db'}"

    def secret_values(self) -> tuple[str, ...]:
        """All that must never be written down, the passwords in urls too; for the log."""
        urls = [text_of(self.database_url) or "", text_of(self.smtp_url) or ""]
        passwords = [urlsplit(url).password or "" for url in urls]
        keys = [text_of(each) or "" for each in (self.pepper, self.admin_key, self.credentials_key)]
        plain = [*keys, *",".join(keys).split(","), *map(unquote, passwords), *passwords]
        return tuple(value for value in plain if value)


def origins(settings: Settings) -> dict[str, str]:
    """Where each setting comes from: flag, environment, .env, cdp.toml or default."""
    return {name: settings._origins.get(name, "default") for name in Settings.model_fields}


def check_setting(name: str, text: str) -> str | float | bool:
    """The value as `cdp.toml` would have it. Raises Invalid for a name, a secret or a value."""
    if name not in Settings.model_fields:
        raise invalid([unknown(name, "cdp.toml", Settings.model_fields)])
    if name in SECRETS:
        raise Invalid(
            f"{name} is a secret: it does not belong in cdp.toml",
            code="invalid_settings",
            hint=f"write {variable(name)}=… into .env, which is never committed",
        )
    given: dict[str, Any] = {name: text}
    try:
        value = getattr(Settings.load(**given), name)
    except Invalid as error:
        raise invalid([replace(fault, pointer="") for fault in error.faults]) from error
    return value if isinstance(value, int | float) else text


def _fault(error: Any, origins: Mapping[str, str]) -> Fault:  # noqa: ANN401 - pydantic's ErrorDetails
    limits = error.get("ctx", {})
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in WORDS:
        message = WORDS[error["type"]].format(**limits)
    if not error["loc"]:
        return Fault(message=message)
    name = str(error["loc"][0])
    seen = "" if name in SECRETS else f" {str(error['input'])[:80]!r}"
    return Fault(message=f"{variable(name)}{seen}: {message}", pointer=origins.get(name, "default"))


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def text_of(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
