"""BigQuery SQL: what may be asked, with whose names, and how DuckDB says it."""
