"""What tests of the warehouse on our own BigQuery have in common."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

DAY = date(2025, 10, 1)
NOW = datetime(2025, 10, 3, 6, 0, tzinfo=UTC)
Rows = Callable[..., dict[str, Any]]
Deliver = Callable[..., str]
Record = Callable[[str], Any]
on_bigquery = pytest.mark.parametrize("adapter", ["bigquery"], indirect=True)
