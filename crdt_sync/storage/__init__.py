"""Durable storage: the interface (`base`), SQLite (`sqlite`), and memory for tests (`memory`)."""
