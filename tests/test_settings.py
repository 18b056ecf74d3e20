"""The settings: which place wins, what is refused, and what their reference page says."""

from pathlib import Path

import pytest

from convergence.errors import Invalid
from convergence.settings.fields import Settings, origins, text_of
from convergence.settings.places import OTHERS, variable

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def load(folder: Path, variables: dict[str, str] | None = None, **flags: object) -> Settings:
    return Settings.load(variables=variables or {}, folder=folder, **flags)


def test_a_stronger_place_wins_and_is_told_as_the_origin(tmp_path: Path) -> None:
    (tmp_path / "cdp.toml").write_text(
        'port = 1\nhost = "::1"\nthreads = 3\nalert_allow = ["a@b.c"]\n'
    )
    (tmp_path / ".env").write_text('CDP_PORT=2\nCDP_HOST="127.0.0.2"\nOTHER=x\n')
    settings = load(tmp_path, {"CDP_PORT": "3", "CDP_THREADS": ""}, port=4, log_level=None)
    told = origins(settings)
    assert (settings.port, told["port"]) == (4, "flag")
    assert (settings.host, told["host"]) == ("127.0.0.2", ".env")
    assert (settings.threads, told["threads"]) == (3, "cdp.toml")
    assert (settings.log_level, told["log_level"]) == ("INFO", "default")
    assert settings.alert_allow == {"a@b.c"}


def test_the_environment_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CDP_PORT=2\n")
    settings = load(tmp_path, {"CDP_PORT": "3"})
    assert (settings.port, origins(settings)["port"]) == (3, "environment")


def test_names_of_the_source_documents_work(tmp_path: Path) -> None:
    variables = {
        "DISABLE_AUTH": "true",
        "ADMIN_API_KEY": "one",
        "ENVIRONMENT": "development",
        "GCP_PROJECT_ID": "gac-prod-471220",
    }
    settings = load(tmp_path, variables)
    assert settings.disable_auth
    assert text_of(settings.admin_key) == "one"
    assert settings.project_id == "gac-prod-471220"
    assert text_of(load(tmp_path, variables | {"CDP_ADMIN_KEY": "two"}).admin_key) == "two"


def test_a_home_is_made_absolute_and_holds_the_store_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path).home == tmp_path / ".cdp"
    settings = load(tmp_path, {"CDP_HOME": "there"})
    assert settings.home == tmp_path / "there"
    assert settings.database_url_text() == f"sqlite:///{tmp_path}/there/control.db"


def test_a_list_of_addresses_takes_commas_and_spaces(tmp_path: Path) -> None:
    settings = load(tmp_path, {"CDP_ALERT_ALLOW": "a@b.c, d@e.f"})
    assert settings.alert_allow == {"a@b.c", "d@e.f"}


