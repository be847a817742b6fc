"""The classification flow: the files of a volume through the On-Demand Classifier to a commit in the landing."""
