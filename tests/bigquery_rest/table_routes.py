"""Routes about datasets, tables and their rows."""

import json

from fastapi import APIRouter, Request

from convergence.model.table import Column
from tests.bigquery_rest import wire, writes
from tests.bigquery_rest.fake import ROOT, Fake, TheFake
from tests.bigquery_rest.tables import Name, Table
from tests.bigquery_rest.wire import Json
from tests.bigquery_rest.writes import Target

DATASET = f"{ROOT}/datasets/{{dataset}}"
TABLE = f"{DATASET}/tables/{{table}}"
SUMMARY = "$__PARTITIONS_SUMMARY__"
_SUMMARY_COLUMNS = (
    *(Column(name=name, type="STRING") for name in ("project_id", "dataset_id", "table_id")),
    Column(name="partition_id", type="STRING"),
    Column(name="last_modified_time", type="INT64"),
)
router = APIRouter()


@router.get(f"{ROOT}/datasets")
def list_datasets(fake: TheFake, project: str) -> Json:
    with fake.catalog.lock:
        return {"datasets": [found.resource for found in fake.catalog.datasets(project)]}


@router.post(f"{ROOT}/datasets")
def insert_dataset(fake: TheFake, project: str, body: Json) -> Json:
    with fake.catalog.lock:
        return fake.catalog.create_dataset(project, body).resource


@router.get(DATASET)
def get_dataset(fake: TheFake, project: str, dataset: str) -> Json:
    with fake.catalog.lock:
        return fake.catalog.dataset(project, dataset).resource


@router.patch(DATASET)
def patch_dataset(fake: TheFake, project: str, dataset: str, body: Json) -> Json:
    with fake.catalog.lock:
        found = fake.catalog.dataset(project, dataset)
        found.body |= body
        return found.resource


@router.delete(DATASET)
def delete_dataset(fake: TheFake, project: str, dataset: str, request: Request) -> Json:
    with_contents = request.query_params.get("deleteContents", "").lower() == "true"
    with fake.catalog.lock:
        fake.catalog.drop_dataset(project, dataset, with_contents=with_contents)
    return {}


@router.get(f"{DATASET}/tables")
def list_tables(fake: TheFake, project: str, dataset: str) -> Json:
    with fake.catalog.lock:
        found = fake.catalog.dataset(project, dataset).tables.values()
        return {"tables": [fake.catalog.resource(table) for table in found]}


@router.post(f"{DATASET}/tables")
def insert_table(fake: TheFake, project: str, dataset: str, body: Json) -> Json:
    name = Name(project, dataset, body["tableReference"]["tableId"])
    with fake.catalog.lock:
        return fake.catalog.resource(fake.catalog.create_table(name, body))


@router.post(f"{TABLE}:testIamPermissions")
def test_permissions(fake: TheFake, project: str, dataset: str, table: str, body: Json) -> Json:
    with fake.catalog.lock:
        fake.catalog.table(Name(project, dataset, table))
    return {"permissions": [p for p in body["permissions"] if p not in fake.denied]}


@router.get(TABLE)
def get_table(fake: TheFake, project: str, dataset: str, table: str) -> Json:
    with fake.catalog.lock:
        found = fake.catalog.table(Name(project, dataset, table.partition("$")[0]))
        resource = fake.catalog.resource(found)
        if table.endswith(SUMMARY):
            resource["tableReference"] = {**found.name.reference, "tableId": table}
            resource["schema"] = wire.schema(_SUMMARY_COLUMNS)
        return resource


@router.patch(TABLE)
def patch_table(fake: TheFake, project: str, dataset: str, table: str, body: Json) -> Json:
    with fake.catalog.lock:
        found = fake.catalog.table(Name(project, dataset, table))
        fake.catalog.patch_table(found, body)
        return fake.catalog.resource(found)


@router.delete(TABLE)
def delete_table(fake: TheFake, project: str, dataset: str, table: str) -> Json:
    target = Target.of({"projectId": project, "datasetId": dataset, "tableId": table})
    with fake.catalog.lock:
        found = fake.catalog.table(target.name)
        if not target.partition:
            fake.catalog.drop_table(target.name)
            return {}
        with fake.catalog.changing(found, target.partition):
            where = f"{found.partition_id} = '{target.partition}'"
            fake.catalog.execute(f"DELETE FROM {found.name.duckdb} WHERE {where}")  # noqa: S608 - ours
    return {}


@router.post("/v1/projects/{project}:testIamPermissions")
def test_project(fake: TheFake, project: str, body: Json) -> Json:
    """It is another service of Google's that tells this."""
    return {"permissions": [p for p in body["permissions"] if p not in fake.denied]}


@router.get(f"{TABLE}/data")
def list_rows(fake: TheFake, project: str, dataset: str, table: str, request: Request) -> Json:
    target = Target.of({"projectId": project, "datasetId": dataset, "tableId": table})
    with fake.catalog.lock:
        found = fake.catalog.table(target.name)
        if not target.partition:
            return fake.page(found.name.duckdb, found.columns, request.query_params)
        if table.endswith(SUMMARY):
            return fake.page(_summary(fake, found), _SUMMARY_COLUMNS, request.query_params)
        rows = writes.of_tables(fake.catalog, [target])
        return fake.page(rows.name, rows.columns, request.query_params)


def _summary(fake: Fake, table: Table) -> str:
    rows = [(*table.name, id_, modified) for id_, _, modified in fake.catalog.partitions(table)]
    return fake.catalog.keep(_SUMMARY_COLUMNS, rows)


@router.post(f"{TABLE}/insertAll")
def insert_all(fake: TheFake, project: str, dataset: str, table: str, body: Json) -> Json:
    target = Target.of({"projectId": project, "datasetId": dataset, "tableId": table})
    lines = "\n".join(json.dumps(row["json"]) for row in body["rows"])
    settings: Json = {
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
        "destinationTable": target.name.reference,
    }
    with fake.catalog.lock:
        rows = writes.of_file(fake.catalog, lines.encode(), settings)
        writes.write(fake.catalog, target, rows, settings, default="WRITE_APPEND")
        fake.catalog.table(target.name).is_streamed = True
    return {}
