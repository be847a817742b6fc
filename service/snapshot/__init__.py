"""The snapshot flow: one dataset of one date, from DXR's stream to a commit in the landing."""
