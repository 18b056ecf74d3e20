"""What is published from the store: rows appended as events, of which the newest of a key holds.

Newest is what was seen last in the store, not what came last: of two processes that publish, the
one that was held up may be the one that saw less.

Streamed, so that a change is seen at once and neither statements nor load jobs are used up, of
which a table has only so many in a day.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from google.cloud.bigquery import SchemaField

from convergence.errors import Unavailable
from convergence.warehouse.base import Upsert
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import CALL_SECONDS, RETRY, told
from convergence.warehouse.bigquery.places import EVENT_AT, full, stored_name
from convergence.warehouse.bigquery.tables import stored
from convergence.warehouse.bigquery.types import field_of

AT_ONCE = 500


class Events:
    """Appends rows to the tables with a key."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def append(self, dataset: str, upsert: Upsert, seen_at: datetime) -> None:
        """Raises NotFound, WarehouseError, Unavailable; then what was appended may be again."""
        client = self._clients.of(dataset)
        schema = replace(upsert.schema, key=upsert.key)
        target = full(self._clients.project, dataset, stored_name(dataset, schema))
        fields = [field_of(column) for column in stored(schema).columns]
        events = [_event(row, fields, seen_at) for row in upsert.rows]
        for first in range(0, len(events), AT_ONCE):
            with told():
                problems = client.insert_rows(
                    target,
                    events[first : first + AT_ONCE],
                    selected_fields=fields,
                    retry=RETRY,
                    timeout=CALL_SECONDS,
                )
            if problems:
                raise Unavailable(
                    f"{target} took not all rows: {problems[0]}",
                    code="warehouse_busy",
                    hint="they are published again; cdp db check tells whether the table is right",
                )


def _event(
    row: Mapping[str, Any], fields: Sequence[SchemaField], seen_at: datetime
) -> dict[str, Any]:
    values = {field.name: _bound(row.get(field.name), field) for field in fields}
    return {name: value for name, value in values.items() if value is not None} | {
        EVENT_AT: seen_at
    }


def _bound(value: Any, field: SchemaField) -> Any:  # noqa: ANN401 - a value of a row
    if isinstance(value, Enum):
        return value.value
    if field.mode == "REPEATED":
        return list(value or ())
    if field.field_type == "JSON" and isinstance(value, Mapping | list | tuple):
        return json.loads(json.dumps(value, default=str, sort_keys=True))
    return value
