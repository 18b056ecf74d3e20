import socket
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.outside.home import Home
from tests.api.test_export import READERS
from tests.cli.conftest import DAY, TEMPLATE, Cdp, Server, onboard, program, serve
from tests.conftest import HEADER, export_line

MANY = 4_000
"""Rows that take more than one part of an answer."""


def test_commands_on_its_home_ask_the_server(server: Server, cdp: Cdp, export: Path) -> None:
    onboard(cdp, export, "umbra")
    ended = cdp("run", TEMPLATE, "-t", "umbra", "--date", DAY, "--json")
    assert (ended.code, ended.json["status"], ended.json["trigger_type"]) == (0, "COMPLETED", "cli")
    assert cdp("costs", "summary", "-t", "umbra", "--json").json[0]["cost"] == "10.100000001"
    assert cdp("costs", "top", "-t", "umbra", "-o", "csv").out.startswith("service_id,")
    assert cdp("sql", "-t", "umbra", "SELECT 1 AS a", "--json").json == [{"a": 1}]
    assert cdp("tenants", "show", "umbra", "--json").json["dataset"] == "umbra"
    assert cdp("quota", "show", "umbra", "--json").json["pipelines_run_today"] == 1
    listed = cdp("runs", "ls", "--tenant", "umbra", "--json").json
    assert [each["run_date"] for each in listed] == [DAY]
    assert len(cdp("templates", "ls", "--json").json) >= 1


def test_a_bill_is_exported_whole_through_a_server_that_is_named(
    server: Server, cdp: Cdp, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [export_line(DAY, "0.000000001", "", "202503")] * MANY
    (export / "a.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    onboard(cdp, export, "export_all")
    assert cdp("run", TEMPLATE, "-t", "export_all", "--date", DAY).code == 0
    monkeypatch.setenv("CDP_ADMIN_KEY", (server.home / "admin.key").read_text().strip())
    monkeypatch.setenv("CDP_HOME", str(tmp_path / "elsewhere"))
    for form, read in READERS.items():
        file = tmp_path / f"bill.{form}"
        asked = ("costs", "export", str(file), "-t", "export_all", "-o", form)
        ended = cdp(*asked, "--server", server.url)
        assert ended.code == 0, ended.err
        rows = read(file.read_bytes())
        assert len(rows) == MANY
        assert sum(Decimal(str(row["cost"])) for row in rows) == MANY * Decimal("0.000000001")


def test_keys_and_sources_are_managed_through_the_server(
    server: Server, cdp: Cdp, export: Path
) -> None:
    onboard(cdp, export, "keyed")
    options = ("--name", "ci", "--scope", "read", "--json")
    key = cdp("tenants", "keys", "create", "keyed", *options).json
    assert key["scopes"] == ["pipelines:read"]
    assert len(cdp("tenants", "keys", "ls", "keyed", "--json").json) == 2
    assert cdp("tenants", "keys", "revoke", "keyed", key["api_key_id"]).code == 0
    tables = [source["table"] for source in cdp("sources", "ls", "--json").json]
    (own,) = [table for table in tables if "keyed" in table]
    assert cdp("sources", "rm", own).code == 0
    assert own not in cdp("sources", "ls").out


def test_errors_keep_their_exit_code_through_the_server(
    server: Server, cdp: Cdp, export: Path
) -> None:
    onboard(cdp, export, "erring")
    assert cdp("tenants", "onboard", "erring", "--email", "a@acme.example").code == 1
    assert cdp("sql", "-t", "erring", "SELEC").code == 2
    cdp("quota", "set", "erring", "--daily", "0")
    assert cdp("run", TEMPLATE, "-t", "erring").code == 3
    assert cdp("tenants", "show", "nobody").code == 4


def test_tenant_with_its_key_sees_itself_alone(
    server: Server, cdp: Cdp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cdp("tenants", "onboard", "alone", "--email", "a@acme.example", "--json").json
    monkeypatch.setenv("CDP_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CDP_SERVER", server.url)
    monkeypatch.setenv("CDP_API_KEY", made["api_key"])
    assert cdp("tenants", "show", "alone").code == 0
    assert cdp("tenants", "show", "other").code == 4
    assert cdp("tenants", "ls").code == 5
    monkeypatch.setenv("CDP_API_KEY", "junk")
    assert cdp("tenants", "show", "alone").code == 5


def test_key_of_the_home_is_not_shown_to_another_server(
    server: Server, cdp: Cdp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_HOME", str(tmp_path / "other"))
    assert cdp("tenants", "ls").code == 0
    assert (tmp_path / "other" / "admin.key").exists()
    refused = cdp("tenants", "ls", "--server", server.url)
    assert refused.code == 5
    assert "Missing API key" in refused.err


def test_second_server_on_a_home_is_refused(server: Server, cdp: Cdp) -> None:
    refused = cdp("serve", "--port", "0")
    assert refused.code == 1
    assert server.url in refused.err
    assert str(server.process.pid) in refused.err


def test_port_in_use_is_refused_before_anything_starts(cdp: Cdp, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cdp("serve", "--port", str(port))
    assert refused.code == 1
    assert f"port {port} on 127.0.0.1 is in use" in refused.err
    assert not home.exists()


def test_start_without_its_secrets_leaves_no_home(
    cdp: Cdp, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_ENVIRONMENT", "production")
    refused = cdp("serve", "--port", "0")
    assert refused.code == 2
    assert "CDP_PEPPER" in refused.err
    assert not home.exists()


def test_address_of_another_machine_is_a_usage_error(cdp: Cdp) -> None:
    assert cdp("serve", "--host", "203.0.113.1").code == 2


def test_open_server_is_refused_on_a_public_address(cdp: Cdp) -> None:
    refused = program("serve", "--host", "0.0.0.0", DISABLE_AUTH="true")  # noqa: S104 - refused
    assert refused.code == 2
    assert "loopback" in refused.err


def test_server_stops_in_good_order_and_frees_its_home(home: Path) -> None:
    started = serve(home, "--no-worker")
    ended = started.stop()
    assert ended.code == 0
    assert ended.out == ""
    assert started.url in ended.err
    assert str(home / "admin.key") in ended.err
    assert (home / "admin.key").read_text().strip() not in ended.err
    assert ended.err.splitlines()[-1] == "stopped"
    assert Home(home).holder() is None


def test_run_that_a_killed_server_left_pending_is_executed_without_it(
    home: Path, cdp: Cdp, export: Path
) -> None:
    started = serve(home, "--no-worker")
    onboard(cdp, export)
    left = cdp("run", TEMPLATE, "-t", "acme", "--date", DAY, "--no-wait", "--json")
    assert (left.code, left.json["status"]) == (0, "PENDING"), left.err
    started.process.kill()
    started.process.communicate()
    done = cdp("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    assert done["pipeline_logging_id"] == left.json["pipeline_logging_id"]
    assert done["status"] == "COMPLETED"
