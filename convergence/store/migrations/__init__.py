"""The steps that lead a database to `tables.py`: additive first, never edited once released."""
