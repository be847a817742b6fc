"""docs/configuration.md, cli.md and api.md are what settings, commands and API say of themselves."""

from __future__ import annotations

import pytest

from scripts.reference import documents

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_reference_is_current(path):
    assert path.read_text() == DOCUMENTS[path], "run `make reference`"
