"""The pure centre: takes and returns values and bytes; no I/O, no clock, no randomness."""
