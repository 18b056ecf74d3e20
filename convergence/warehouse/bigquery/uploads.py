"""Files in BigQuery: the rows that a statement needs of them in a table, which is gone soon.

The files are read as on DuckDB, money exact from there on, and a load job takes the rows in.
"""

from contextlib import suppress

from convergence.errors import CdpError
from convergence.model.cancel import CancelToken
from convergence.model.table import TableSchema
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.importing import Importing
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import passing, place
from convergence.warehouse.bigquery.sources import Export, nothing
from convergence.warehouse.bigquery.tables import Tables
from convergence.warehouse.files.source_files import OpenFiles
from convergence.warehouse.schemas import gcp_export

UPLOAD = "cdp_upload_"


class Uploads:
    """Brings files over, and drops what was brought."""

    def __init__(self, clients: Clients, jobs: Jobs, tables: Tables) -> None:
        self._clients = clients
        self._jobs = jobs
        self._tables = tables
        self._importing = Importing(clients, jobs)

    def bring(
        self, found: OpenFiles, dataset: str, name: str, cancel: CancelToken | None
    ) -> tuple[Export, ...]:
        """The rows of the days in the table `name`; none is made where there is nothing to read."""
        if not found.sight.to_read:
            return ()
        columns = gcp_export().columns
        table = place(self._clients.project, dataset, name)
        self._jobs.query(dataset, passing(table, nothing(columns)), cancel=cancel, is_bounded=False)
        schema = TableSchema(name=name, columns=columns)
        with found.write_parquet().open("rb") as file:
            job_id = f"{UPLOAD}{dataset}_{name}"
            self._importing.fill(dataset, schema, file, job_id=job_id, cancel=cancel)
        made = Export(
            project=self._clients.project,
            dataset=dataset,
            table=name,
            columns=columns,
            by_arrival=False,
            keeps_past=False,
            bytes=0,
        )
        return (made,)

    def drop(self, dataset: str, name: str) -> None:
        """When BigQuery is away, it expires by itself."""
        with suppress(CdpError):
            self._tables.remove(dataset, name)
