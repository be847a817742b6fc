"""Speaks Data X-Ray's API over aiohttp. The facts are in docs/dxr-api.md of the vendor's clients, met in the wild."""
