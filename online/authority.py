"""The authority: decides, signs, records, and only then answers. No HTTP and no SQL in here.

Every operation goes the same way (the numbers return in the code):

1. what was sent is parsed and within limits;
2. the caller's proof is verified completely, before anything is written;
3. the request is held against the proof, the claims and the profile;
4. the certificate is prepared, linted and signed;
5. the use of the proof and what came of it are recorded in one transaction;
6. the answer goes out after the commit. A certificate whose commit failed or lost a race leaves nobody's hands.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from online import csr as requests
from online import issued, leaf, lineage
from online.claims import choose_validity, parse_validity
from online.crl_serving import PublishedCrls
from online.hierarchy import Chain, Hierarchy
from online.metrics.attempt import vouched_by
from online.policy import Policy
from online.provisioners.protocol import Operation, Provisioner
from online.provisioners.registry import Registry, authorize_renew
from online.renew_token import PresentedRenewal, open_renew_token
from online.revocation import Revoker, token_use
from online.signing_key import SigningKey
from online.store.protocol import Census, CertificateKind, CertificateRow, Store, TokenUse
from online.templates import NO_DEFAULTS, SubjectDefaults
from online.token_proof import verify_token
from online.tokens import Audiences, VerifiedToken
from online.vitals import Vitals
from shared.clock import Clock
from shared.errors import Fatal, PolicyDenied, Unauthenticated
from shared.issue import prepare
from shared.keys import PublicKey, csr_key, public_key_digest
from shared.names import format_name, parse_sans
from shared.serials import random_serial

# A token's use is remembered a day longer than the token could be used: a clock set back an hour replays nothing.


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """Proof of identity by TLS: the peer showed this certificate and used its key in the handshake."""

    certificate: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewToken:
    """Proof of identity by a token that the certificate's own key signed (``Authorization: Bearer``)."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """What the configuration says about issuing."""

    dns_names: tuple[str, ...]
    """The names under which clients reach the node; tokens must be addressed to one of them."""
    common_name: str
    """The wish for the common name of the node's own leaf."""
    backdate: timedelta = timedelta(minutes=1)
    policy: Policy = field(default_factory=lambda: Policy(path="authority.policy.x509"))
    """Holds for every provisioner, at renewal too; the node's own leaf is not under it."""
    subject_defaults: SubjectDefaults = NO_DEFAULTS
    crl_url: str = ""
    """What leaves name as the place of their revocation list; empty for none."""
    succession: lineage.Succession = lineage.DEFAULT
    """What is made of a certificate that is renewed twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proven:
    """A leaf of ours whose key the caller holds."""

    certificate: x509.Certificate
    public_key: PublicKey
    provisioner: Provisioner
    token: TokenUse | None
    """The single use to record, when a token was the proof."""


class Authority:
    """Signs, renews, rekeys and revokes leaves under one intermediate. Safe for any number of requests at once."""

    def __init__(
        self,
        *,
        hierarchy: Hierarchy,
        registry: Registry,
        settings: AuthoritySettings,
        store: Store,
        clock: Clock,
        rng: Callable[[int], bytes],
        crls: PublishedCrls | None = None,
        signing: SigningKey | None = None,
        alarm: lineage.Alarm = lineage.unheard,
    ) -> None:
        """Take a hierarchy into service.

        Args:
            hierarchy: issuing key and certificates.
            registry: the provisioners.
            settings: from the configuration.
            store: where use and issuance are recorded.
            clock: wall clock.
            rng: cryptographic randomness, such as ``os.urandom``.
            crls: the revocation lists that the node publishes, if it does.
            signing: signs with the hierarchy's key; made when not given.
            alarm: told when a lineage forks.

        Raises:
            RequestRejected: ``name.*`` for a name of the node that could not stand in a certificate.
            Fatal: ``authority.outside-validity``.
        """
        self.hierarchy = hierarchy
        """The certificates that the node publishes."""
        self.registry = registry
        """The provisioners that the node publishes."""
        self.crls = crls
        """The revocation lists that the node publishes; ``None`` when it publishes none."""
        self._issuer = hierarchy.issuer
        self._signing = signing or SigningKey(hierarchy.key)
        self._settings = settings
        self.vitals = Vitals(hierarchy=hierarchy, signing=self._signing, store=store, clock=clock)
        """The parts that must be well for issuing."""
        self._audiences = Audiences.of(settings.dns_names)
        self._own_sans = parse_sans(settings.dns_names)
        self._house = leaf.HouseRules(
            backdate=settings.backdate,
            policy=settings.policy,
            subject_defaults=settings.subject_defaults,
            crl_url=settings.crl_url,
        )
        self._store = store
        self._clock = clock
        self._rng = rng
        self._alarm = alarm
        self._revoker = Revoker(
            registry=registry, verify=self._verify, issuers=hierarchy.accepted, store=store, clock=clock
        )
        self._now()

    async def sign(
        self, csr: x509.CertificateSigningRequest, token: str, *, not_before: str = "", not_after: str = ""
    ) -> Chain:
        """Issue a leaf to whoever holds a provisioner's token.

        Args:
            csr: as parsed; its signature is checked here.
            token: the one-time token, as it was sent.
            not_before: RFC 3339, a duration counted from now, or empty.
            not_after: the same, counted from notBefore when that is given.

        Raises:
            Unauthenticated: ``token.*``: any defect of the token, or a second use.
            RequestRejected: ``csr.*``, ``key.*``, ``name.*``, ``time.*``, ``validity.*``.
            PolicyDenied: ``csr.*``, ``policy.not-allowed``, ``validity.*``, ``lint.*``, ``key.compromised``.
            PeerFailed: ``oidc.*`` when the issuer of an ID token cannot be asked for its keys.
            StoreFailed: ``store.*``; nobody got a certificate.
            Fatal: ``issue.*``, ``authority.*``: stop signing.
        """
        now = self._now()
        # 1, 2
        verified = await self._verify(Operation.SIGN, token, now)
        # 3
        names = requests.names_for(verified, csr)
        public_key = requests.accept_csr(csr, names, confirmation=verified.cnf)
        provisioner = verified.provisioner
        wish_before, wish_after = parse_validity(not_before=not_before, not_after=not_after, now=now)
        validity = choose_validity(
            provisioner.claims,
            now=now,
            backdate=self._settings.backdate,
            not_before=wish_before or verified.not_before,
            not_after=wish_after or verified.not_after,
            within=verified.window(),
        )
        wanted = leaf.signed_leaf(
            names,
            public_key,
            validity=validity,
            provisioner=provisioner,
            house=self._house,
            serial=self._serial(),
            issuer=self._issuer,
        )
        # 4, 5, 6
        return await self._issue(
            wanted, kind=CertificateKind.SIGNED, provisioner=provisioner, token=token_use(verified), parent=None
        )

    async def renew(self, proof: PeerCertificate | RenewToken) -> Chain:
        """Issue the successor of a leaf, for the same key.

        Args:
            proof: that the caller holds the leaf's key.

        Raises:
            Unauthenticated: ``certificate.*``, ``renew-token.*``, ``token.used``, or ``renew.disabled``.
            PolicyDenied: ``policy.not-allowed``, ``lint.*``, ``renew.*`` or ``key.compromised``, when today's rules
                refuse the old leaf.
            StoreFailed: ``store.*``.
            Fatal: as ``sign``.
        """
        now = self._now()
        # 1, 2
        old = await self._prove(proof, None, now)
        # 3, 4, 5, 6
        return await self._succeed(old, old.public_key, CertificateKind.RENEWED, now=now)

    async def rekey(self, proof: PeerCertificate | RenewToken, csr: x509.CertificateSigningRequest) -> Chain:
        """Issue the successor of a leaf, for another key.

        Args:
            proof: that the caller holds the leaf's key; a token must be bound to this request.
            csr: only its public key is used, after the proof of possession and a check of its strength.

        Raises:
            RequestRejected: ``csr.*`` or ``key.*``.
            Unauthenticated: as ``renew``.
            PolicyDenied: as ``renew``.
            StoreFailed: ``store.*``.
            Fatal: as ``sign``.
        """
        now = self._now()
        # 1, 2
        old = await self._prove(proof, csr, now)
        # 3, 4, 5, 6
        return await self._succeed(old, csr_key(csr), CertificateKind.REKEYED, now=now)

    async def revoke(
        self,
        *,
        serial: int,
        token: str | None,
        peer: PeerCertificate | None,
        reason_code: int,
        reason: str,
    ) -> None:
        """Revoke a certificate: it is never renewed again, by any node.

        Args:
            serial: of the certificate.
            token: a revocation token for this serial; it goes before ``peer`` when both are given.
            peer: the certificate itself; its key was used in the handshake.
            reason_code: CRLReason; keyCompromise (1) also bars the key from any further certificate.
            reason: free text.

        Raises:
            RequestRejected: ``revoke.*``, ``certificate.already-revoked``.
            NotFound: ``certificate.unknown``.
            Unauthenticated: ``token.*`` or ``certificate.*``.
            PolicyDenied: ``revoke.*``.
            StoreFailed: ``store.*``; the certificate may or may not count as revoked, ask again.
        """
        self._now()
        # 1, 2, 3, 5, 6
        await self._revoker.revoke(
            serial=serial,
            token=token,
            certificate=peer.certificate if peer is not None else None,
            reason_code=reason_code,
            reason=reason,
        )
        if self.crls is not None:
            await self.crls.after_revocation()

    async def own_leaf(self, public_key: PublicKey) -> Chain:
        """Issue the node's own TLS leaf.

        Args:
            public_key: of a key that lives as long as the process.

        Raises:
            PolicyDenied: ``lint.*``.
            StoreFailed: ``store.*``.
            Fatal: as ``sign``.
        """
        wanted = leaf.own_leaf(
            self._settings.common_name,
            self._own_sans,
            public_key,
            now=self._now(),
            backdate=self._settings.backdate,
            serial=self._serial(),
            issuer=self._issuer,
            crl_url=self._settings.crl_url,
        )
        return await self._issue(wanted, kind=CertificateKind.OWN, provisioner=None, token=None, parent=None)

    async def census(self) -> Census:
        """Count the certificates that are live now, and those that are about to end.

        Raises:
            StoreFailed: ``store.*``.
        """
        return await self._store.census(now=self._clock.now())

    async def ready(self) -> None:
        """Return when the node could issue now.

        Raises:
            StoreFailed: ``store.*``.
            Fatal: ``authority.outside-validity``.
        """
        self._now()
        await self._store.ready()

    async def _verify(self, operation: Operation, token: str, now: datetime) -> VerifiedToken:
        return await verify_token(
            operation,
            token,
            registry=self.registry,
            audiences=self._audiences,
            store=self._store,
            now=now,
        )

    async def _prove(
        self, proof: PeerCertificate | RenewToken, csr: x509.CertificateSigningRequest | None, now: datetime
    ) -> _Proven:
        """Verify that the caller holds the key of a leaf of ours, which somebody vouches for.

        Args:
            proof: of possession.
            csr: what a token must be bound to, for a rekey.
            now: aware UTC.
        """
        # 1
        presented: PresentedRenewal | None = None
        if isinstance(proof, RenewToken):
            presented = open_renew_token(proof.text)
            old = presented.certificate
        else:
            old = proof.certificate
        # 2
        public_key = issued.check_ours(old, self.hierarchy.accepted_at(now), servers_too=presented is not None)
        provisioner = await self._renewable(old, now)
        token = None
        if presented is not None:
            token = presented.verify(public_key, provisioner=provisioner, audiences=self._audiences, now=now, csr=csr)
        return _Proven(certificate=old, public_key=public_key, provisioner=provisioner, token=token)

    async def _renewable(self, old: x509.Certificate, now: datetime) -> Provisioner:
        """Find who vouches for a leaf of ours, and insist that it may be renewed now.

        The look at revocations saves the work; the one that counts is made again inside the transaction.
        """
        standing = await self._store.standing(old.serial_number)
        provisioner = issued.find_provisioner(old, standing.provisioner_id, self.registry)
        vouched_by(provisioner.name)
        authorize_renew(old, provisioner, now=now)
        if standing.is_revoked:
            raise Unauthenticated("certificate.revoked", "the certificate is revoked")
        return provisioner

    async def _succeed(self, old: _Proven, public_key: PublicKey, kind: CertificateKind, *, now: datetime) -> Chain:
        wanted = leaf.renewed_leaf(
            old.certificate,
            public_key,
            provisioner=old.provisioner,
            house=self._house,
            now=now,
            serial=self._serial(),
            issuer=self._issuer,
        )
        return await self._issue(
            wanted,
            kind=kind,
            provisioner=old.provisioner,
            token=old.token,
            parent=old.certificate.serial_number,
        )

    async def _issue(
        self,
        wanted: leaf.Leaf,
        *,
        kind: CertificateKind,
        provisioner: Provisioner | None,
        token: TokenUse | None,
        parent: int | None,
    ) -> Chain:
        # 4.
        with warnings.catch_warnings():
            # The library warns on stderr of a common name that is too long, when step-ca's old leaf is renewed.
            warnings.simplefilter("ignore")
            prepared = prepare(wanted.profile, wanted.request, self._issuer)
        signed = await self._signing.issue(prepared)
        certificate = signed.certificate
        # 5.
        row = CertificateRow(
            serial=certificate.serial_number,
            der=signed.der,
            subject=format_name(wanted.request.subject),
            sans=wanted.sans.texts(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key_digest=public_key_digest(wanted.request.public_key),
            provisioner_id=provisioner.id if provisioner is not None else "",
            provisioner_name=provisioner.name if provisioner is not None else "",
            parent=parent,
            kind=kind,
        )
        rules = self._settings.succession.lineage
        try:
            others = await self._store.record_certificate(token=token, certificate=row, lineage=rules)
        except PolicyDenied as refusal:
            if refusal.code == "renew.superseded":
                # Whoever comes second is no less suspect for getting nothing.
                self._alarm(lineage.Fork(row=row, refused=True))
            raise
        if others:
            self._alarm(lineage.Fork(row=row, others=others))
        # 6.
        return (certificate, *self.hierarchy.chain)

    def _serial(self) -> int:
        try:
            return random_serial(self._rng)
        except OSError:
            raise Fatal("authority.no-randomness", "the operating system gives no random numbers") from None

    def _now(self) -> datetime:
        """Read the clock, and stop when the issuing certificate is not valid at that time."""
        now = self._clock.now()
        self.hierarchy.check_in_validity(now)
        return now
