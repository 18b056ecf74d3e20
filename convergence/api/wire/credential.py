"""Cloud credentials: sent once, never shown again."""

from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue

from convergence.api.wire.shape import In, Out
from convergence.api.wire.tenant import ONE_LINE
from convergence.model.credential import Credential, CredentialType, Provider


class CredentialIn(In):
    """A service account's key, as its JSON file has it; or an account to act as."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account": "cdp-acme@my-project.iam.gserviceaccount.com"}]}
    )

    credentials_json: dict[str, JsonValue] | None = Field(default=None, repr=False)
    account: Annotated[str | None, Field(max_length=200)] = None
    description: Annotated[str, Field(pattern=ONE_LINE + "|^$", max_length=200)] = ""


class CredentialOut(Out):
    """All that is shown of it. `fingerprint` is the beginning of the key's id."""

    credential_id: str
    tenant_id: str
    provider: Provider
    credential_type: CredentialType
    account: str
    fingerprint: str
    description: str
    created_at: AwareDatetime
    updated_at: AwareDatetime


def credential_out(credential: Credential) -> CredentialOut:
    return CredentialOut.model_validate(credential)
