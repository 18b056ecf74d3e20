"""Nouns: frozen values and pure rules. No I/O, no clock."""
