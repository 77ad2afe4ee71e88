"""A whole small CA in memory: root, intermediate, a JWK provisioner, an authority, and what its clients would send.

``make_world()`` is all that most tests need::

    world = make_world()
    key = generate(KeyKind.EC_P256)
    chain = await world.authority.sign(world.csr("a.example.com", key=key), world.token("a.example.com"))

With ``now=datetime.now(UTC)`` and a ``SystemClock`` its certificates are good for real TLS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fakes.certificates import make_intermediate, make_root
from fakes.clock import NOON, FakeClock
from fakes.store import MemoryStore

from online.authority import Authority, AuthoritySettings, PeerCertificate
from online.claims import Claims
from online.hierarchy import Chain, Hierarchy
from online.jose.jwk import PrivateJwk
from online.provisioners.jwk import JwkProvisioner
from online.provisioners.protocol import Operation, Provisioner
from online.provisioners.registry import Registry
from online.store import Store
from online.tokens import audience, mint_renew_token, mint_revoke_token, mint_sign_token
from shared.clock import Clock
from shared.keys import KeyKind, PrivateKey, fingerprint, generate, signature_hash
from shared.keys import kind_of as key_kind
from shared.names import SanSet, parse_sans

DNS_NAMES = ("localhost", "ca.example.com", "127.0.0.1")
CA_URL = "https://ca.example.com:9000"
PROVISIONER = "admin"


@dataclass(frozen=True, kw_only=True)
class Pki:
    """A root and an intermediate with their keys."""

    root: x509.Certificate
    root_key: PrivateKey = field(repr=False)
    intermediate: x509.Certificate
    intermediate_key: PrivateKey = field(repr=False)

    def hierarchy(self, **more: tuple[x509.Certificate, ...]) -> Hierarchy:
        """Return what a node issues under; ``more`` are further arguments of ``Hierarchy``."""
        return Hierarchy(key=self.intermediate_key, chain=(self.intermediate,), roots=(self.root,), **more)

    def sibling(self, *, common: str = "Sibling Intermediate CA") -> Pki:
        """Return another intermediate under the same root."""
        certificate, key = make_intermediate(self.root, self.root_key, common=common)
        return Pki(root=self.root, root_key=self.root_key, intermediate=certificate, intermediate_key=key)


def make_pki(
    *, now: datetime = NOON, kind: KeyKind = KeyKind.EC_P256, root_kind: KeyKind = KeyKind.EC_P256, days: int = 1825
) -> Pki:
    """Make a root and an intermediate that became valid a day ago.

    Args:
        now: aware UTC.
        kind: of the intermediate's key.
        root_kind: of the root's key.
        days: how long the intermediate is valid.
    """
    root, root_key = make_root(kind=root_kind, begin=(now - timedelta(days=1)).replace(microsecond=0))
    intermediate, key = make_intermediate(root, root_key, kind=kind, days=days)
    return Pki(root=root, root_key=root_key, intermediate=intermediate, intermediate_key=key)


def make_provisioner(
    name: str = PROVISIONER, *, claims: Claims | None = None, kind: KeyKind = KeyKind.EC_P256
) -> tuple[JwkProvisioner, PrivateJwk]:
    """Make a JWK provisioner and the key that mints its tokens."""
    signer = PrivateJwk.of(generate(kind))
    return JwkProvisioner(name=name, key=signer.public(), claims=claims or Claims()), signer


def make_csr(
    common: str = "",
    sans: SanSet | None = None,
    *,
    key: PrivateKey,
    more: Callable[[x509.CertificateSigningRequestBuilder], x509.CertificateSigningRequestBuilder] | None = None,
) -> x509.CertificateSigningRequest:
    """Make a signed request.

    Args:
        common: its common name; empty for an empty subject.
        sans: its alternative names.
        key: signs it.
        more: adds to the builder before it is signed.
    """
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans.general_names()), critical=False)
    if more is not None:
        builder = more(builder)
    return builder.sign(key, signature_hash(key_kind(key)))


@dataclass(kw_only=True)
class World:
    """A CA and everything around it. Change ``clock`` and ``store`` as the test needs; they are the authority's."""

    pki: Pki
    provisioner: JwkProvisioner
    signer: PrivateJwk
    clock: FakeClock
    store: MemoryStore
    """The fake; meaningless when another store was given."""
    registry: Registry
    authority: Authority

    def token(
        self,
        subject: str,
        sans: Sequence[str] = (),
        *,
        signer: PrivateJwk | None = None,
        issuer: str | None = None,
        cnf: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """Mint a sign token; by default the provisioner's own, now."""
        return mint_sign_token(
            signer or self.signer,
            issuer=issuer or self.provisioner.name,
            audience=audience(CA_URL, Operation.SIGN),
            subject=subject,
            sans=sans,
            root_fingerprint=fingerprint(self.pki.root),
            now=now or self.clock.now(),
            rng=os.urandom,
            cnf=cnf,
        )

    def revoke_token(self, serial: int, *, signer: PrivateJwk | None = None, issuer: str | None = None) -> str:
        """Mint a revocation token."""
        return mint_revoke_token(
            signer or self.signer,
            issuer=issuer or self.provisioner.name,
            audience=audience(CA_URL, Operation.REVOKE),
            serial=serial,
            root_fingerprint=fingerprint(self.pki.root),
            now=self.clock.now(),
            rng=os.urandom,
        )

    def renew_token(self, chain: Chain, key: PrivateKey) -> str:
        """Mint a renewal token for a leaf, with its own key."""
        return mint_renew_token(
            chain, key, audience=audience(CA_URL, Operation.RENEW), now=self.clock.now(), rng=os.urandom
        )

    def csr(self, common: str, sans: Sequence[str] | None = None, *, key: PrivateKey) -> x509.CertificateSigningRequest:
        """Make a request as the step CLI does: the common name, and the names (by default that one)."""
        return make_csr(common, parse_sans(sans if sans is not None else (common,)), key=key)

    async def leaf(
        self,
        subject: str = "a.example.com",
        sans: Sequence[str] = (),
        *,
        key: PrivateKey | None = None,
        not_after: str = "",
    ) -> tuple[Chain, PrivateKey]:
        """Have a leaf issued; return its chain and key."""
        key = key or generate(KeyKind.EC_P256)
        csr = make_csr(subject, key=key)
        return await self.authority.sign(csr, self.token(subject, sans), not_after=not_after), key


def peer(chain: Chain) -> PeerCertificate:
    """Return the proof that a TLS handshake with this leaf would give."""
    return PeerCertificate(certificate=chain[0])


def same_der(left: x509.Certificate, right: x509.Certificate) -> bool:
    """Compare two certificates byte for byte."""
    return left.public_bytes(Encoding.DER) == right.public_bytes(Encoding.DER)


def make_world(
    *,
    pki: Pki | None = None,
    now: datetime = NOON,
    clock: Clock | None = None,
    store: Store | None = None,
    claims: Claims | None = None,
    others: Sequence[Provisioner] = (),
    dns_names: Sequence[str] = DNS_NAMES,
    common_name: str = "Step Online CA",
    former_issuers: tuple[x509.Certificate, ...] = (),
    provisioner: tuple[JwkProvisioner, PrivateJwk] | None = None,
) -> World:
    """Build a CA.

    Args:
        pki: root and intermediate; made when not given.
        now: where the fake clock stands.
        clock: another clock for the authority, such as ``SystemClock``.
        store: another store for the authority, such as a ``SqliteStore``.
        claims: the provisioner's limits.
        others: further provisioners.
        dns_names: the node's names.
        common_name: of the node's own leaf.
        former_issuers: whose leaves may still be renewed.
        provisioner: the provisioner and its key; made when not given.
    """
    pki = pki or make_pki(now=now)
    known, signer = provisioner or make_provisioner(claims=claims)
    fake_clock, memory = FakeClock(now), MemoryStore()
    registry = Registry((known, *others))
    authority = Authority(
        hierarchy=pki.hierarchy(former_issuers=former_issuers),
        registry=registry,
        settings=AuthoritySettings(dns_names=tuple(dns_names), common_name=common_name),
        store=store or memory,
        clock=clock or fake_clock,
        rng=os.urandom,
    )
    return World(
        pki=pki,
        provisioner=known,
        signer=signer,
        clock=fake_clock,
        store=memory,
        registry=registry,
        authority=authority,
    )
