"""The house rules about imports and about who may talk, read from the code itself and from a running interpreter."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ceremony", "online", "shared")

MAY_IMPORT = {"ceremony": {"ceremony", "shared"}, "online": {"online", "shared"}, "shared": {"shared"}}
"""Which of our own packages each of them may know."""

OFFLINE_LIBRARIES = {"PIL", "click", "cryptography", "pkcs11", "qrcode", "reportlab", "shamir_mnemonic", "zxingcpp"}
"""What the base installation brings, by the names it is imported under."""

LINT_LIBRARIES = {"ceremony/pkilint_opinion.py": {"pkilint"}}
"""What the extra ``lint`` adds, and the one file that may know it; it must do without."""

ONLINE_LIBRARIES = {
    "OpenSSL", "aiohttp", "alembic", "asyncmy", "asyncpg", "httptools", "jwt", "prometheus_client", "sqlalchemy",
    "uvloop",
}  # fmt: skip
"""What the extra ``online`` adds."""

NETWORK_AND_DATABASE = {
    "asyncio", "dbm", "ftplib", "http", "imaplib", "poplib", "select", "selectors", "smtplib", "socket",
    "socketserver", "sqlite3", "ssl", "telnetlib", "urllib.request", "webbrowser", "xmlrpc",
}  # fmt: skip
"""What of the standard library the air-gapped side has no use for."""

EXCEPTIONS = {("ceremony/host/linux.py", "socket")}
"""Reasons: the host check asks the kernel for its network interfaces (``if_nameindex``), which opens no connection."""

TALKERS = {"shared/terminal.py", "shared/command.py", "ceremony/terminal.py"}
"""The only files that print or prompt."""


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _constant_begin(argument: ast.expr | None) -> str:
    """Return the module that is named, or the package below which it is chosen; a question mark for neither."""
    match argument:
        case ast.Constant(value=str(name)) | ast.JoinedStr(values=[ast.Constant(value=str(name)), *_]) if "." in name:
            return name
        case _:
            return "?"


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also of those written as a call."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                yield node.lineno, "." * node.level + (node.module or "")
                # ``from urllib import request`` names a module too.
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names if node.module)
            case ast.Call(func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module")):
                yield node.lineno, _constant_begin(node.args[0] if node.args else None)
            case _:
                pass


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_obeys_the_house(path: Path) -> None:
    """One wrong import would tie the offline side to the network, or the two programs to each other."""
    package = path.relative_to(ROOT).parts[0]
    libraries = OFFLINE_LIBRARIES | (ONLINE_LIBRARIES if package == "online" else set())
    libraries = libraries | LINT_LIBRARIES.get(str(path.relative_to(ROOT)), set())
    for line, name in _imports(ast.parse(path.read_text())):
        where = f"{path.relative_to(ROOT)}:{line}: {name}"
        top = name.split(".")[0]
        assert top not in {"", "?"}, f"{where} is not an absolute, constant import"
        if top in PACKAGES:
            assert top in MAY_IMPORT[package], f"{where} breaks the rule {package} -> {sorted(MAY_IMPORT[package])}"
        elif top in sys.stdlib_module_names:
            if (
                package != "online"
                and (str(path.relative_to(ROOT)), name.removesuffix(".if_nameindex")) not in EXCEPTIONS
            ):
                assert not {top, name} & NETWORK_AND_DATABASE, f"{where} is of no use without a network"
        else:
            assert top in libraries, f"{where} is no dependency of {package}"


@pytest.mark.parametrize("package", ["ceremony", "shared"])
def test_the_offline_side_loads_nothing_from_the_online_extra(package: str) -> None:
    """What a library drags in is not seen in our source; the air-gapped machine does not have it installed."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in _modules()
        if path.relative_to(ROOT).parts[0] == package and path.name != "__main__.py"
    ]
    program = (
        "import importlib, json, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert not loaded & (ONLINE_LIBRARIES | ({*PACKAGES} - MAY_IMPORT[package]))


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_terminal_talks(path: Path) -> None:
    """A print deep inside could show a secret, and a prompt there could never be answered by a program."""
    if str(path.relative_to(ROOT)) in TALKERS:
        pytest.skip("this is a file whose job it is")
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name(id="print" | "input" | "getpass" as name)):
                pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: {name}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="click"), attr="echo" | "prompt" | "confirm" as name)):
                pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: click.{name}()")
            case _:
                pass


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without ``__init__.py`` works in the checkout and is missing from the wheel."""
    folders = {path.parent for path in _modules()}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").is_file()) == []


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    """A file of more than 500 lines holds more than one thought; it must be cut before it grows further."""
    assert len(path.read_text().splitlines()) <= 500
