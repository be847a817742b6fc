"""Speed and memory, as ratios of things run side by side on one machine: absolute figures only describe it."""
