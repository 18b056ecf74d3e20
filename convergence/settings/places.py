"""The places that settings are read from: the environment, `.env` and `cdp.toml`."""

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from convergence.errors import Fault, Invalid

ALIASES = {
    "GCP_PROJECT_ID": "project_id",
    "DISABLE_AUTH": "disable_auth",
    "ADMIN_API_KEY": "admin_key",
    "ENVIRONMENT": "environment",
    "BIGQUERY_EMULATOR_HOST": "bigquery_endpoint",
}
"""Names without the prefix; CDP_ADMIN_KEY wins over ADMIN_API_KEY in the same place."""
VARIABLES = {"project_id": "GCP_PROJECT_ID", "bigquery_endpoint": "BIGQUERY_EMULATOR_HOST"}
"""Settings that are read under another name alone."""
OTHERS = frozenset({"CDP_TENANT", "CDP_API_KEY", "CDP_SERVER", "CDP_VENV"})
"""Read from the environment by the command line and its bootstrap; no settings of the service."""


def read(
    names: Collection[str], variables: Mapping[str, str], folder: Path
) -> dict[str, dict[str, Any]]:
    """What each place says of the settings `names`, the weakest place first.

    Raises Invalid for a file that cannot be read, and for names that are no setting.
    """
    return {
        "cdp.toml": _from_toml(folder / "cdp.toml", names),
        ".env": _from_dotenv(folder / ".env", names),
        "environment": _from_environment(variables, names),
    }


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return VARIABLES.get(name, f"CDP_{name.upper()}")


def _variables(names: Collection[str]) -> dict[str, str]:
    return ALIASES | {variable(name): name for name in names}


def _from_environment(variables: Mapping[str, str], names: Collection[str]) -> dict[str, Any]:
    known = _variables(names)
    ours = {name for name in variables if name.upper().startswith("CDP_")} - OTHERS
    ours = {name for name in ours if not name.startswith("CDP_TEST_")}
    others = sorted(ours - known.keys())
    if others:
        raise invalid([unknown(name, "environment", known.keys() | OTHERS) for name in others])
    return {field: variables[name] for name, field in known.items() if variables.get(name)}


def _from_dotenv(path: Path, names: Collection[str]) -> dict[str, Any]:
    """A `.env` file may hold more than ours; but what begins with CDP_ must be a setting."""
    try:
        found = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {path}: {error}", code="invalid_settings") from error
    known = _variables(names)
    others = [name for name in found if name.upper().startswith("CDP_") and name not in known]
    if others:
        raise invalid([unknown(name, ".env", known.keys()) for name in others])
    return {field: found[name] for name, field in known.items() if found.get(name)}


def _from_toml(path: Path, names: Collection[str]) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"cannot read {path}: {error}", code="invalid_settings") from error
    others = [name for name in found if name not in names]
    if others:
        raise invalid([unknown(name, "cdp.toml", names) for name in others])
    return {name: value for name, value in found.items() if value != ""}


def unknown(name: str, place: str, known: Collection[str]) -> Fault:
    if name in OTHERS:
        return Fault(message=f"{name} is read from the environment alone", pointer=place)
    close = get_close_matches(name, known, n=1) or get_close_matches(name.upper(), known, n=1)
    return Fault(
        message=f"{name} is not a setting", pointer=place, suggestion=close[0] if close else ""
    )


def invalid(faults: list[Fault]) -> Invalid:
    return Invalid(
        "; ".join(map(str, faults)),
        code="invalid_settings",
        hint="docs/reference/settings.md lists every setting",
        faults=faults,
    )
