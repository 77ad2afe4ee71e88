"""Reading the plan: strict TOML, every complaint with its dotted key (see ``ceremony plan new``).

Invariants: the digest is that of the file's exact bytes, so that the paper that people signed and the file that
the tool reads are the same. Nothing about the HSM stands in it: where the HSM is belongs to another file, so that
the rehearsed and the real plan are the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509

from ceremony.plan.acts import check_roles, default_acts, read_acts
from ceremony.plan.host import read_accepted
from ceremony.plan.lineage import UNSAID, check_cas, check_issuers, settle
from ceremony.plan.lists import read_crls, revocable
from ceremony.plan.model import (
    FIRST_ROOT,
    ActKind,
    CrlPlan,
    CrossPlan,
    Fixed,
    GroupPlan,
    IntermediatePlan,
    Plan,
    Roles,
    RolloverPlan,
    RootPlan,
    RotationPlan,
    SharesPlan,
)
from ceremony.plan.values import alike, moment, name_of, person, text
from shared import names
from shared.ca_extensions import CaExtensions, parse_http_url, parse_oid, parse_subtrees
from shared.errors import RequestRejected
from shared.keys import CaKind, KeyKind, PostQuantum
from shared.serials import parse_serial
from shared.strict import Table

VERSION = 1
_STEM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
_RESERVED_STEMS = frozenset({"root", "plan", "transcript"})
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ROOT_KINDS: dict[str, CaKind] = {
    kind.value: kind for kind in (KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519, PostQuantum.ML_DSA_65)
}
_MOST_ROOT_YEARS = 25
_MOST_PATH_LENGTH = 5
# SLIP-39: at most 16 groups of at most 16 shares; a threshold of one over several shares does not exist there.
_MOST_SHARES = 16
_LEAST_THRESHOLD = 2

_T = TypeVar("_T")


def load_plan(data: bytes) -> Plan:
    """Read the plan of a first day.

    Args:
        data: the bytes of the TOML file.

    Raises:
        RequestRejected: ``plan.*`` with the dotted key; ``plan.later-day`` for the plan of a later day, which means
            something only together with the days before it.
    """
    with Table(read_toml(data), code="plan") as top:
        check_version(top)
        if top.optional("previous", str) is not None:
            raise RequestRejected(
                "plan.later-day",
                "this is the plan of a later day: it goes on with a ceremony that began",
                hint="name that ceremony with --dir",
            )
        title = text(top, "title")
        organization = text(top, "organization")
        with top.table("root") as table:
            root = _root(table, organization)
        found = read_descriptions(top, organization)
        crls = read_crls(top, revocable(found.intermediates, found.crosses, found.rollovers))
        with top.table("shares") as table:
            shares = _shares(table)
        roles = read_roles(top)
        accepted = read_accepted(top, roles, shares)
        backup = bool(top.optional("backup", bool))
        acts = read_acts(top, known=names_of(found, crls), backup=backup) or default_acts(
            [each.file for each in found.intermediates]
        )
    root, rollovers = settle(root, found.crosses, found.rollovers)
    plan = Plan(
        title=title,
        organization=organization,
        roles=roles,
        root=root,
        shares=shares,
        digest=hashlib.sha256(data).digest(),
        acts=acts,
        intermediates=found.intermediates,
        crls=crls,
        crosses=found.crosses,
        rollovers=rollovers,
        rotations=found.rotations,
        accepted=accepted,
        backup=backup,
    )
    check_cas(plan.roots, plan.intermediates)
    check_issuers(plan.roots, plan.crosses, plan.crls)
    for held in (shares, *(each.shares for each in plan.rotations)):
        check_roles(roles, held)
    return plan


def read_toml(data: bytes) -> dict[str, object]:
    """Parse a plan's bytes.

    Raises:
        RequestRejected: ``plan.malformed``.
    """
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestRejected("plan.malformed", "the plan is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RequestRejected("plan.malformed", f"the plan is not TOML: {error}") from None


def check_version(top: Table) -> None:
    """Insist on the version that this tool reads.

    Raises:
        RequestRejected: ``plan.*``.
    """
    if top.required("version", int) != VERSION:
        raise top.refuse("version", f"this tool reads version {VERSION}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the tables of one plan describe, besides its root, shares and lists."""

    intermediates: tuple[IntermediatePlan, ...]
    crosses: tuple[CrossPlan, ...]
    rollovers: tuple[RolloverPlan, ...]
    """As read: path lengths may be ``lineage.UNSAID``."""
    rotations: tuple[RotationPlan, ...]


