"""README.md, docs/ and CONTRIBUTING.md, and the blocks of code in them."""

import re

from support.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text()

DOCUMENTS = {
    path: path.read_text()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}

# Its commands are those that run these tests.
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"


def blocks(language: str) -> list[str]:
    """The code blocks of all documents in one language."""
    pattern = rf"```{language}\n(.*?)```"
    return [b for text in DOCUMENTS.values() for b in re.findall(pattern, text, re.DOTALL)]


COMMANDS = [
    command
    for block in blocks("bash")
    for command in re.sub(r"\\\n\s*", "", block).strip().splitlines()
]
