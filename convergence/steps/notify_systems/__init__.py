"""Step types that tell people."""
