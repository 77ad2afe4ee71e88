"""The plan: the one reviewed input of a ceremony, strict TOML (see ``ceremony plan new``).

Invariants: a ``Plan`` in hand is valid; its digest is that of the file's exact bytes, so that the paper that
people signed and the file that the tool reads are the same. Nothing about the HSM stands in it: where the HSM
is belongs to another file, so that the rehearsed and the real plan are the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from shared import names
from shared.errors import RequestRejected
from shared.keys import KeyKind
from shared.profile import Profile, intermediate_profile, root_profile
from shared.strict import Table

VERSION = 1
_FILE_STEM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
_RESERVED_STEMS = frozenset({"root", "plan", "transcript"})
_ROOT_KINDS = (KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519)
_MOST_ROOT_YEARS = 25
# SLIP-39 shares: at most 16 in a group, and a threshold of one is no sharing.
_MOST_SHARES = 16
_LEAST_THRESHOLD = 2

EXAMPLE = """\
# The plan of a root key ceremony. Everybody who takes part reads it, agrees, and compares its digest words.
version = 1
title = "Example root key ceremony"
organization = "Example"

[root]
common_name = "Example Root CA"
key = "ec-p384"        # ec-p256, ec-p384, rsa or ed25519, generated inside the HSM
label = "example-root" # the label of the key in the HSM
years = 10

# One table for each intermediate that this root shall sign. The request must name exactly this subject.
[[intermediate]]
file = "intermediate"  # the certificate is written to intermediate.crt
common_name = "Example Intermediate CA"
years = 5

[shares]
threshold = 3          # so many custodians together can unlock the HSM
custodians = ["Ada", "Blaise", "Carl", "Dorothy", "Emmy"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPlan:
    """What the plan says of the root."""

    subject: x509.Name
    key: KeyKind
    label: str
    years: int

    def profile(self) -> Profile:
        """Return the root profile with this validity as its limit."""
        return root_profile(longest=timedelta(days=366 * self.years))


@dataclass(frozen=True, slots=True, kw_only=True)
class IntermediatePlan:
    """What the plan says of one intermediate."""

    file: str
    subject: x509.Name
    years: int

    def profile(self) -> Profile:
        """Return the intermediate profile with this validity as its limit."""
        return intermediate_profile(longest=timedelta(days=366 * self.years))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesPlan:
    """Who holds a share, and how many of them are a quorum."""

    threshold: int
    custodians: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A validated plan."""

    title: str
    organization: str
    root: RootPlan
    intermediates: tuple[IntermediatePlan, ...]
    shares: SharesPlan
    digest: bytes
    """SHA-256 of the file's bytes."""

    def intermediate_for(self, subject: x509.Name) -> IntermediatePlan:
        """Return the planned intermediate of a subject.

        Raises:
            RequestRejected: ``plan.unplanned-intermediate``.
        """
        for planned in self.intermediates:
            if planned.subject == subject:
                return planned
        known = "; ".join(names.format_name(planned.subject) for planned in self.intermediates) or "none"
        raise RequestRejected(
            "plan.unplanned-intermediate",
            f"the plan has no intermediate {names.format_name(subject)}",
            hint=f"planned: {known}",
        )


def load_plan(data: bytes) -> Plan:
    """Read a plan.

    Args:
        data: the bytes of the TOML file.

    Raises:
        RequestRejected: ``plan.*`` with the dotted key, ``name.*`` for a subject that cannot be.
    """
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestRejected("plan.malformed", "the plan is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RequestRejected("plan.malformed", f"the plan is not TOML: {error}") from None
    with Table(values, code="plan") as top:
        if top.required("version", int) != VERSION:
            raise top.refuse("version", f"this tool reads version {VERSION}")
        title = _text(top, "title")
        organization = _text(top, "organization")
        root = _root(top, organization)
        intermediates = tuple(_intermediate(each, organization) for each in top.tables("intermediate"))
        shares = _shares(top)
    _check_intermediates(root, intermediates)
    return Plan(
        title=title,
        organization=organization,
        root=root,
        intermediates=intermediates,
        shares=shares,
        digest=hashlib.sha256(data).digest(),
    )


def end_of_validity(begin: datetime, years: int) -> datetime:
    """Return the last second of a validity of whole calendar years: both ends belong to it (RFC 5280 §4.1.2.5)."""
    try:
        end = begin.replace(year=begin.year + years)
    except ValueError:  # 29 February
        end = begin.replace(year=begin.year + years, day=28)
    return end - timedelta(seconds=1)


def _root(top: Table, organization: str) -> RootPlan:
    with top.table("root") as table:
        subject = _subject(table, organization)
        kind = table.required("key", str)
        if kind not in _ROOT_KINDS:
            raise table.refuse("key", f"one of {', '.join(_ROOT_KINDS)} is wanted")
        return RootPlan(
            subject=subject, key=KeyKind(kind), label=_text(table, "label"), years=_years(table, _MOST_ROOT_YEARS)
        )


def _intermediate(table: Table, organization: str) -> IntermediatePlan:
    with table:
        file = table.required("file", str)
        if not _FILE_STEM.fullmatch(file) or file in _RESERVED_STEMS:
            raise table.refuse("file", "lower-case letters, digits and hyphens are wanted, and no reserved name")
        return IntermediatePlan(file=file, subject=_subject(table, organization), years=_years(table, _MOST_ROOT_YEARS))


def _shares(top: Table) -> SharesPlan:
    with top.table("shares") as table:
        custodians = table.texts("custodians")
        threshold = table.required("threshold", int)
        for number, name in enumerate(custodians):
            if not name.strip() or names.printable(name) != name:
                raise table.refuse(f"custodians[{number}]", "a visible name of at most 100 characters is wanted")
        if len(set(custodians)) != len(custodians):
            raise table.refuse("custodians", "a custodian is named twice")
        if not _LEAST_THRESHOLD <= len(custodians) <= _MOST_SHARES:
            raise table.refuse("custodians", f"{_LEAST_THRESHOLD} to {_MOST_SHARES} custodians are wanted")
        if not _LEAST_THRESHOLD <= threshold <= len(custodians):
            raise table.refuse("threshold", f"{_LEAST_THRESHOLD} to {len(custodians)} is possible here")
        return SharesPlan(threshold=threshold, custodians=custodians)


def _check_intermediates(root: RootPlan, intermediates: tuple[IntermediatePlan, ...]) -> None:
    for number, each in enumerate(intermediates):
        where = f"intermediate[{number}]"
        if each.years > root.years:
            raise RequestRejected("plan.invalid", f"{where}.years: an intermediate cannot outlive its root")
        if each.subject == root.subject:
            raise RequestRejected("plan.invalid", f"{where}.common_name: it is the root's own name")
        for other in intermediates[:number]:
            if each.file == other.file or each.subject == other.subject:
                raise RequestRejected("plan.invalid", f"{where}: file and common_name must be its own")


def _subject(table: Table, organization: str) -> x509.Name:
    try:
        return names.subject(common=table.required("common_name", str), organization=organization)
    except RequestRejected as refusal:
        if refusal.code.startswith("plan."):
            raise
        raise table.refuse("common_name", refusal.message) from None


def _text(table: Table, key: str) -> str:
    text = table.required(key, str)
    if not 1 <= len(text) <= 64 or text != text.strip() or names.printable(text) != text:  # noqa: PLR2004
        raise table.refuse(key, "1 to 64 visible characters are wanted")
    return text


def _years(table: Table, most: int) -> int:
    years = table.required("years", int)
    if not 1 <= years <= most:
        raise table.refuse("years", f"1 to {most} is possible")
    return years
