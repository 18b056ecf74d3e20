"""The data of the tenants: one protocol, one file for each engine."""
