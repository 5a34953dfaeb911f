"""crdt_sync: a CRDT-based replication engine for local-first applications."""
