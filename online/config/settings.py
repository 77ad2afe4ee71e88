"""The configuration of the node, checked: what a ca.json says, with paths resolved and defaults filled in.

Invariants: everything here is frozen and was checked when it was read; a path is absolute or hangs on the
home's own path; the key's password shows in no ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from online.claims import Claims, StatedClaims
from online.policy import Policy
from online.provisioners.protocol import Provisioner
from online.strict_json import Json, JsonObject
from online.templates import SubjectDefaults

DEFAULT_BACKDATE = timedelta(minutes=1)
DEFAULT_DNS_NAMES = ("localhost", "127.0.0.1", "::1")
DEFAULT_COMMON_NAME = "Step Online CA"
DEFAULT_CRL_CACHE = timedelta(hours=24)
DEFAULT_TRACE_HEADER = "X-Smallstep-Id"

# Go's names, which ca.json uses, with OpenSSL's; AEAD with forward secrecy only (RFC 9325 §4.2).
_TLS12_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    # Go's names of these two until 2020; ca.json files of that age have them.
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
}
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
KNOWN_SUITES = (*_TLS12_SUITES, *_TLS13_SUITES)
DEFAULT_SUITES = ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")


class TlsVersion(Enum):
    """A version of TLS that the node speaks; the value is how ca.json and the wire write it."""

    TLS_1_2 = 1.2
    TLS_1_3 = 1.3


class TlsEngine(Enum):
    """Whose OpenSSL the node's TLS is; the value is how ca.json writes it."""

    BUNDLED = "bundled"
    """The one that the cryptography package brings."""
    SYSTEM = "system"
    """The one that Python was built with: the distribution's, with its crypto policy and its FIPS provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The ``tls`` block, and ``coldroot.tlsEngine``."""

    min_version: TlsVersion = TlsVersion.TLS_1_2
    max_version: TlsVersion = TlsVersion.TLS_1_3
    cipher_suites: tuple[str, ...] = DEFAULT_SUITES
    """Go's names. TLS 1.3 suites are always offered, as in Go."""
    engine: TlsEngine = TlsEngine.BUNDLED

    def openssl_ciphers(self) -> str:
        """Return the TLS 1.2 suites as an OpenSSL cipher list; the defaults when only TLS 1.3 suites are named."""
        named = [_TLS12_SUITES[each] for each in self.cipher_suites if each in _TLS12_SUITES]
        return ":".join(dict.fromkeys(named or (_TLS12_SUITES[each] for each in DEFAULT_SUITES)))

    def to_json(self) -> JsonObject:
        """Return the block as ca.json and the ``tlsOptions`` of replies have it."""
        suites: list[Json] = [*self.cipher_suites]
        return {
            "cipherSuites": suites,
            "minVersion": self.min_version.value,
            "maxVersion": self.max_version.value,
            "renegotiation": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """The ``db`` block."""

    data_source: str = field(repr=False)
    """For SQLite, the path of the database file, resolved; otherwise an address, which may hold a password."""
    type: str = "sqlite"
    """``sqlite``, ``postgresql`` or ``mysql``; MariaDB counts as the latter."""
    database: str = ""
    """The name of the database on its server; empty when the address says it."""
    where: str = ""
    """Server and database, safe to show; empty for SQLite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerSettings:
    """The ``logger`` block."""

    format: str = "text"
    trace_header: str = DEFAULT_TRACE_HEADER
    least_status: int = 0
    """Requests that were answered with a lower HTTP status get no line; events of the node always do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlSettings:
    """The ``crl`` block, when it is enabled."""

    url: str
    """Where the list can be fetched; it stands in the list's issuing distribution point."""
    generate_on_revoke: bool = False
    """Whether a revocation is answered only when the list that names it is published."""
    cache_duration: timedelta = DEFAULT_CRL_CACHE
    """From thisUpdate to nextUpdate."""
    renew_period: timedelta = DEFAULT_CRL_CACHE * 2 / 3
    """From one list to the next; shorter than ``cache_duration``, so that there is always a list in force."""

    @property
    def leaf_url(self) -> str:
        """What leaves name as their distribution point; empty when they name none.

        RFC 5280 §8 warns of lists that are fetched over TLS: their server's certificate would have to be looked up in
        the very list. Clients that look up revocations do not fetch them from there.
        """
        return self.url if self.url.startswith("http://") else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    """The block ``coldroot.rateLimit``: what one client may ask for."""

    requests: int
    """How many requests, for good, in each ``period``."""
    period: timedelta
    burst: int
    """How many at once, after a while of silence."""
    exempt: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose requests are not counted: a load balancer or NAT gateway, behind which many clients look like one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalSettings:
    """The block ``coldroot.renewal``: what the node makes of a certificate that is renewed twice."""

    grace: timedelta = timedelta(hours=1)
    """A second renewal within this time is a client that did not get its answer, and asks again."""
    newest_only: bool = False
    """Whether only the newest of a lineage may be renewed."""
    revoke_superseded: bool = False
    """Whether a certificate is revoked once its successor is older than the grace."""


class AuthoritySource(Enum):
    """The key ``coldroot.authority``: where provisioners, policy and what else is one for all nodes stand."""

    FILE = "file"
    DATABASE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A ca.json, read and checked."""

    path: Path
    """The file."""
    home: Path
    """The directory that relative paths hang on: the one that holds ``config/``."""
    roots: tuple[Path, ...]
    federated_roots: tuple[Path, ...]
    crt: Path
    key: str
    """A path, or a ``pkcs11:`` URI (RFC 7512)."""
    address: tuple[str, int]
    """Host (empty for all interfaces) and port."""
    metrics_address: tuple[str, int] | None
    """Where ``/metrics`` is served in plain HTTP; nowhere when not given."""
    dns_names: tuple[str, ...]
    common_name: str
    db: DatabaseSettings
    tls: TlsSettings
    logger: LoggerSettings
    stated_claims: StatedClaims
    """What the authority's own ``claims`` say."""
    claims: Claims
    """What holds for a provisioner that states nothing."""
    backdate: timedelta
    policy: Policy
    """Of the authority; each provisioner may have one as well, and both must let a name pass."""
    subject_defaults: SubjectDefaults
    """``authority.template``."""
    provisioners: tuple[Provisioner, ...]
    crl: CrlSettings | None = None
    """Revocation lists; none are made when not given."""
    insecure_address: tuple[str, int] | None = None
    """Where the revocation list is served in plain HTTP; only together with ``crl``."""
    rate_limit: RateLimitSettings | None = None
    """No client is limited when not given."""
    renewal: RenewalSettings = field(default_factory=RenewalSettings)
    archive_after: timedelta | None = None
    """How long after its end a certificate leaves the database for a file; it stays for ever when not given."""
    former_intermediates: tuple[Path, ...] = ()
    """Intermediates that ``crt`` took the place of; what they issued may still be renewed."""
    authority: AuthoritySource = AuthoritySource.FILE
    """With ``DATABASE`` the provisioners, the policy and the limits are those of ``authority_version``."""
    authority_version: int | None = None
    """Which version of the database's document was read. Without one, ``DATABASE`` means that nobody has looked yet
    and there are no provisioners: enough for whoever only wants to know the database."""
    password: str | None = field(repr=False)
    """The password of the intermediate key, when the file holds it."""
