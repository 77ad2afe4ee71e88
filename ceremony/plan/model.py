"""The plan as types: what people agreed on. Only ``load`` makes them, so one in hand is valid."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from ceremony.host import Check
from ceremony.share_shape import GroupShape, SetShape
from shared import names
from shared.ca_extensions import ALLOWED_ON_CA, CaExtensions
from shared.errors import RequestRejected
from shared.keys import CaKind
from shared.profile import Profile, intermediate_profile, root_profile

FIRST_ROOT = ""
"""The issuer of what the first root signs; every other root has the name of the rollover that made it."""


class ActKind(StrEnum):
    """What can be planned."""

    ROOT = "root"
    AMEND = "amend"
    """The first act of every later day: its plan takes over. It stands in no list of acts."""
    INTERMEDIATE = "intermediate"
    CRL = "crl"
    CROSS = "cross"
    ROLLOVER = "rollover"
    ROTATE = "rotate"
    BACKUP = "backup"
    RESTORE_TEST = "restore-test"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAct:
    """One act of the day: its kind, and which one of its kind."""

    kind: ActKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What was fixed beforehand, so that anybody can compute what will be signed before the day."""

    serial: int | None = None
    not_before: datetime | None = None
    """Aware UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPlan:
    """What the plan says of a root."""

    subject: x509.Name
    key: CaKind
    label: str
    years: int
    path_length: int = 1
    """How many CAs may stand below it, one under the other. Another root that it certifies is one of them."""
    fixed: Fixed = Fixed()
    extensions: CaExtensions = field(default_factory=CaExtensions)

    def profile(self) -> Profile:
        """Return the root profile with this validity as its limit."""
        return root_profile(
            longest=timedelta(days=366 * self.years),
            path_length=self.path_length,
            allowed_extensions=ALLOWED_ON_CA,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntermediatePlan:
    """What the plan says of one intermediate."""

    file: str
    subject: x509.Name
    years: int
    issuer: str = FIRST_ROOT
    """Which root signs it: the rollover that made it, or the first one."""
    fixed: Fixed = Fixed()
    extensions: CaExtensions = field(default_factory=CaExtensions)

    def profile(self) -> Profile:
        """Return the intermediate profile with this validity as its limit."""
        return intermediate_profile(longest=timedelta(days=366 * self.years), allowed_extensions=ALLOWED_ON_CA)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRevocation:
    """One certificate on a planned list."""

    file: str
    """Where the certificate lies, without ``.crt``: ``alpha``, ``cross/partner`` or ``rollover/next/new-with-old``."""
    reason: str
    """CRLReason by its name in RFC 5280 §5.3.1, for example ``superseded``."""
    date: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlPlan:
    """A root CRL, or a calendar of them: ``count`` lists, each ``period`` after the one before."""

    name: str
    number: int
    this_update: datetime
    next_update: datetime
    count: int = 1
    period: timedelta = timedelta(0)
    issuer: str = FIRST_ROOT
    """Which root signs them; they revoke what that root signed."""
    revoked: tuple[PlannedRevocation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossPlan:
    """Another CA's root, to be certified by this one."""

    name: str
    subject: x509.Name
    fingerprint: str
    """SHA-256 of the other root's certificate, 64 hex digits: which one was agreed on."""
    years: int
    path_length: int = 1
    """How many CAs may stand below the other root in chains that come from here."""
    issuer: str = FIRST_ROOT
    """Which of our roots signs it."""
    fixed: Fixed = Fixed()
    extensions: CaExtensions = field(default_factory=CaExtensions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloverPlan:
    """The next root: a new key in the same HSM, and the two certificates that lead from old to new and back."""

    name: str
    root: RootPlan
    issuer: str = FIRST_ROOT
    """Which root it follows: an earlier rollover's, or the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """One group of custodians, and how many of them count as their group."""

    name: str
    threshold: int
    custodians: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesPlan:
    """Who holds a share: one group or several, and how many groups are a quorum."""

    group_threshold: int
    groups: tuple[GroupPlan, ...]

    @property
    def custodians(self) -> tuple[str, ...]:
        """All custodians, group by group."""
        return tuple(name for group in self.groups for name in group.custodians)

    @property
    def shape(self) -> SetShape:
        """The same as the sharing knows it: numbers without names of people.

        Raises:
            RequestRejected: ``share.bad-threshold`` or ``share.too-many-quorums``.
        """
        groups = tuple(
            GroupShape(name=group.name, threshold=group.threshold, custodians=len(group.custodians))
            for group in self.groups
        )
        return SetShape(group_threshold=self.group_threshold, groups=groups)

    def describe(self) -> str:
        """Say the rule in words."""
        return self.shape.describe()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPlan:
    """New custodians for a new secret."""

    name: str
    shares: SharesPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who does what besides holding shares."""

    administrator: str = ""
    auditor: str = ""
    witnesses: tuple[str, ...] = ()
    least_witnesses: int = 0
    """How many witnesses there must be; no later day has fewer."""
    administrator_may_hold: bool = True
    """Whether the administrator may hold a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFinding:
    """One finding of the host checks that the people accept, for no hand can mend it."""

    check: Check
    finding: str
    """Word for word what the check says."""
    reason: str
    accepted_by: tuple[str, ...]
    """Who stands by it: two people or more."""

    def __str__(self) -> str:
        return f"{self.check}: {self.finding}. {self.reason} (accepted by {' and '.join(self.accepted_by)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A validated plan."""

    title: str
    organization: str
    roles: Roles
    root: RootPlan
    shares: SharesPlan
    """Who holds the shares when the day begins; on the first day, when the root act ends."""
    digest: bytes
    """SHA-256 of the file's bytes."""
    acts: tuple[PlannedAct, ...]
    intermediates: tuple[IntermediatePlan, ...] = ()
    crls: tuple[CrlPlan, ...] = ()
    crosses: tuple[CrossPlan, ...] = ()
    rollovers: tuple[RolloverPlan, ...] = ()
    rotations: tuple[RotationPlan, ...] = ()
    accepted: tuple[AcceptedFinding, ...] = ()
    """What of the machine is accepted as it is."""
    backup: bool = False
    """Whether the root key may be wrapped out of the HSM. Off: the key is then not extractable at all."""
    number: int = 1
    """Counts the days of the ceremony. What earlier days described is described on later ones too."""
    previous: bytes | None = None
    """SHA-256 of the plan that this one follows; ``None`` on the first day."""

    @property
    def roots(self) -> dict[str, RootPlan]:
        """Return every root of the plan by the name that issues: the first one, and each rollover's."""
        return {FIRST_ROOT: self.root, **{each.name: each.root for each in self.rollovers}}

    @property
    def leaving(self) -> str:
        """What becomes of a key that was generated in the HSM, in words that fit after its name."""
        return "can leave wrapped, as the plan allows" if self.backup else "cannot leave"

    def issuer_of(self, act: PlannedAct) -> str:
        """Return which root signs in an act; ``FIRST_ROOT`` for one that signs nothing, too."""
        signing: dict[str, str] = {
            **{f"{ActKind.INTERMEDIATE}:{each.file}": each.issuer for each in self.intermediates},
            **{f"{ActKind.CRL}:{each.name}": each.issuer for each in self.crls},
            **{f"{ActKind.CROSS}:{each.name}": each.issuer for each in self.crosses},
            **{f"{ActKind.ROLLOVER}:{each.name}": each.issuer for each in self.rollovers},
        }
        return signing.get(str(act), FIRST_ROOT)

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
