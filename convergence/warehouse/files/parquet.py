"""Writes rows in the shape of the detailed export as Parquet, with the export's own types."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import duckdb

from convergence.model.table import Column
from convergence.warehouse.files.types import duck_type
from convergence.warehouse.schemas import gcp_export

FLOATS = frozenset(
    {
        "cost",
        "amount",
        "cost_at_list",
        "cost_at_effective_price_default",
        "cost_at_list_consumption_model",
    }
)
"""Read as NUMERIC, but FLOAT64 in the provider's export."""


class ExportWriter:
    """Writes files, each at once: whoever reads the folder sees it whole or not at all."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __call__(
        self, path: Path, rows: Iterable[Mapping[str, Any]], *, rename: Mapping[str, str]
    ) -> None:
        """`rename` calls columns otherwise, as a provider's change of the schema would."""
        draft, texts = path.with_suffix(".draft"), path.with_suffix(".ndjson")
        types = {rename.get(c.name, c.name): duck_type(_exported(c)) for c in gcp_export().columns}
        with texts.open("w", encoding="utf-8") as file:
            for row in rows:
                named = {rename.get(name, name): value for name, value in row.items()}
                file.write(f"{json.dumps(named)}\n")
        found = self._connection.read_json(str(texts), columns=types, format="newline_delimited")
        found.write_parquet(str(draft), compression="zstd")
        texts.unlink()
        draft.rename(path)


def _exported(column: Column) -> Column:
    fields = tuple(map(_exported, column.fields))
    type_ = "FLOAT64" if column.name in FLOATS else column.type
    return replace(column, type=type_, fields=fields)
