"""Documentation that cannot drift: links lead somewhere, commands exist, every command and test explains itself."""

from __future__ import annotations

import ast
import re
import shlex
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ceremony.cli import cli as ceremony
from online.cli import cli as online

ROOT = Path(__file__).resolve().parents[1]
COMMANDS: dict[str, click.Command] = {"ceremony": ceremony, "online": online}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

REQUIRED = [
    "README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md", "scripts/README.md",
    "docs/architecture.md", "docs/quickstart.md", "docs/trust.md", "docs/glossary.md", "docs/wire-divergences.md",
    "docs/operations.md",
    "docs/adr/README.md",
]  # fmt: skip

# Somebody's home directory, or the way to a package index: both belong to a machine, not to the project.
OF_A_MACHINE = re.compile(r"/root/\.|/Users/[a-z]|--(?:extra-)?index-url[ =]http|https?://\S+/simple/")


def _files() -> list[Path]:
    """Return what belongs to the project: what git knows, or everything outside of hidden folders."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = done.stdout.split("\0") if done.returncode == 0 else [str(path) for path in ROOT.rglob("*")]
    return sorted(path for name in names if name and (path := ROOT / name).is_file())


def _texts() -> Iterator[tuple[Path, str]]:
    for path in _files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def _child(group: click.Group, name: str) -> click.Command:
    """Return a command of a group, also of one that imports its commands when they are asked for."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Yield (full name, command) of every command and group."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            for child in command.list_commands(click.Context(command)):
                yield from walk(f"{name} {child}", _child(command, child))

    for name, command in COMMANDS.items():
        yield from walk(name, command)


def _slug(heading: str) -> str:
    """Return the anchor that a heading gets where the documents are read."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    ("name", "command"), list(_commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    """A command without help can only be used by those who wrote it."""
    assert command.help, f"{name} has no help"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("name", REQUIRED)
def test_the_documents_are_there(name: str) -> None:
    """Readers look for these names before they look for anything else."""
    assert (ROOT / name).stat().st_size > 200


@pytest.mark.parametrize("path", [p for p in _files() if p.suffix == ".md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """A link to a file that moved, or to a heading that was renamed, leaves the reader alone."""
    for target in LINK.findall(path.read_text()):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor:
            slugs = {_slug(line.lstrip("#")) for line in file.read_text().splitlines() if line.startswith("#")}
            assert anchor in slugs, f"{path.name} links to {target}"


def _examples() -> Iterator[tuple[str, str]]:
    """Yield (document, command line) of every line in a code block that calls one of our commands."""
    for path in _files():
        if path.suffix != ".md":
            continue
        for block in re.findall(r"^```sh\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.removeprefix("$ ").split(" ")[0] in COMMANDS:
                    yield str(path.relative_to(ROOT)), line.removeprefix("$ ")


@pytest.mark.parametrize(("document", "line"), list(_examples()))
def test_examples_use_commands_and_options_that_exist(document: str, line: str) -> None:
    """An example that fails when it is typed in costs the reader's trust in all the others."""
    words = [word for word in shlex.split(line, comments=True) if word not in {">", "|"}]
    command: click.Command = COMMANDS[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if isinstance(command, click.Group) and word in command.list_commands(click.Context(command)):
            command = _child(command, word)
            known |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        elif word.startswith("-"):
            assert word.split("=")[0] in {*known, "--help", "--version"}, f"{document}: {line}: {word}"
    assert not isinstance(command, click.Group) or "--help" in words, f"{document}: {line}: no such command"


def test_files_are_as_short_as_the_architecture_says() -> None:
    """A file that grows and grows has lost its one concept, and the sentence about it its truth."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _files() if path.suffix == ".py"
    }
    assert {name: length for name, length in lengths.items() if length > 500} == {}
    product = [length for name, length in lengths.items() if not name.startswith("tests/")]
    assert statistics.median(product) < 150
    said = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    assert "half of them have fewer than 150 lines, none has more than 500" in said


def test_nothing_names_a_machine_or_an_index() -> None:
    """A path or a host of somebody's machine in a file works there and nowhere else."""
    for path, text in _texts():
        if path == Path(__file__):
            continue
        found = OF_A_MACHINE.search(text)
        assert found is None, f"{path.relative_to(ROOT)} has something of a machine at character {found.start()}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_test_says_what_it_guards(path: Path) -> None:
    """A test whose reason nobody knows is deleted, or kept for ever, for no reason."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has no docstring"


def test_test_files_have_names_of_their_own() -> None:
    """Without packages under tests/, two files of one name would hide each other."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_map_shows_every_room() -> None:
    """A room that is missing on the map is found by nobody, and built a second time."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for package in ("ceremony", "online", "shared"):
        section = text.split(f"\n{package}/ ")[1].split("\n\n")[0]
        for path in sorted((ROOT / package).iterdir()):
            name = f"{path.name}/" if path.is_dir() else path.stem
            if path.name.startswith("_") or path.name == "py.typed":
                continue
            assert re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", section), f"{package}/{name} is not on the map"
