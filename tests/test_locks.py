"""The lock files: exact, hashed, complete for every Python and machine, and free of addresses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
NAMES = ("base", "build", "dev", "lint", "online")

PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([A-Za-z0-9.!+-]+) \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
COMMENT = re.compile(r"    #( {1,3}(via|-c requirements/[a-z]+\.txt|[\w .()-]+))+")

ENVIRONMENTS = [
    {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": machine}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
]


def _pins(name: str) -> dict[str, Version]:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    return {match[1]: Version(match[2]) for match in map(PIN.fullmatch, text.splitlines()) if match}


def _asked_for(*, extras: Sequence[str], group: bool) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = list(project["project"]["dependencies"])
    for extra in extras:
        texts += project["project"]["optional-dependencies"][extra]
    if group:
        texts += project["dependency-groups"]["dev"]
    return [Requirement(text) for text in texts]


def test_the_locks_are_those_that_are_tested() -> None:
    """A lock file that no test knows would be installed unchecked."""
    assert sorted(path.name for path in REQUIREMENTS.iterdir()) == [f"{name}.txt" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_a_pin_a_hash_or_a_reason(name: str) -> None:
    """An address, an option or a path in a lock would send each reader's pip to somebody's machine."""
    for number, line in enumerate((REQUIREMENTS / f"{name}.txt").read_text().splitlines(), 1):
        assert PIN.fullmatch(line) or HASH.fullmatch(line) or COMMENT.fullmatch(line), f"{name}.txt:{number}: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_every_pin_has_a_hash(name: str) -> None:
    """A pin without a hash trusts whatever the index serves under that version."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if PIN.fullmatch(line):
            assert HASH.fullmatch(following), line
        elif HASH.fullmatch(line):
            # The continuation must be right, or pip would not see the hashes that follow.
            assert line.endswith("\\") == bool(HASH.fullmatch(following)), line


def test_the_same_version_everywhere() -> None:
    """What is tested must be what is run on the air-gapped machine and in the demo."""
    dev = _pins("dev")
    for name in ("base", "build", "lint", "online"):
        assert {package: dev.get(package) for package in _pins(name)} == _pins(name)
    for name in ("lint", "online"):
        assert _pins("base").items() <= _pins(name).items()


@pytest.mark.parametrize(
    ("name", "extras", "group"),
    [
        ("base", (), False),
        ("online", ("online",), False),
        ("lint", ("lint",), False),
        ("dev", ("online", "lint"), True),
    ],
)
def test_the_locks_answer_pyproject(name: str, extras: tuple[str, ...], group: bool) -> None:
    """A dependency that was added or raised without ``scripts/lock`` would be missing on a fresh machine."""
    pins = _pins(name)
    for requirement in _asked_for(extras=extras, group=group):
        package = canonicalize_name(requirement.name)
        assert package in pins, f"{package} is not in {name}.txt: run scripts/lock"
        assert requirement.specifier.contains(pins[package]), f"{requirement} is not met by {name}.txt"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['platform_machine']}")
def test_nothing_is_missing_on_another_python_or_machine(name: str, environment: dict[str, str]) -> None:
    """The locks are compiled on one machine; a dependency wanted only by another one would stop pip there."""
    pins = _pins(name)
    for package in pins:
        try:
            wanted = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed here: run scripts/test")
        for text in wanted:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""}):
                assert canonicalize_name(requirement.name) in pins, f"{package} wants {text} with {environment}"


def test_the_offline_machine_gets_nothing_that_talks() -> None:
    """The air-gapped machine must not even carry an HTTP server or a database layer."""
    for name in ("base", "lint"):
        assert not {"aiohttp", "pyjwt", "requests", "sqlalchemy", "yarl"} & _pins(name).keys()
    assert "pkilint" not in _pins("base")
