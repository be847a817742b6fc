"""The Spark job: turns the commits of a landing folder into Delta tables."""
