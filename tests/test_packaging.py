"""What PyPI shows: its page's links lead somewhere, and the metadata agree with one another."""

import re
import tomllib
from pathlib import Path

import rectified

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOST = PYPROJECT["project"]["urls"]["Source"]


def test_the_page_on_pypi_has_no_relative_link():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    links = re.findall(r"(!?)\]?\[[^\]]*\]\(([^)]*)\)", text)
    assert len(links) > 20
    raw = HOST.replace("github.com", "raw.githubusercontent.com") + "/v$HFPR_VERSION/"
    for is_picture, link in links:
        start = raw if is_picture else f"{HOST}/blob/v$HFPR_VERSION/"
        assert link.startswith(start)
        assert (ROOT / link.removeprefix(start).partition("#")[0]).exists(), link


def test_version_host_and_description_are_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {rectified.__version__}\n" in citation
    assert f'repository-code: "{HOST}"' in citation
    released = re.search(r"^date-released: (.*)$", citation, re.MULTILINE)[1]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{rectified.__version__}] - {released}\n" in changelog
    assert f"[{rectified.__version__}]: {HOST}/releases/tag/v{rectified.__version__}" in changelog
    assert len(PYPROJECT["project"]["description"]) <= 120


def test_ci_runs_the_versions_that_the_docs_and_the_metadata_name():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    compatibility = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    torches, pythons = (
        re.findall(r'"([\d.]+)"', re.search(rf"^ +{name}: \[(.*)\]$", workflow, re.MULTILINE)[1])
        for name in ("torch", "python")
    )
    assert set(torches) == set(re.findall(r"^\| (\d+\.\d+\.\d+) \(", compatibility, re.MULTILINE))
    named = [line.rpartition(" ")[2] for line in PYPROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert pythons == named
    assert f'"torch>={torches[0].removesuffix(".0")}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\n{re.search(r'run: make ([a-z-]+) VERSION', workflow)[1]}:" in makefile
    assert "      - run: .ci/run\n" in workflow


def test_the_versions_that_ci_pins_are_each_named_once():
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0].lower()) for line in pins]
    assert len(names) == len(set(names))
    assert all("==" in line for line in pins)
