"""Measurements: what the engine of this package costs, told with the machine and the seed it was measured with."""
