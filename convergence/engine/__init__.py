"""Verbs: what the service does, each in a file of its own."""
