"""Is what is installed still what was installed? Every file against the list that the installer left (RECORD).

The distributions looked at are coldroot and all it depends on, as far as the ceremony needs them.

What this proves: no file of theirs was changed, removed or added since the installation. What it does not: that
the right thing was installed (the wheelhouse's manifest says that, in words read aloud), that whoever changes a file
did not change its RECORD too (then the manifest of a fresh installation is the judge), and anything about the
interpreter, the C library and the kernel, which the operating system's image answers for. Compiled caches
(``.pyc``) are not recorded by installers; they are left aside.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_OURS = "coldroot"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST_FAULTS = 8
_CODE = frozenset({".py", ".so", ".pth"})


def faults(name: str = _OURS) -> tuple[str, ...]:
    """Return what differs from the installation, the first few; nothing when all is well.

    1. Find the distribution and everything it requires without an extra.
    2. An installation that refers to a checkout has no list of its own code: that is a fault.
    3. Every listed file must be there, with its hash.
    4. In the directories of these distributions there is no code that nobody listed.
    5. Beside them there is no module and no start-up file (``.pth``) that no distribution listed: Python would run it.

    Args:
        name: the distribution to begin with.
    """
    distributions = tuple(_closure(name))
    found = tuple(itertools.islice(_all_faults(distributions), _MOST_FAULTS + 1))
    return found if len(found) <= _MOST_FAULTS else (*found[:_MOST_FAULTS], "and more")


def _all_faults(distributions: tuple[metadata.Distribution, ...]) -> Iterator[str]:
    # 1.
    if not distributions:
        yield "it is not installed at all"
    for distribution in distributions:
        yield from _of(distribution)
    # 5.
    for site in sorted({Path(str(each.locate_file(""))).resolve() for each in distributions}):
        yield from _strangers(site)


def _closure(name: str) -> Iterator[metadata.Distribution]:
    waiting, seen = [name], set()
    while waiting:
        wanted = _canonical(waiting.pop())
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            distribution = metadata.distribution(wanted)
        except metadata.PackageNotFoundError:
            # Its requirer says under which conditions it is wanted; what is wanted and missing fails on import.
            continue
        yield distribution
        for requirement in distribution.requires or ():
            match = _NAME.match(requirement)
            if match is not None and "extra ==" not in requirement:
                waiting.append(match.group())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _of(distribution: metadata.Distribution) -> Iterator[str]:
    name = distribution.metadata["Name"]
    # 2.
    if '"editable": true' in (distribution.read_text("direct_url.json") or ""):
        yield f"{name} refers to a checkout, whose files nobody recorded"
        return
    record = distribution.read_text("RECORD")
    if not record:
        yield f"{name} has no record of its files"
        return
    listed: set[Path] = set()
    folders: set[Path] = set()
    site = Path(str(distribution.locate_file("")))
    # 3.
    for row in csv.reader(record.splitlines()):
        path, digest = Path(str(distribution.locate_file(row[0]))), row[1] if len(row) > 1 else ""
        listed.add(path)
        top = Path(row[0]).parts[0]
        if len(Path(row[0]).parts) > 1 and not top.startswith(".") and not top.endswith(".dist-info"):
            folders.add(site / top)
        if digest and (fault := _differs(path, digest)):
            yield f"{name}: {row[0]} {fault}"
    # 4.
    for folder in sorted(folders):
        for path in sorted(folder.rglob("*")):
            if path.suffix in _CODE and path not in listed:
                yield f"{name}: {path.relative_to(site)} was added"


def _strangers(site: Path) -> Iterator[str]:
    listed = {
        row[0]
        for each in metadata.distributions(path=[str(site)])
        for row in csv.reader((each.read_text("RECORD") or "").splitlines())
        if row
    }
    for path in sorted(site.iterdir()):
        if path.suffix in _CODE and path.name not in listed:
            yield f"{path.name} belongs to no installed package"


def _differs(path: Path, recorded: str) -> str:
    """Return how a file differs from a digest as RECORD writes it: algorithm, ``=``, base64url without padding."""
    algorithm, _, wanted = recorded.partition("=")
    if algorithm != "sha256":
        return f"has a digest of an unknown kind ({algorithm})"
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return "is missing"
    return "" if base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii") == wanted else "was changed"
