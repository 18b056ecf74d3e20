"""Source files, read by DuckDB: both warehouses load, survey and ask them by the same rules."""