@pytest.mark.parametrize(
    ("variables", "suggestion"),
    [
        ({"CDP_HOEM": "x"}, "CDP_HOME"),
        ({"cdp_port": "1"}, "CDP_PORT"),
        ({"CDP_PROJECT_ID": "x"}, "GCP_PROJECT_ID"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    tmp_path: Path, variables: dict[str, str], suggestion: str
) -> None:
    with pytest.raises(Invalid) as refused:
        load(tmp_path, variables)
    assert refused.value.faults[0].suggestion == suggestion


def test_unknown_names_in_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cdp.toml").write_text("prot = 1\n")
    with pytest.raises(Invalid, match=r"cdp\.toml  prot is not a setting \(try: port\)"):
        load(tmp_path)
    (tmp_path / "cdp.toml").unlink()
    (tmp_path / ".env").write_text("CDP_TENANT=acme\n")
    with pytest.raises(Invalid, match="CDP_TENANT is read from the environment alone"):
        load(tmp_path)


def test_what_the_command_line_reads_is_not_refused(tmp_path: Path) -> None:
    assert load(tmp_path, dict.fromkeys(OTHERS, "x")).port == 8080


@pytest.mark.parametrize("content", ["port = ", 'port = "\\ud800"', "[port]\nx = 1"])
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cdp.toml").write_text(content)
    with pytest.raises(Invalid):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CDP_PORT", "http"),
        ("CDP_PORT", "70000"),
        ("CDP_ENVIRONMENT", "prod"),
        ("CDP_WAREHOUSE", "snowflake"),
        ("CDP_DATABASE_URL", "mysql://h/d"),
        ("CDP_DATABASE_URL", "sqlite:///relative.db"),
        ("CDP_SMTP_URL", "smtp://user:pa#ss@host"),
        ("CDP_MEMORY_LIMIT", "1GB'; DROP TABLE x"),
        ("CDP_DATASET_PREFIX", "a-b"),
        ("GCP_PROJECT_ID", "x\n"),
        ("CDP_QUERY_TIMEOUT", "0"),
        ("CDP_QUERY_TIMEOUT", "nan"),
        ("CDP_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name) as refused:
        load(tmp_path, {name: value})
    assert refused.value.faults[0].pointer == "environment"


def test_a_wrong_value_is_shown_in_a_plain_sentence(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        load(tmp_path, {"CDP_PORT": "many", "CDP_THREADS": "0"})
    assert [fault.message for fault in refused.value.faults] == [
        "CDP_PORT 'many': must be a whole number",
        "CDP_THREADS '0': must be at least 1",
    ]


def test_an_emulator_of_bigquery_is_named_with_or_without_a_scheme(tmp_path: Path) -> None:
    for text in ("127.0.0.1:9050", "http://127.0.0.1:9050"):
        variables = {"BIGQUERY_EMULATOR_HOST": text, "CDP_WAREHOUSE": "bigquery"}
        settings = Settings.load(variables=variables, folder=tmp_path)
        assert settings.bigquery_endpoint == "http://127.0.0.1:9050"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        load(tmp_path, {"CDP_PORT": "x", "CDP_THREADS": "0"})
    assert len(refused.value.faults) == 2


@pytest.mark.parametrize(
    "variables",
    [
        {"CDP_HOST": "0.0.0.0"},  # noqa: S104 - the refused case
        {"CDP_HOST": "example.com"},
        {"CDP_ENVIRONMENT": "production"},
        {"ENVIRONMENT": "staging"},
    ],
)
def test_auth_cannot_be_switched_off_in_the_open(tmp_path: Path, variables: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="DISABLE_AUTH works only with"):
        load(tmp_path, {"DISABLE_AUTH": "1"} | variables)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_auth_can_be_switched_off_on_a_loopback_address(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, {"CDP_DISABLE_AUTH": "yes", "CDP_HOST": host}).disable_auth


SECRETS = {
    "CDP_ADMIN_KEY": "admin-canary",
    "CDP_PEPPER": "pepper-canary",
    "CDP_SMTP_URL": "smtp://user:mail-canary%21@host",
    "CDP_DATABASE_URL": "postgresql+psycopg://cdp:data-canary@host/cdp",
}


def test_secrets_never_show(tmp_path: Path) -> None:
    settings = load(tmp_path, SECRETS)
    assert "canary" not in f"{settings!r}{settings}{settings.model_dump()}"
    assert "canary" not in settings.model_dump_json()
    hidden = {"admin-canary", "pepper-canary", "mail-canary!", "mail-canary%21", "data-canary"}
    assert set(settings.secret_values()) == hidden


def test_a_refused_secret_is_not_repeated(tmp_path: Path) -> None:
    for name in SECRETS:
        with pytest.raises(Invalid) as refused:
            load(tmp_path, {name: "ftp://canary:canary[@x", "CDP_PORT": "70000"})
        assert "canary" not in f"{refused.value}{refused.value.__cause__}"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).port = 1  # type: ignore[misc]


def test_the_reference_page_lists_every_setting_with_default_and_meaning() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    wanted = [
        f"| `{variable(name)}` | {_shown(field.get_default())} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert rows[: len(wanted)] == wanted
    assert {row.split("`")[1] for row in rows[len(wanted) :]} == OTHERS


def _shown(default: object) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default or "")
    return f"`{text}`" if text else "(unset)"
