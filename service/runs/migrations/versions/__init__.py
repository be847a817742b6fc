"""The history of the run store's tables."""
