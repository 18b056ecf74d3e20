"""The whole state of the fake, and what a test may do to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from convergence.model.table import Column
from tests.bigquery_rest import wire, writes
from tests.bigquery_rest.catalog import Catalog
from tests.bigquery_rest.faults import Faults
from tests.bigquery_rest.jobs import Job, Jobs
from tests.bigquery_rest.wire import Json

ROOT = "/bigquery/v2/projects/{project}"
Query = Mapping[str, Any]
"""The parameters of a request's address."""


@dataclass(kw_only=True)
class Upload:
    """A job that comes in parts, as far as it has come."""

    body: Json
    data: bytearray = field(default_factory=bytearray)
    job: Job | None = None


class Fake:
    """What is behind the routes."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.reset()

    def reset(self) -> None:
        """Empty, with no faults planned."""
        self.catalog.clear()
        self.jobs = Jobs(self.catalog)
        self.faults = Faults()
        self.denied: set[str] = set()
        """Permissions that testIamPermissions does not give back."""
        self.page_rows = 1000
        self.requests: list[tuple[str, str]] = []
        """Method and path of what was asked."""
        self.uploads: dict[str, Upload] = {}

    def page(self, rows: str, columns: tuple[Column, ...], query: Query) -> Json:
        """A page of rows as the query string asks, without the number of all."""
        wanted = [name for name in query.get("selectedFields", "").split(",") if name]
        shown = tuple(column for column in columns if not wanted or column.name in wanted)
        start = int(query.get("pageToken") or query.get("startIndex") or 0)
        size = min(int(query.get("maxResults", self.page_rows)), self.page_rows)
        total = self.catalog.count(rows)
        names = [column.name for column in shown]
        found = writes.page(self.catalog, rows, names, start, size) if size else []
        timestamps = query.get("formatOptions.timestampOutputFormat") or "FLOAT64"
        if str(query.get("formatOptions.useInt64Timestamp")).lower() == "true":
            timestamps = "INT64"
        answer: Json = {
            "totalRows": str(total),
            "rows": [wire.row(row, shown, timestamps) for row in found],
        }
        if start + size < total:
            answer["pageToken"] = str(start + size)
        return answer

    def results(self, job: Job, query: Query) -> Json:
        if job.error is not None:
            raise job.error
        answer: Json = {
            "kind": "bigquery#queryResponse",
            "jobReference": job.reference,
            "jobComplete": job.ended is not None,
            "cacheHit": False,
            "totalBytesProcessed": job.facts.get("totalBytesProcessed", "0"),
        }
        if job.ended is None:
            return answer
        answer |= {"schema": wire.schema(job.columns), "totalRows": "0"}
        if affected := job.facts.get("query", {}).get("numDmlAffectedRows"):
            answer["numDmlAffectedRows"] = affected
        if job.rows is not None:
            answer |= self.page(job.rows.name, job.rows.columns, query)
        return answer


def _of(request: Request) -> Fake:
    fake: Fake = request.app.state.fake
    return fake


TheFake = Annotated[Fake, Depends(_of)]
"""The parameter of a route."""
