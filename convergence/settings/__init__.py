"""The settings: read once at the edge, each from the strongest place that names it.

flag > environment > `.env` > `cdp.toml` > default. Only `wiring` and `cli` import this.
"""
