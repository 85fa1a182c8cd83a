"""The description of the package on an index: the README and the newest changes, with links that work there.

Hatchling runs it when it builds. The address of the repository is known if GitHub builds (GITHUB_REPOSITORY); otherwise links to files
become plain text, and the parts of README.md marked with <!-- repository --> are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+://|#)([^)\s]+)\)")
"""A link or an image whose target is a file; its text may contain an image."""
ONLY_THERE = re.compile(r"<!-- repository -->.*?<!-- /repository -->\n", re.DOTALL)
"""Lines that are useless without their links: the other language, the screenshots."""


class PackageMetadata(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        repository = address(os.environ.get("GITHUB_SERVER_URL", "https://github.com"), os.environ.get("GITHUB_REPOSITORY"))
        text = description((root / "README.md").read_text("utf-8"), (root / "CHANGELOG.md").read_text("utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": with_links_to(repository, text)}
        metadata["urls"] = urls(repository)


def address(server: str, repository: str | None) -> str | None:
    return f"{server}/{repository}" if repository else None


def description(readme: str, changelog: str) -> str:
    """Return the README, followed by the newest section of the changelog."""
    newest = re.search(r"^## .*?(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return f"{readme.rstrip()}\n\n## Changes\n\n{newest[0].replace('## ', '### ')}" if newest else readme


def with_links_to(repository: str | None, text: str) -> str:
    """Return the Markdown with its links to files pointing into `repository`; without a repository, keep only their words, and no
    images.
    """
    if not repository:
        text = ONLY_THERE.sub("", text)

    def replace(found: re.Match[str]) -> str:
        image, words, target = found[1], LINK.sub(replace, found[2]), found[3]
        if repository:
            return f"{image}[{words}]({repository}/{'raw' if image else 'blob'}/HEAD/{target})"
        return "" if image else words

    return re.sub(r"\n{3,}", "\n\n", LINK.sub(replace, text))


def urls(repository: str | None) -> dict[str, str]:
    if not repository:
        return {}
    places = {"Repository": "", "Changelog": "/blob/HEAD/CHANGELOG.md", "Documentation": "/blob/HEAD/docs/README.md", "Issues": "/issues"}
    return {name: repository + path for name, path in places.items()}
