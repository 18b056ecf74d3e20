from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from convergence import library
from convergence.errors import Fault, Invalid
from convergence.model.template import Template


class Own(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(Own):
    query: str
    bq_project_id: str | None = None
    query_params: dict[str, Any] = {}


class Destination(Own):
    table: str
    dataset_type: str
    bq_project_id: str | None = None
    write_mode: str = "replace_partition"
    schema_template: str | None = None
    recreate: bool = False
    table_config: dict[str, Any] | None = None
    merge_keys: list[str] = []
    partition_by: str | None = None
    cluster_by: list[str] = []


class BqEtl(Own):
    source: Source
    destination: Destination
    limit: int | None = None


class Email(Own):
    to_emails: str | list[str]
    subject: str
    message: str
    cc_emails: str | list[str] | None = None
    bcc_emails: str | list[str] | None = None
    from_email: str | None = None
    subject_template: str | None = None
    body_template: str | None = None


MODELS: Mapping[str, type[BaseModel]] = {
    "gcp.bq_etl": BqEtl,
    "notify_systems.email_notification": Email,
}
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def models() -> Mapping[str, type[BaseModel]]:
    return MODELS


@pytest.fixture(scope="session")
def shipped() -> str:
    """The text of cost_billing.yml."""
    return (CONFIGS / "gcp/cost/cost_billing.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Template]:
    def _parse(text: str) -> Template:
        return library.parse(text, file="t.yml", ref="gcp/cost/t", step_models=MODELS)

    return _parse


@pytest.fixture(scope="session")
def faults(parse: Callable[[str], Template]) -> Callable[[str], list[Fault]]:
    """What is wrong with a text; empty when it is a template."""

    def _faults(text: str) -> list[Fault]:
        try:
            parse(text)
        except Invalid as error:
            return list(error.faults)
        return []

    return _faults
