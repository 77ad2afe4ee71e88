"""The assurance case against the tests: no claim stands without a test that exists and can run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "assurance.md").read_text()
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def _rows() -> Iterator[tuple[str, str, str]]:
    for line in TEXT.splitlines():
        if line.startswith("|") and not line.startswith(("| claim", "|---")):
            claim, argument, tests = (cell.strip() for cell in line.strip("|").split("|"))
            yield claim, argument, tests


def _tests() -> dict[str, dict[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return the test functions of each test file, by the file's name, which is its own."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        functions = [
            each
            for each in ast.parse(path.read_text()).body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        found[path.name] = {each.name: each for each in functions}
    return found


TESTS = _tests()


@pytest.mark.parametrize(("claim", "argument", "tests"), list(_rows()), ids=[row[0][:40] for row in _rows()])
def test_every_claim_has_tests_that_exist(claim: str, argument: str, tests: str) -> None:
    """A claim whose test was renamed or removed would go on being believed."""
    assert claim.endswith(".")
    assert argument.endswith(".")
    named = NAMED.findall(tests)
    assert named, "no test"
    assert NAMED.sub("", tests).strip() == "", "something else than tests"
    for file, name in named:
        assert name in TESTS.get(file, {}), f"{file}::{name} does not exist"
        marks = {ast.unparse(each).partition("(")[0] for each in TESTS[file][name].decorator_list}
        # A condition is a fact of the machine; without one the test never runs, or may fail.
        assert not marks & {"pytest.mark.skip", "pytest.mark.xfail"}, f"{file}::{name} does not run"


def test_the_table_is_read() -> None:
    """A change of the table's form must not let all its rows go unread."""
    assert len(list(_rows())) == sum(line.startswith("| ") for line in TEXT.splitlines()) - TEXT.count("| claim |")
    assert len(list(_rows())) > 30
    assert len({claim for claim, _, _ in _rows()}) == len(list(_rows()))
