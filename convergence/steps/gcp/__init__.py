"""Step types that read Google Cloud's exports."""
