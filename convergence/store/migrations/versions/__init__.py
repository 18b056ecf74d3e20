"""One file for each migration, named by its number and by what it brings."""
