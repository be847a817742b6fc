"""Simulated outside systems: real servers with switches for their faults."""
