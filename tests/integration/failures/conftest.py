"""The volume that is classified, and the settings for it, as the tests of the classification have them."""

from __future__ import annotations

from tests.integration.test_classification import settings, volume  # noqa: F401 - fixtures
