"""Wheel and sdist: the same bytes wherever they are built, the tests' files in the sdist, an index page without dead links."""

from __future__ import annotations

import email
import email.message
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import attrs
import pytest

pytest.importorskip("hatchling", reason="hatchling is not installed (extra `test`)")
pytest.importorskip("hatch_fancy_pypi_readme", reason="hatch-fancy-pypi-readme is not installed (extra `test`)")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

NOT_IN_THE_SDIST = (".github/", ".pre-commit-config.yaml", ".gitignore")
"""What only the repository needs."""


@attrs.frozen
class Built:
    """A wheel and an sdist."""

    wheel: Path
    sdist: Path

    @property
    def hashes(self) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.wheel, self.sdist)]


def _build(source: Path, target: Path, umask: int) -> Built:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    environment = {**os.environ, "TZ": f"Etc/GMT-{umask % 10}"}
    environment.pop("SOURCE_DATE_EPOCH", None)
    subprocess.run(command, cwd=source, env=environment, umask=umask, check=True, capture_output=True)
    return Built(next(target.glob("*.whl")), next(target.glob("*.tar.gz")))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """From these files."""
    return _build(ROOT, tmp_path_factory.mktemp("first"), 0o022)


def _names(sdist: Path) -> set[str]:
    """The files in an sdist, without its folder."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def test_built_again_from_the_unpacked_sdist_both_are_the_same_bytes(built: Built, tmp_path: Path) -> None:
    # Another folder, other times of files, another umask and another time zone.
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))

    again = _build(source, tmp_path / "second", 0o077)

    assert again.hashes == built.hashes


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="this is no checkout of git")
def test_the_sdist_holds_every_file_of_the_repository_that_is_not_only_for_it(built: Built) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = {name for name in tracked.split("\0") if name and not name.startswith(NOT_IN_THE_SDIST)}

    assert {name for name in wanted if (ROOT / name).exists()} - _names(built.sdist) == set()


def test_the_wheel_holds_three_typed_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()

    tops = {name.partition("/")[0] for name in names}
    version = PROJECT["name"] + "-" + built.wheel.name.split("-")[1]
    assert tops == {"storewriter", "commitments", "persistent_dedupe", f"{version}.dist-info"}
    assert {f"{top}/py.typed" for top in tops if "." not in top} <= set(names)


def _metadata(built: Built) -> email.message.Message:
    with zipfile.ZipFile(built.wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def _description(built: Built) -> str:
    payload = _metadata(built).get_payload()
    assert isinstance(payload, str)
    return payload


def test_an_index_page_shows_every_picture_and_link_of_the_readme(built: Built) -> None:
    text = re.sub(r"^```.*?^```", "", _description(built), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    base = PROJECT["urls"]["Homepage"].removeprefix("https://github.com/")
    ours = re.compile(rf"https://(?:github\.com/{base}/blob|raw\.githubusercontent\.com/{base})/main/([^#]+)")

    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    named = [match[1] for target in targets if (match := ours.match(target))]
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []
    pictures = [target for target in targets if target.endswith((".svg", ".png"))]
    assert [target for target in pictures if not target.startswith("https://raw.githubusercontent.com/")] == []


def test_the_readme_can_be_rendered_as_an_index_renders_it(built: Built) -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="readme-renderer is not installed")

    page = markdown.render(_description(built))

    assert page is not None
    assert re.search(r"<h1[^>]*>storewriter", page)
    assert "<table>" in page
    assert "<img" in page


def test_links_in_the_project_metadata_lead_to_files_of_this_repository() -> None:
    home = PROJECT["urls"]["Homepage"]
    for name in ("Documentation", "Changelog"):
        assert (ROOT / PROJECT["urls"][name].removeprefix(f"{home}/blob/main/")).is_file()


def test_the_classifiers_name_the_pythons_of_the_workflow_that_are_promised() -> None:
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if not workflow.exists():
        pytest.skip("the source distribution has no .github")
    promised = re.findall(r"^ +python: \[(.*)\]$", workflow.read_text(), re.MULTILINE)[0]
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", each)]

    assert named == re.findall(r"[\d.]+", promised)
