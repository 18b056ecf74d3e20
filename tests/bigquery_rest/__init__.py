"""A small BigQuery of our own: its REST API over DuckDB, for what no emulator has.

`server.running()` starts one on a loopback port; google's own client talks to it. Where it is not
known for sure what the real service does, this one is strict. What it has: datasets, tables; query,
load and copy jobs; uploads, partition decorators, time travel, bytes processed, faults on demand.
What it has not: Storage Read, streaming buffers, routines, row policies, sessions.
"""
