"""A store in memory with the semantics of the protocol, and a disk that fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from online.store import Census, CertificateKind, CertificateRow, Revocation, TokenUse
from online.store.operations import already_revoked
from online.store.protocol import Lineage, RevocationProof, Standing
from shared.errors import PolicyDenied, StoreFailed, Unauthenticated


class Fault(Enum):
    """What goes wrong with the next write."""

    BEFORE = auto()
    """It fails and nothing is kept."""
    AFTER = auto()
    """It is kept, and the answer that says so is lost."""


class MemoryStore:
    """See ``online.store.protocol.Store``. Everything is an attribute, for tests to look at."""

    def __init__(self) -> None:
        self.used: dict[tuple[str, str], TokenUse] = {}
        self.certificates: dict[int, CertificateRow] = {}
        self.revocations: dict[int, Revocation] = {}
        self.compromised: set[str] = set()
        self.writes: list[str] = []
        """The names of the write methods that were called, in order."""
        self.fault: Fault | None = None
        """Strikes the next write, once."""
        self.unavailable: StoreFailed | None = None
        """Raised by every call, until it is taken away."""
        self.before_write: Callable[[], None] = lambda: None
        """Runs inside the "transaction", before its checks: what another node did just now."""
        self.closed = False

    async def record_certificate(
        self, *, token: TokenUse | None, certificate: CertificateRow, lineage: Lineage | None = None
    ) -> int:
        self._begin("record_certificate")
        if certificate.parent is not None and certificate.parent in self.revocations:
            raise Unauthenticated("certificate.revoked", "the certificate is revoked")
        if certificate.key_digest in self.compromised:
            raise PolicyDenied("key.compromised", "the public key was revoked as compromised")
        others = 0
        if certificate.parent is not None and lineage is not None:
            before = certificate.not_before - lineage.grace
            found = [each for each in self.certificates.values() if each.parent == certificate.parent]
            others = sum(each.not_before < before for each in found)
            if others and lineage.newest_only:
                raise PolicyDenied("renew.superseded", "the certificate was renewed before")
        self._check_unused(token)
        if certificate.serial in self.certificates:
            raise StoreFailed("store.conflict", "the serial is taken")
        self._fail(Fault.BEFORE)
        self._use(token)
        self.certificates[certificate.serial] = certificate
        self._fail(Fault.AFTER)
        return others

    async def record_revocation(self, *, token: TokenUse | None, revocation: Revocation) -> None:
        self._begin("record_revocation")
        self._check_unused(token)
        self._fail(Fault.BEFORE)
        self._use(token)
        if revocation.serial in self.revocations:
            raise already_revoked(revocation.serial)
        self.revocations[revocation.serial] = revocation
        if revocation.compromised_key is not None:
            self.compromised.add(revocation.compromised_key)
        self._fail(Fault.AFTER)

    async def revocation(self, serial: int) -> Revocation | None:
        self._check_available()
        return self.revocations.get(serial)

    async def standing(self, serial: int) -> Standing:
        row = await self.certificate(serial)
        return Standing(None if row is None else row.provisioner_id, await self.revocation(serial) is not None)

    async def certificate(self, serial: int) -> CertificateRow | None:
        self._check_available()
        return self.certificates.get(serial)

    async def census(self, *, now: datetime) -> Census:
        self._check_available()
        valid = [each for each in self.certificates.values() if each.not_after > now]
        live = [each for each in valid if each.kind is not CertificateKind.OWN and each.serial not in self.revocations]
        last = [each for each in live if each.serial not in {other.parent for other in valid}]
        spans = {"1h": 1, "8h": 8, "24h": 24}
        return Census(
            live=len(live),
            expiring={
                name: sum(each.not_after - now <= timedelta(hours=hours) for each in last)
                for name, hours in spans.items()
            },
            overdue=sum(
                each.parent is not None and (each.not_after - now) * 6 < each.not_after - each.not_before
                for each in last
            ),
        )

    async def revoke_superseded(self, *, renewed_before: datetime, now: datetime) -> int:
        self._begin("revoke_superseded")
        parents = {each.parent for each in self.certificates.values() if each.not_before < renewed_before}
        old = [
            each.serial
            for each in self.certificates.values()
            if each.serial in parents and each.not_after > now and each.serial not in self.revocations
        ]
        for serial in old:
            self.revocations[serial] = Revocation(
                serial=serial,
                revoked_at=now,
                reason_code=4,
                reason="its successor is in use",
                proof=RevocationProof.SUCCESSION,
                provisioner_id="",
            )
        return len(old)

    async def forget_tokens(self, *, expired_before: datetime) -> int:
        self._begin("forget_tokens")
        self._fail(Fault.BEFORE)
        old = [key for key, use in self.used.items() if use.expires < expired_before]
        for key in old:
            del self.used[key]
        self._fail(Fault.AFTER)
        return len(old)

    async def ended(self, *, before: datetime, limit: int) -> Sequence[CertificateRow]:
        self._check_available()
        over = [each for each in self.certificates.values() if each.not_after < before]
        over.sort(key=lambda each: each.not_after)
        return [each for each in over if each.serial not in self.revocations][:limit]

    async def drop_ended(self, certificates: Sequence[CertificateRow]) -> int:
        self._begin("drop_ended")
        known = [each.serial for each in certificates if each.serial in self.certificates]
        gone = [serial for serial in known if serial not in self.revocations]
        for serial in gone:
            del self.certificates[serial]
        return len(gone)

    async def ready(self) -> None:
        self._check_available()

    async def close(self) -> None:
        self.closed = True

    def _begin(self, name: str) -> None:
        self._check_available()
        self.writes.append(name)
        self.before_write()

    def _check_available(self) -> None:
        if self.unavailable is not None:
            raise StoreFailed(self.unavailable.code, self.unavailable.message)
        if self.closed:
            raise StoreFailed("store.closed", "the store is closed")

    def _check_unused(self, token: TokenUse | None) -> None:
        if token is not None and (token.provisioner_id, token.digest) in self.used:
            raise Unauthenticated("token.used", "the token was used before")

    def _use(self, token: TokenUse | None) -> None:
        if token is not None:
            self.used[token.provisioner_id, token.digest] = token

    def _fail(self, moment: Fault) -> None:
        if self.fault is moment:
            self.fault = None
            code = "store.full" if moment is Fault.BEFORE else "store.outcome-unknown"
            raise StoreFailed(code, "the disk failed")
