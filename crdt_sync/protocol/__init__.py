"""The exchange between two replicas as a pure state machine: bytes in, events and bytes out."""
