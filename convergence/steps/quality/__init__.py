"""Steps that look at rows that are there."""
