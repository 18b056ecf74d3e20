import socket
from pathlib import Path

from convergence.outside.home import Home
from tests.cli.conftest import (
    DAY,
    TEMPLATE,
    Cdp,
    Server,
    onboard,
    program,
    serve,
)


def test_commands_on_its_home_ask_the_server(server: Server, cdp: Cdp, export: Path) -> None:
    onboard(cdp, export)
    ended = cdp("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json")
    assert (ended.code, ended.json["status"]) == (0, "COMPLETED")
    assert cdp("costs", "summary", "-t", "acme", "--json").json[0]["cost"] == "10.100000001"
    assert cdp("costs", "top", "-t", "acme", "-o", "csv").out.startswith("service_id,")
    assert cdp("sql", "-t", "acme", "SELECT 1 AS a", "--json").json == [{"a": 1}]
    assert cdp("tenants", "show", "acme", "--json").json["dataset"] == "acme"
    assert cdp("quota", "show", "acme", "--json").json["pipelines_run_today"] == 1
    assert [each["run_date"] for each in cdp("runs", "ls", "--json").json] == [DAY]
    assert len(cdp("templates", "ls", "--json").json) >= 1


def test_keys_and_sources_are_managed_through_the_server(
    server: Server, cdp: Cdp, export: Path
) -> None:
    onboard(cdp, export)
    key = cdp("tenants", "keys", "create", "acme", "--name", "ci", "--json").json
    assert len(cdp("tenants", "keys", "ls", "acme", "--json").json) == 2
    assert cdp("tenants", "keys", "revoke", "acme", key["api_key_id"]).code == 0
    (source,) = cdp("sources", "ls", "--json").json
    assert cdp("sources", "rm", source["table"]).code == 0
    assert cdp("sources", "ls", "--json").json == []


def test_errors_keep_their_exit_code_through_the_server(
    server: Server, cdp: Cdp, export: Path
) -> None:
    onboard(cdp, export)
    assert cdp("tenants", "onboard", "acme", "--email", "a@acme.example").code == 1
    assert cdp("sql", "-t", "acme", "SELEC").code == 2
    cdp("quota", "set", "acme", "--daily", "0")
    assert cdp("run", TEMPLATE, "-t", "acme").code == 3
    assert cdp("tenants", "show", "nobody").code == 4


def test_tenant_with_its_key_sees_itself_alone(server: Server, cdp: Cdp, tmp_path: Path) -> None:
    made = cdp("tenants", "onboard", "acme", "--email", "a@acme.example", "--json").json
    elsewhere = {
        "CDP_HOME": str(tmp_path / "elsewhere"),
        "CDP_SERVER": server.url,
        "CDP_API_KEY": made["api_key"],
    }
    assert program("tenants", "show", "acme", **elsewhere).code == 0
    assert program("tenants", "show", "other", **elsewhere).code == 4
    assert program("tenants", "ls", **elsewhere).code == 5
    assert program("tenants", "show", "acme", **{**elsewhere, "CDP_API_KEY": "junk"}).code == 5


def test_key_of_the_home_is_not_shown_to_another_server(server: Server, cdp: Cdp) -> None:
    program("tenants", "ls", CDP_HOME=str(server.home.with_name("other")))
    refused = program(
        "tenants", "ls", "--server", server.url, CDP_HOME=str(server.home.with_name("other"))
    )
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
    assert not (home / "control.db").exists()
    assert Home(home).holder() is None


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


def test_server_without_a_worker_leaves_runs_pending(home: Path, cdp: Cdp, export: Path) -> None:
    started = serve(home, "--no-worker")
    onboard(cdp, export)
    left = cdp("run", TEMPLATE, "-t", "acme", "--date", DAY, "--no-wait", "--json")
    assert (left.code, left.json["status"]) == (0, "PENDING"), left.err
    started.stop()
    done = cdp("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    assert done["pipeline_logging_id"] == left.json["pipeline_logging_id"]


def test_embedded_commands_find_no_server_after_it_was_killed(home: Path, cdp: Cdp) -> None:
    started = serve(home)
    started.process.kill()
    started.process.communicate()
    assert cdp("tenants", "ls").code == 0
