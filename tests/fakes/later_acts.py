"""A plan with every act, and a rehearsal that does them one after the other by the public commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.rehearsal import Rehearsal, request_bundle

from shared import keys, names
from shared.clock import rfc3339

ALPHA = names.subject(common="Alpha CA", organization="Example")
_ACTS = """\
acts = ["root", "intermediate:alpha", "crl:yearly", "cross:partner", "rollover:next", "backup", "restore-test",
        "crl:revoking", "destroy"]"""
_PLAN = """\
version = 1
title = "Every act"
organization = "Example"
backup = {backup}
{acts}

[roles]
administrator = "Alan"
auditor = "Grace"
witnesses = ["Edsger"]

[root]
common_name = "Example Root CA"
key = "{key}"
label = "root"
years = 10
not_before = "{begin}"
policies = ["1.3.6.1.4.1.99999.1"]

[[intermediate]]
file = "alpha"
common_name = "Alpha CA"
years = 5
permitted = ["dns:example.com", "ip:10.0.0.0/8"]
excluded = ["dns:secret.example.com"]
policies = ["1.3.6.1.4.1.99999.1"]
crl_urls = ["http://pki.example.com/root.crl"]
issuer_urls = ["http://pki.example.com/root.crt"]

[[crl]]
name = "yearly"
number = 1
this_update = "{begin}"
next_update = "{half_year}"
count = 3
period_days = 150

[[crl]]
name = "revoking"
number = 10
this_update = "{begin}"
next_update = "{half_year}"

[[crl.revoked]]
file = "alpha"
reason = "superseded"
date = "{begin}"

[[cross]]
name = "partner"
common_name = "Partner Root CA"
organization = "Partner"
fingerprint = "{fingerprint}"
years = 3
permitted = ["dns:partner.example"]

[[rollover]]
name = "next"
common_name = "{next}"
key = "ec-p256"
label = "root-2"
years = 12

[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
"""


@dataclass(frozen=True)
class Partner:
    """Another CA: a root made in another way than ours, with an intermediate and a leaf below it."""

    key: keys.PrivateKey
    root: x509.Certificate
    intermediate: x509.Certificate
    leaf: x509.Certificate
    stranger: x509.Certificate
    """A leaf outside of the name constraints that the plan puts on the cross-certificate."""


def make_partner(*, extended: bool = False, path_length: int | None = None, ca: bool = True) -> Partner:
    """Make another CA. Its key identifier is no SHA-1 of the key, and its subject has strings of two types."""
    key = keys.generate(keys.KeyKind.EC_P256)
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Partner", x509.name._ASN1Type.PrintableString),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "Partner Root CA"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier(bytes(range(32)))
    root = _builder(name, name, key.public_key(), years=8).add_extension(
        x509.BasicConstraints(ca, path_length if ca else None), True
    )
    root = root.add_extension(identifier, False)
    if extended:
        root = root.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    below, end = keys.generate(keys.KeyKind.EC_P256), keys.generate(keys.KeyKind.EC_P256)
    below_name = names.subject(common="Partner Issuing CA")
    intermediate = _builder(below_name, name, below.public_key(), years=4)
    intermediate = intermediate.add_extension(x509.BasicConstraints(True, 0), True)
    intermediate = intermediate.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
    )
    leaves = []
    for host in ("www.partner.example", "www.elsewhere.example"):
        leaf = _builder(names.subject(common=host), below_name, end.public_key(), years=1)
        leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        leaves.append(leaf.sign(below, hashes.SHA256()))
    return Partner(
        key=key,
        root=root.sign(key, hashes.SHA256()),
        intermediate=intermediate.sign(key, hashes.SHA256()),
        leaf=leaves[0],
        stranger=leaves[1],
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: keys.PublicKey, *, years: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * years))
    )


def plan_text(
    partner: Partner,
    *,
    key: str = "ec-p384",
    backup: bool = True,
    next_name: str = "Example Root CA",
    acts: str = _ACTS,
    extra: str = "",
) -> str:
    """Return the plan, with dates around now."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    text = _PLAN.format(
        acts=acts,
        backup=str(backup).lower(),
        key=key,
        begin=rfc3339(begin),
        half_year=rfc3339(begin + timedelta(days=180)),
        fingerprint=keys.fingerprint(partner.root),
        next=next_name,
    )
    return text + extra


@dataclass(frozen=True)
class Story(Rehearsal):
    """A rehearsal of every act."""

    @property
    def other_root(self) -> Path:
        return self.base / "partner-root.crt"

    def begin(self, partner: Partner, plan: str) -> None:
        """Write the inputs and make the root."""
        self.prepare(plan)
        self.other_root.write_bytes(partner.root.public_bytes(serialization.Encoding.DER))
        done = self.root()
        assert done.exit_code == 0, done.stderr

    def act(self, command: str, *arguments: str | Path) -> Result:
        """Rehearse a later act."""
        return self.run(
            "rehearse", command, "--dir", self.directory, "--hsm", self.base / "hsm.toml",
            "--words-file", self.words, *arguments,
        )  # fmt: skip

    def alpha(self) -> Result:
        """Rehearse the intermediate."""
        request, *_ = self.request(request_bundle(keys.generate(keys.KeyKind.EC_P256), subject=ALPHA))
        return self.intermediate(request)

    def copy(self, base: Path) -> Story:
        """Copy everything to another place."""
        return Story(super().copy(base).base)
