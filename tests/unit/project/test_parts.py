"""Tests that need a missing part of the machine are skipped by name, or fail if the part is required."""

from __future__ import annotations

import pytest

from tests.support import parts


@pytest.fixture
def without_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_is_there", lambda part: False)


@pytest.mark.usefixtures("without_parts")
def test_missing_part_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of a skipped test names the missing part."""
    monkeypatch.delenv(parts.REQUIRE, raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"missing part node: Node\.js"):
        parts.need("node")


@pytest.mark.usefixtures("without_parts")
def test_missing_required_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGNPOST_TEST_REQUIRE makes a missing part a failure."""
    monkeypatch.setenv(parts.REQUIRE, "netns, node")

    with pytest.raises(pytest.fail.Exception, match="missing part node"):
        parts.need("node")


def test_misspelt_requirement_is_an_error() -> None:
    """An unknown part name is an error."""
    with pytest.raises(pytest.UsageError, match="nodde"):
        parts.required({parts.REQUIRE: "nodde"})
