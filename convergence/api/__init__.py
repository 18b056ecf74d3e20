"""HTTP JSON: one file for each noun."""
