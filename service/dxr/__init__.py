"""Speaks Data X-Ray's API over aiohttp: one session, and a module for each thing that it can be asked for."""
