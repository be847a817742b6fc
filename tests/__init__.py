"""Tests of the project, and the simulated systems they run against."""
