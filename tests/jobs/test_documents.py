"""What README.md and docs/ say is so: links, names, options, settings, sizes."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.documents import CONTRIBUTING, DOCUMENTS, README
from support.paths import REPOSITORY

from cnn.settings.params import ModelParams
from cnn.settings.schema import Settings
from cnn.settings.toml import load_settings

MOST_BYTES_OF_README = 10_240


def test_the_readme_is_short() -> None:
    size = len(README.encode())
    assert size <= MOST_BYTES_OF_README, f"README.md must be short, but has {size} bytes"


def test_each_package_has_its_line_in_the_readme() -> None:
    packages = {path.parent.name for path in (REPOSITORY / "cnn").glob("*/__init__.py")}
    listed = re.findall(r"^\| `cnn/(\w+)/` \| \S.* \|$", README, re.MULTILINE)
    assert sorted(listed) == sorted(packages)


WRITTEN = {**DOCUMENTS, CONTRIBUTING: CONTRIBUTING.read_text()}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = without_code(WRITTEN[path])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.is_relative_to(REPOSITORY), f"{target} must be in this repository"
        assert linked.exists(), f"{target} must exist"
        if anchor:
            assert anchor in anchors(WRITTEN[linked]), f"{target} must name a heading"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    names = re.findall(r"(?<![\w/.:-])(?:cnn|conf|docs|jobs|tests)/[\w./*-]*", WRITTEN[path])
    missing = {name for name in names if not list(REPOSITORY.glob(name.rstrip(".")))}
    assert missing == set()


def without_code(text: str) -> str:
    """A document without its code, in which brackets are no links and # is no heading."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    )


def anchors(text: str) -> set[str]:
    """What a link may name of a document: its headings in GitHub's spelling."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_can_be_reached_from_the_readme() -> None:
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README)}
    documents = {path.relative_to(REPOSITORY).as_posix() for path in WRITTEN} - {"README.md"}
    assert documents <= linked


@pytest.mark.parametrize("job", ["preprocess", "tune", "predict"])
def test_the_table_of_options_has_all_that_a_job_has(job: str) -> None:
    script = REPOSITORY / "jobs" / f"{job}.py"
    told = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"--[a-z][a-z-]*", told.stdout)) - {"--help"}
    text = (REPOSITORY / "docs" / f"{job}.md").read_text()
    rows = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `--")]
    assert set(re.findall(r"`(--[a-z][a-z-]*)", " ".join(rows))) == options


def test_the_settings_page_has_every_file_table_and_parameter() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    files = set(re.findall(r"^\| `(conf/\S+)` \|", text, re.MULTILINE))
    assert files == {f"conf/{path.name}" for path in (REPOSITORY / "conf").glob("*.toml")}
    tables = set(re.findall(r"^\| `\[{1,2}(\w+)\]{1,2}` \|", text, re.MULTILINE))
    assert tables == {"search", "space", *Settings.model_fields}
    own = text.partition("has these parameters:")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", own, re.MULTILINE)) == set(ModelParams.model_fields)


def test_the_lines_of_the_space_table_are_settings() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    lines = re.findall(r"^\| `(\w+ = .*?)` \|", text, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        load_settings(tables={"space": tomllib.loads(line)})


def test_every_configuration_of_spark_is_in_the_recipes() -> None:
    text = (REPOSITORY / "docs" / "clusters.md").read_text()
    files = set(re.findall(r"^\| `(conf/\S+)` \|", text, re.MULTILINE))
    assert files == {f"conf/{path.name}" for path in (REPOSITORY / "conf").glob("*.conf")}


def test_imports_that_are_named_in_a_line_work() -> None:
    lines = {line for text in DOCUMENTS.values() for line in re.findall(r"`(from cnn[^`]*)`", text)}
    assert lines
    for line in lines:
        exec(line, {})
