"""Whose credentials reach a dataset, and the client that they make."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import google.auth
from google.api_core.client_options import ClientOptions
from google.auth import exceptions, impersonated_credentials
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryReadClient
from google.oauth2 import service_account

from convergence.errors import WarehouseError

_PROJECTS = "https://cloudresourcemanager.googleapis.com"
_SECONDS = 60.0
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A service account's key, as a file or its text, and an account to act as; without all of
    them, the process's own.
    """

    key_file: Path | None = None
    key: str = field(default="", repr=False)
    impersonate: str = ""


AccessOf = Callable[[str], Access]
"""The access of a dataset; "" is what belongs to none."""


class Clients:
    """One client for each access, made at first use.

    `access_of` gives the access of a dataset; `endpoint` is an emulator's address.
    """

    def __init__(
        self, project: str, *, location: str, access_of: AccessOf, endpoint: str = ""
    ) -> None:
        self.project = project
        self.location = location
        self._access_of = access_of
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._made: dict[Access, bigquery.Client] = {}
        self._readers: dict[bigquery.Client, BigQueryReadClient] = {}

    def of(self, dataset: str) -> bigquery.Client:
        """The client for a dataset; "" is for what belongs to none. Raises WarehouseError."""
        access = self._access_of(dataset)
        with self._lock:
            if access not in self._made:
                self._made[access] = self._client(access)
            return self._made[access]

    def check_granted(self, permission: str) -> str:
        """Ask whether the process may do something in the project: "" where it may, words where
        that is not told. Raises WarehouseError where it may not.
        """
        url = f"{self._endpoint or _PROJECTS}/v1/projects/{self.project}:testIamPermissions"
        asked = {"permissions": [permission]}
        answer = self.of("")._http.post(url, json=asked, timeout=_SECONDS)
        if answer.status_code != HTTPStatus.OK:
            why = f"{_PROJECTS} answers {answer.status_code}"
            return f"whether it has {permission} is not told: {why}; is that API enabled?"
        if permission not in answer.json().get("permissions", ()):
            raise WarehouseError(
                f"the service account lacks {permission} in the project {self.project}",
                code="warehouse_forbidden",
                hint="grant it roles/bigquery.user there: docs/guides/bigquery.md",
            )
        return ""

    def storage(self, dataset: str) -> BigQueryReadClient | None:
        """What reads large answers; None for an emulator, which gives them page by page."""
        if self._endpoint:
            return None
        client = self.of(dataset)
        with self._lock:
            if client not in self._readers:
                reader = BigQueryReadClient(credentials=client._credentials)  # type: ignore[no-untyped-call]
                self._readers[client] = reader
            return self._readers[client]

    def close(self) -> None:
        with self._lock:
            for reader in self._readers.values():
                reader.transport.close()  # type: ignore[no-untyped-call]
            self._readers.clear()
            for client in self._made.values():
                client.close()  # type: ignore[no-untyped-call]
            self._made.clear()

    def _client(self, access: Access) -> bigquery.Client:
        options = ClientOptions(api_endpoint=self._endpoint) if self._endpoint else None
        return bigquery.Client(
            project=self.project,
            credentials=_credentials(access, is_emulated=bool(self._endpoint)),
            location=self.location,
            client_options=options,
        )


def _credentials(access: Access, *, is_emulated: bool) -> Any:  # noqa: ANN401 - google.auth is untyped
    if is_emulated:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        found = _own(access)
    except (OSError, ValueError, exceptions.GoogleAuthError) as error:
        raise no_credentials(error, access) from error
    if not access.impersonate:
        return found
    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=found, target_principal=access.impersonate, target_scopes=list(SCOPES)
    )


def _own(access: Access) -> Any:  # noqa: ANN401 - as above
    if access.key:
        info = json.loads(access.key)
        return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]
    if access.key_file is None:
        return google.auth.default(scopes=SCOPES)[0]
    load = service_account.Credentials.from_service_account_file
    return load(str(access.key_file), scopes=SCOPES)  # type: ignore[no-untyped-call]


def no_credentials(error: Exception, access: Access | None = None) -> WarehouseError:
    """The error to raise when nobody is let in."""
    where = f" in {access.key_file}" if access and access.key_file else ""
    where = " in the tenant's key" if access and access.key else where
    return WarehouseError(
        f"no credentials for BigQuery{where}: {str(error).splitlines()[0][:200]}",
        code="no_credentials",
        hint="gcloud auth application-default login, or CDP_BIGQUERY_KEY_FILE; a tenant's own: "
        "cdp tenants credentials set",
    )
