"""Speaks to one Databricks workspace: identity, Files API, secrets."""
