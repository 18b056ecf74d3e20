"""What commands ask of the service, as a protocol; and of a running server: `cdp --server`."""

from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import quote

from typing_extensions import override

from convergence.outside.remote import PAGE, Json, Remote, segment

Tell = Callable[[Json], None]


class Client(Protocol):
    """What the commands ask of the service, in the shapes of the wire. Methods raise CdpError."""

    def close(self) -> None: ...

    def backup(self) -> Json:
        """Copy all that a home has into a folder of it; the folder and its files."""
        ...

    def schema(self, tenant_id: str | None) -> list[Json]:
        """Each table of each tenant, or of one, beside its schema."""
        ...

    def dryrun(self, application: Json) -> Json: ...
    def onboard(self, application: Json) -> Json: ...
    def tenants(self, *, limit: int) -> list[Json]: ...
    def tenant(self, tenant_id: str) -> Json: ...
    def change_tenant(self, tenant_id: str, changes: Json) -> Json: ...

    def keys(self, tenant_id: str) -> list[Json]: ...
    def create_key(self, tenant_id: str, wanted: Json) -> Json: ...
    def revoke_key(self, tenant_id: str, key_id: str) -> None: ...

    def credentials(self, tenant_id: str) -> list[Json]: ...
    def put_credentials(self, tenant_id: str, wanted: Json) -> Json: ...
    def remove_credentials(self, tenant_id: str) -> None: ...

    def usage(self, tenant_id: str) -> Json: ...
    def set_limits(self, tenant_id: str, changes: Json) -> Json: ...

    def subscription(self, tenant_id: str) -> Json: ...
    def subscribe(self, tenant_id: str, changes: Json) -> Json: ...

    def sources(self) -> list[Json]: ...
    def add_source(self, source: Json) -> Json: ...
    def remove_source(self, table: str) -> None: ...
    def check_source(self, table: str) -> list[Json]: ...

    def templates(self) -> list[Json]: ...
    def template(self, ref: str) -> Json: ...

    def schedules(self, tenant_id: str) -> list[Json]: ...
    def schedule(self, tenant_id: str, config_id: str) -> Json: ...
    def add_schedule(self, tenant_id: str, wanted: Json) -> Json: ...
    def change_schedule(self, tenant_id: str, config_id: str, changes: Json) -> Json: ...
    def remove_schedule(self, tenant_id: str, config_id: str) -> None: ...

    def trigger(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        """Ask for a run; the accepted one, or the live one of the same pipeline and date."""
        ...

    def plan(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        """What such a run would do, and what would stop it."""
        ...

    def is_alone(self) -> bool:
        """Whether nobody but this client executes runs."""
        ...

    def follow(self, run_id: str, tell: Tell) -> Json:
        """Wait for a run's end, telling what happens meanwhile; the run with its steps."""
        ...

    def events(self, run_id: str, *, follow: bool = False) -> Iterator[Json]:
        """What happened in a run, in order; with `follow` also what happens, until its end."""
        ...

    def cancel(self, run_id: str) -> Json:
        """Ask a run to end; the run as it is then, CANCELLED or still RUNNING."""
        ...

    def retry(self, run_id: str, wanted: Json) -> Json:
        """Ask for a run that does again what this one did not finish; what was accepted."""
        ...

    def run(self, run_id: str) -> Json: ...
    def runs(self, tenant_id: str | None, chosen: Json, *, limit: int) -> list[Json]: ...

    def costs(self, tenant_id: str, question: Json) -> Json: ...
    def export_costs(self, tenant_id: str, question: Json) -> Iterator[bytes]:
        """A file of costs, in parts. Raises before the first part, or when it breaks off."""
        ...

    def restatements(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]: ...
    def reconciliation(self, tenant_id: str, chosen: Json) -> Json: ...
    def lineage(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]: ...

    def quality(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]: ...
    def quality_result(self, tenant_id: str, dq_result_id: str) -> Json: ...

    def query(self, tenant_id: str | None, sql: str) -> Json: ...
    def explain(self, tenant_id: str | None, sql: str) -> Json: ...
    def export(self, tenant_id: str | None, sql: str, form: str) -> Iterator[bytes]:
        """The whole answer as a file, csv or parquet, piece by piece."""
        ...


class HttpClient(Remote, Client):
    """Asks a running server."""

    @override
    def backup(self) -> Json:
        return self._operate("POST", "/backups")

    @override
    def schema(self, tenant_id: str | None) -> list[Json]:
        chosen = {"tenant": tenant_id} if tenant_id else {}
        return list(self._operate("GET", "/schema", params=chosen)["items"])

    @override
    def dryrun(self, application: Json) -> Json:
        return self._operate("POST", "/tenants/dryrun", body=application)

    @override
    def onboard(self, application: Json) -> Json:
        return self._operate("POST", "/tenants/onboard", body=application)

    @override
    def tenants(self, *, limit: int) -> list[Json]:
        return list(self._pages("/tenants", {}, limit, self._operator))

    @override
    def tenant(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{segment(tenant_id)}")

    @override
    def change_tenant(self, tenant_id: str, changes: Json) -> Json:
        return self._operate("PATCH", f"/tenants/{segment(tenant_id)}", body=changes)

    @override
    def keys(self, tenant_id: str) -> list[Json]:
        return list(self._pages(f"/tenants/{segment(tenant_id)}/api-keys", {}, PAGE, self._caller))

    @override
    def create_key(self, tenant_id: str, wanted: Json) -> Json:
        return self._ask("POST", f"/tenants/{segment(tenant_id)}/api-keys", body=wanted)

    @override
    def revoke_key(self, tenant_id: str, key_id: str) -> None:
        self._ask("DELETE", f"/tenants/{segment(tenant_id)}/api-keys/{segment(key_id)}")

    @override
    def credentials(self, tenant_id: str) -> list[Json]:
        return list(
            self._pages(f"/tenants/{segment(tenant_id)}/credentials", {}, PAGE, self._caller)
        )

    @override
    def put_credentials(self, tenant_id: str, wanted: Json) -> Json:
        return self._ask("PUT", f"/tenants/{segment(tenant_id)}/credentials/gcp", body=wanted)

    @override
    def remove_credentials(self, tenant_id: str) -> None:
        self._ask("DELETE", f"/tenants/{segment(tenant_id)}/credentials/gcp")

    @override
    def usage(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{segment(tenant_id)}/usage")

    @override
    def set_limits(self, tenant_id: str, changes: Json) -> Json:
        return self._operate("PATCH", f"/tenants/{segment(tenant_id)}/limits", body=changes)

    @override
    def subscription(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{segment(tenant_id)}/subscription")

    @override
    def subscribe(self, tenant_id: str, changes: Json) -> Json:
        return self._operate("PATCH", f"/tenants/{segment(tenant_id)}/subscription", body=changes)

    @override
    def sources(self) -> list[Json]:
        return list(self._pages("/sources", {}, PAGE, self._operator))

    @override
    def add_source(self, source: Json) -> Json:
        return self._operate("POST", "/sources", body=source)

    @override
    def remove_source(self, table: str) -> None:
        self._operate("DELETE", f"/sources/{segment(table)}")

    @override
    def check_source(self, table: str) -> list[Json]:
        found = self._operate("GET", "/sources/check", params={"table": table})
        return list(found["items"])

    @override
    def templates(self) -> list[Json]:
        return list(self._pages("/pipelines/templates", {}, PAGE, self._caller))

    @override
    def template(self, ref: str) -> Json:
        return self._ask("GET", f"/pipelines/templates/{quote(ref)}")

    @override
    def schedules(self, tenant_id: str) -> list[Json]:
        return list(self._pages(_schedules(tenant_id), {}, PAGE, self._caller))

    @override
    def schedule(self, tenant_id: str, config_id: str) -> Json:
        return self._ask("GET", _schedules(tenant_id, config_id))

    @override
    def add_schedule(self, tenant_id: str, wanted: Json) -> Json:
        return self._ask("POST", _schedules(tenant_id), body=wanted)

    @override
    def change_schedule(self, tenant_id: str, config_id: str, changes: Json) -> Json:
        return self._ask("PATCH", _schedules(tenant_id, config_id), body=changes)

    @override
    def remove_schedule(self, tenant_id: str, config_id: str) -> None:
        self._ask("DELETE", _schedules(tenant_id, config_id))

    @override
    def trigger(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        path = f"/pipelines/run/{segment(tenant_id)}/{quote(ref)}"
        return self._ask("POST", path, body=wanted)

    @override
    def plan(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        path = f"/pipelines/templates/{quote(ref)}/plan"
        return self._ask("POST", path, params=_of(tenant_id), body=wanted)

    @override
    def is_alone(self) -> bool:
        return False

    @override
    def follow(self, run_id: str, tell: Tell) -> Json:
        return follow_events(self, run_id, tell)

    @override
    def events(self, run_id: str, *, follow: bool = False) -> Iterator[Json]:
        path = f"/pipelines/runs/{segment(run_id)}"
        return self._follow(f"{path}/events") if follow else self._logs(f"{path}/logs")

    @override
    def cancel(self, run_id: str) -> Json:
        return self._ask("POST", f"/pipelines/runs/{segment(run_id)}/cancel")

    @override
    def retry(self, run_id: str, wanted: Json) -> Json:
        return self._ask("POST", f"/pipelines/runs/{segment(run_id)}/retry", body=wanted)

    @override
    def run(self, run_id: str) -> Json:
        return self._ask("GET", f"/pipelines/runs/{segment(run_id)}")

    @override
    def runs(self, tenant_id: str | None, chosen: Json, *, limit: int) -> list[Json]:
        return list(self._pages("/pipelines/runs", _of(tenant_id) | chosen, limit, self._caller))

    @override
    def costs(self, tenant_id: str, question: Json) -> Json:
        return self._ask("GET", "/costs", params=_of(tenant_id) | question)

    @override
    def export_costs(self, tenant_id: str, question: Json) -> Iterator[bytes]:
        return self._pieces("GET", "/costs/export", params=_of(tenant_id) | question)

    @override
    def restatements(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        params = _of(tenant_id) | chosen
        return list(self._pages("/costs/restatements", params, limit, self._caller))

    @override
    def reconciliation(self, tenant_id: str, chosen: Json) -> Json:
        return self._ask("GET", "/costs/reconciliation", params=_of(tenant_id) | chosen)

    @override
    def lineage(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        return list(self._pages("/costs/lineage", _of(tenant_id) | chosen, limit, self._caller))

    @override
    def quality(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        return list(self._pages("/quality", _of(tenant_id) | chosen, limit, self._caller))

    @override
    def quality_result(self, tenant_id: str, dq_result_id: str) -> Json:
        return self._ask("GET", f"/quality/{segment(dq_result_id)}", params=_of(tenant_id))

    @override
    def query(self, tenant_id: str | None, sql: str) -> Json:
        return self._ask("POST", "/query", params=_of(tenant_id), body={"sql": sql})

    @override
    def explain(self, tenant_id: str | None, sql: str) -> Json:
        return self._ask("POST", "/query/explain", params=_of(tenant_id), body={"sql": sql})

    @override
    def export(self, tenant_id: str | None, sql: str, form: str) -> Iterator[bytes]:
        params = {**_of(tenant_id), "format": form}
        return self._pieces("POST", "/query", params=params, body={"sql": sql})


def follow_events(client: Client, run_id: str, tell: Tell) -> Json:
    """Tell of a run until it is over; the run with its steps."""
    for event in client.events(run_id, follow=True):
        tell(event)
    return client.run(run_id)


def _schedules(tenant_id: str, *config_id: str) -> str:
    return "/".join((f"/tenants/{segment(tenant_id)}/schedules", *map(segment, config_id)))


def _of(tenant_id: str | None) -> Json:
    return {} if tenant_id is None else {"tenant_id": tenant_id}
