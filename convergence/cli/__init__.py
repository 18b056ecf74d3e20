"""The `cdp` command: one file for each noun."""
