"""The site has all pages of the project and the documents of all senders, without broken links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.reference import site
from schemas.senders.sender import load_senders
from tests.support.parts import need

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    site.gather(folder)
    return folder


def test_every_page_is_in_the_navigation(source: Path) -> None:
    """The first page, README.md, lists every other page once, the guide of every sender included."""
    first = (source / "index.md").read_text(encoding="utf-8")
    listed = [line for block in re.findall(r"```\{toctree\}\n(.*?)```", first, re.DOTALL) for line in block.split("\n")]
    pages = [f"{line}.md" for line in listed if line and not line.startswith(":")]
    there = {str(file.relative_to(source)) for file in source.rglob("*.md")} - {"index.md"}
    assert sorted(pages) == sorted(there)
    assert {f"docs/receivers/{name}/guide.md" for name in load_senders()} < there
    assert {str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md")} < there


def test_broken_link_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the page and the link."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# A page\n\n[text](../nothing.md)\n", encoding="utf-8")
    monkeypatch.setattr(site, "_ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"docs/page\.md: the link to \.\./nothing\.md is broken"):
        site.gather(tmp_path / "out")


def test_site_builds_without_warnings_or_external_assets(source: Path, tmp_path: Path) -> None:
    """Sphinx resolves every link, AsyncAPI and schemas are next to the guides, and all assets are local."""
    need("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", tmp_path / "doctrees"]
    done = subprocess.run(
        [*command, source, tmp_path / "out"], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    for name in load_senders():
        page = tmp_path / "out" / "docs" / "receivers" / name / "guide.html"
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'href="([^"#:]+\.(?:json|yaml))"', text):
            assert (page.parent / link).is_file()
        assert 'href="asyncapi.yaml"' in text
    for page in (tmp_path / "out").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="([^"]+)"', page.read_text(encoding="utf-8"))
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []
