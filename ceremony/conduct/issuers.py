"""Which root signs: the first one, or one that a rollover made."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from ceremony.conduct.directory import CeremonyDirectory, Journal
from ceremony.plan import FIRST_ROOT, Plan
from ceremony.records import Kind, recorded_certificate
from ceremony.rollover import rollover_files
from shared.errors import Fatal, RequestRejected
from shared.keystore import CaHsmKey, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingRoot:
    """A root that exists, and how its key is found in the HSM."""

    certificate: x509.Certificate
    label: str

    def key(self, token: Token) -> CaHsmKey:
        """Return its key after comparing it with its certificate.

        Raises:
            NotFound: ``hsm.key-missing``.
            Fatal: ``ceremony.other-key``.
        """
        key = token.find(label=self.label)
        if key.public_key() != self.certificate.public_key():
            raise Fatal("ceremony.other-key", "the unlocked HSM holds another key than the one the root certifies")
        return key


def find_issuer(directory: CeremonyDirectory, journal: Journal, plan: Plan, name: str) -> IssuingRoot:
    """Return the root that signs.

    Args:
        directory: of the ceremony.
        journal: of the ceremony.
        plan: in force.
        name: the rollover that made it, or ``FIRST_ROOT``.

    Raises:
        RequestRejected: ``ceremony.no-next-root``, ``file.*`` or ``certificate.malformed``.
    """
    label = plan.roots[name].label
    if name == FIRST_ROOT:
        return IssuingRoot(certificate=directory.load_root(), label=label)
    for record in journal.find(Kind.NEXT_ROOT_ISSUED):
        if record.body.get("file") == rollover_files(name).root:
            return IssuingRoot(certificate=recorded_certificate(record.body), label=label)
    raise RequestRejected(
        "ceremony.no-next-root",
        f"there is no next root {name} that could sign",
        hint=f"the act rollover:{name} comes first",
    )