def read_descriptions(top: Table, organization: str) -> Described:
    """Read the tables of what will be signed, and of new custodians.

    Raises:
        RequestRejected: ``plan.*``.
    """
    return Described(
        intermediates=tuple(_intermediate(each, organization) for each in top.tables("intermediate")),
        crosses=tuple(_cross(each, organization) for each in top.tables("cross")),
        rollovers=tuple(_rollover(each, organization) for each in top.tables("rollover")),
        rotations=tuple(_rotation(each) for each in top.tables("rotation")),
    )


def names_of(found: Described, crls: Sequence[CrlPlan]) -> dict[str, list[str]]:
    """Return the names that acts can have, for each kind of act that has names."""
    return {
        ActKind.INTERMEDIATE: [each.file for each in found.intermediates],
        ActKind.CRL: [each.name for each in crls],
        ActKind.CROSS: [each.name for each in found.crosses],
        ActKind.ROLLOVER: [each.name for each in found.rollovers],
        ActKind.ROTATE: [each.name for each in found.rotations],
    }


def end_of_validity(begin: datetime, years: int) -> datetime:
    """Return the last second of a validity of whole calendar years: both ends belong to it (RFC 5280 §4.1.2.5)."""
    try:
        end = begin.replace(year=begin.year + years)
    except ValueError:  # 29 February
        end = begin.replace(year=begin.year + years, day=28)
    return end - timedelta(seconds=1)


def _root(table: Table, organization: str) -> RootPlan:
    subject = _subject(table, organization)
    kind = table.required("key", str)
    if kind not in _ROOT_KINDS:
        raise table.refuse("key", f"one of {', '.join(_ROOT_KINDS)} is wanted")
    return RootPlan(
        subject=subject,
        key=_ROOT_KINDS[kind],
        label=text(table, "label"),
        years=_years(table),
        path_length=_path_length(table, UNSAID),
        fixed=_fixed(table),
        extensions=_extensions(table, constraints=False),
    )


def _intermediate(table: Table, organization: str) -> IntermediatePlan:
    with table:
        return IntermediatePlan(
            file=_stem(table, "file"),
            subject=_subject(table, organization),
            years=_years(table),
            issuer=_issuer(table),
            fixed=_fixed(table),
            extensions=_extensions(table, constraints=True),
        )


def _cross(table: Table, organization: str) -> CrossPlan:
    with table:
        fingerprint = table.required("fingerprint", str).replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise table.refuse("fingerprint", "the SHA-256 of the other root's certificate is wanted, 64 hex digits")
        other = table.optional("organization", str)
        return CrossPlan(
            name=_stem(table, "name"),
            subject=_subject(table, other if other is not None else organization),
            fingerprint=fingerprint,
            years=_years(table),
            path_length=_path_length(table, 1),
            issuer=_issuer(table),
            fixed=_fixed(table),
            extensions=_extensions(table, constraints=True),
        )


def _rollover(table: Table, organization: str) -> RolloverPlan:
    with table:
        return RolloverPlan(name=_stem(table, "name"), issuer=_issuer(table), root=_root(table, organization))


def _rotation(table: Table) -> RotationPlan:
    with table:
        return RotationPlan(name=_stem(table, "name"), shares=_shares(table))


def _shares(table: Table) -> SharesPlan:
    given = table.tables("group")
    if not given:
        return _shaped(table, SharesPlan(group_threshold=1, groups=(_group(table, "custodians"),)))
    groups = []
    for each in given:
        with each:
            groups.append(_group(each, text(each, "name")))
    group_threshold = table.required("group_threshold", int)
    if not 1 <= group_threshold <= len(groups) <= _MOST_SHARES:
        raise table.refuse("group_threshold", f"1 to {len(groups)} is possible here, of at most {_MOST_SHARES} groups")
    holders = [alike(name) for group in groups for name in group.custodians]
    for kind, found in (("group", [alike(group.name) for group in groups]), ("custodian", holders)):
        if len(set(found)) != len(found):
            raise table.refuse("group", f"a {kind} is named twice")
    return _shaped(table, SharesPlan(group_threshold=group_threshold, groups=tuple(groups)))


