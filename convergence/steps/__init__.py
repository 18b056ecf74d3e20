"""Step types: one file is one `ps_type`, and its path is its name."""
