"""The control plane: the truth about tenants, runs, quotas and loads."""
