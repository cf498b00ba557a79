"""The source of the site: the project's pages, the documents of all senders, and linked files, in one folder.

`python -m deploy.reference.site FOLDER` writes it. Sphinx then refuses links to missing pages and headings.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final

from deploy.reference.folder import write_documents
from schemas.records.topics import TopicNames
from schemas.senders.sender import load_senders

_ROOT: Final = Path(__file__).parents[2]
# In the order of the navigation. README.md is the first page.
_PARTS: Final = {
    "For receivers": ("docs/receivers/README.md", "docs/receivers/*/guide.md"),
    "Senders": ("docs/add-a-sender.md", "docs/senders/README.md", "docs/senders/*.md"),
    "For publishers": ("docs/publishing.md",),
    "For operators": (
        "docs/operations.md",
        "docs/subscriptions.md",
        "docs/security.md",
        "docs/reference/*.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ),
    "For contributors": (
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "docs/architecture/*.md",
        "docs/benchmarks.md",
        "docs/dependencies.md",
        "docs/decisions/README.md",
        "docs/decisions/*.md",
    ),
}
_RECEIVERS: Final = "docs/receivers"
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)((?:#[^)\s]*)?)\)")
_EXTRA: Final = "_extra"


def gather(folder: Path) -> None:
    """Write the source of the site into an empty folder; ValueError names a broken link."""
    for page in _pages():
        _copy(page, folder)
    senders = load_senders().values()
    write_documents(folder / _RECEIVERS, senders, TopicNames().events, version("kafka-signpost"))
    for file in sorted(folder.rglob("*.md")):
        place = PurePosixPath(file.relative_to(folder).as_posix())
        file.write_text(_LINK.sub(_relinked(place, folder), file.read_text(encoding="utf-8")), encoding="utf-8")
    for file in [*(folder / _RECEIVERS).rglob("*.json"), *(folder / _RECEIVERS).rglob("*.yaml")]:
        moved = folder / _EXTRA / file.relative_to(folder)
        moved.parent.mkdir(parents=True, exist_ok=True)
        file.rename(moved)
    readme = (folder / "README.md").rename(folder / "index.md")
    readme.write_text(readme.read_text(encoding="utf-8") + "".join(_navigation(folder)), encoding="utf-8")
    shutil.copy(_ROOT / "docs" / "conf.py", folder / "conf.py")


def _pages() -> Iterator[Path]:
    yield from _ROOT.glob("*.md")
    yield from (_ROOT / "docs").rglob("*.md")


def _copy(file: Path, folder: Path) -> None:
    copied = folder / file.relative_to(_ROOT)
    copied.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, copied)


def _relinked(page: PurePosixPath, folder: Path) -> Callable[[re.Match[str]], str]:
    """Return a function that converts a link of `page` to the site and copies a linked file of the project."""

    def relink(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        place = normpath(page.parent / target)
        if place == "README.md":
            return f"[{text}]({target.removesuffix('README.md')}index.md{anchor})"
        if (folder / place).is_dir():
            return f"[{text}]({target.removesuffix('/')}/README.md{anchor})"
        if not (folder / place).is_file() and (_ROOT / place).is_file():
            _copy(_ROOT / place, folder)
        if not (folder / place).is_file():
            raise ValueError(f"{page}: the link to {target} is broken")
        if place.startswith(_RECEIVERS) and not place.endswith(".md"):
            # Not a Sphinx download: AsyncAPI refers to the schemas by relative paths.
            return f'<a href="{target}">{text}</a>'
        return link[0]

    return relink


def _navigation(folder: Path) -> Iterator[str]:
    seen: set[Path] = set()
    for title, patterns in _PARTS.items():
        found = [file for pattern in patterns for file in sorted(folder.glob(pattern)) if file not in seen]
        pages = list(dict.fromkeys(found))
        seen.update(pages)
        lines = "".join(f"{page.relative_to(folder).with_suffix('').as_posix()}\n" for page in pages)
        yield f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}```\n"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    gather(target)
