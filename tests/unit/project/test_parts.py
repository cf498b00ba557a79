"""Tests without a part of the machine are skipped by name, or fail where the part is required."""

from __future__ import annotations

import pytest

from tests.support import parts


@pytest.fixture
def nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_is_there", lambda part: False)


@pytest.mark.usefixtures("nothing_there")
def test_a_missing_part_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of a skipped test names what is missing."""
    monkeypatch.delenv(parts.REQUIRE, raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"missing part node: Node\.js"):
        parts.need("node")


@pytest.mark.usefixtures("nothing_there")
def test_a_required_part_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGNPOST_TEST_REQUIRE makes a missing part a failure."""
    monkeypatch.setenv(parts.REQUIRE, "netns, node")

    with pytest.raises(pytest.fail.Exception, match="missing part node"):
        parts.need("node")


def test_a_misspelt_requirement_is_an_error() -> None:
    """A name that is no part is refused rather than required of nothing."""
    with pytest.raises(pytest.UsageError, match="nodde"):
        parts.required({parts.REQUIRE: "nodde"})
