"""The warehouse on DuckDB: a locked-down instance for each dataset's file."""