def _shaped(table: Table, shares: SharesPlan) -> SharesPlan:
    # What cannot be shared so, or not be proven while people wait, is refused years before it is tried.
    try:
        _ = shares.shape
    except RequestRejected as refusal:
        raise table.refuse("group" if len(shares.groups) > 1 else "threshold", refusal.message) from None
    return shares


def _group(table: Table, name: str) -> GroupPlan:
    custodians = table.texts("custodians")
    threshold = table.required("threshold", int)
    for number, custodian in enumerate(custodians):
        person(table, f"custodians[{number}]", custodian)
    if len(set(map(alike, custodians))) != len(custodians):
        raise table.refuse("custodians", "a custodian is named twice")
    alone = name != "custodians"
    least = 1 if alone else _LEAST_THRESHOLD
    if not least <= len(custodians) <= _MOST_SHARES:
        raise table.refuse("custodians", f"{least} to {_MOST_SHARES} custodians are wanted")
    if not least <= threshold <= len(custodians):
        raise table.refuse("threshold", f"{least} to {len(custodians)} is possible here")
    return GroupPlan(name=name, threshold=threshold, custodians=custodians)


def read_roles(top: Table) -> Roles:
    """Read who does what; a plan without the table names nobody, and rules nothing out.

    Raises:
        RequestRejected: ``plan.*``.
    """
    if top.optional("roles", dict) is None:
        return Roles()
    with top.table("roles") as table:
        witnesses = table.texts("witnesses") if table.optional("witnesses", list) is not None else ()
        for number, witness in enumerate(witnesses):
            person(table, f"witnesses[{number}]", witness)
        return Roles(
            administrator=text(table, "administrator"),
            auditor=text(table, "auditor") if table.optional("auditor", str) is not None else "",
            witnesses=witnesses,
            least_witnesses=table.optional("min_witnesses", int) or 0,
            administrator_may_hold=table.optional("administrator_holds_share", bool) or False,
        )


def _fixed(table: Table) -> Fixed:
    serial = table.optional("serial", str)
    begin = table.optional("not_before", str)
    return Fixed(
        serial=_value(table, "serial", parse_serial, serial) if serial is not None else None,
        not_before=moment(table, "not_before") if begin is not None else None,
    )


def _extensions(table: Table, *, constraints: bool) -> CaExtensions:
    def listed(key: str) -> tuple[str, ...]:
        return table.texts(key) if table.optional(key, list) is not None else ()

    def each(key: str, read: Callable[[str], _T]) -> tuple[_T, ...]:
        return tuple(_value(table, f"{key}[{number}]", read, value) for number, value in enumerate(listed(key)))

    def subtrees(key: str) -> tuple[x509.GeneralName, ...]:
        return tuple(name for group in each(key, _one_subtree) for name in group)

    return CaExtensions(
        permitted=subtrees("permitted") if constraints else (),
        excluded=subtrees("excluded") if constraints else (),
        policies=each("policies", parse_oid),
        crl_urls=each("crl_urls", parse_http_url),
        issuer_urls=each("issuer_urls", parse_http_url),
    )


def _one_subtree(value: str) -> tuple[x509.GeneralName, ...]:
    return parse_subtrees([value])


def _value(table: Table, key: str, read: Callable[[str], _T], value: str) -> _T:
    try:
        return read(value)
    except RequestRejected as refusal:
        raise table.refuse(key, refusal.message, hint=refusal.hint) from None


def _subject(table: Table, organization: str) -> x509.Name:
    try:
        return names.subject(common=table.required("common_name", str), organization=organization)
    except RequestRejected as refusal:
        if refusal.code.startswith("plan."):
            raise
        raise table.refuse("common_name", refusal.message) from None


def _issuer(table: Table) -> str:
    return table.optional("issuer", str) or FIRST_ROOT


def _stem(table: Table, key: str) -> str:
    return name_of(table, key, _STEM, _RESERVED_STEMS)


def _path_length(table: Table, unsaid: int) -> int:
    length = table.optional("path_length", int)
    if length is None:
        return unsaid
    if not 1 <= length <= _MOST_PATH_LENGTH:
        raise table.refuse("path_length", f"1 to {_MOST_PATH_LENGTH} is possible")
    return length


def _years(table: Table) -> int:
    years = table.required("years", int)
    if not 1 <= years <= _MOST_ROOT_YEARS:
        raise table.refuse("years", f"1 to {_MOST_ROOT_YEARS} is possible")
    return years
