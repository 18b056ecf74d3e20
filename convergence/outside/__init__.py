"""The world beyond the database: mail, secrets, the clock, logs, metrics, the home."""
