"""What PKCS#11 modules do otherwise than the standard says: one table, by who made them.

A profile changes how a token is *asked*, and says which of its answers are known to be wrong. It never turns a wrong
answer into a right one: what a module misreports is named wherever the key is judged, and only a rehearsal goes on
with it. A module that is not in the table is taken by the standard's word.

Measured with SoftHSM 2.6.1, opencryptoki 3.8.1 (soft token), tpm2-pkcs11 1.9.0 (on swtpm 0.7.1), NSS 3.87 and
Kryoptic 1.5.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pkcs11 import Attribute

SHORTEST_DERIVED_PIN = 8
"""Symbols of 5 bits: a token that takes fewer holds no root's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The habits of one module, or of one kind of token in it."""

    name: str
    """By which the transcript calls the profile."""
    library: str | None = None
    """What the module says of its maker (C_GetInfo); ``None`` for any."""
    manufacturer: str | None = None
    """What the token says of its maker (C_GetTokenInfo); ``None`` for any."""
    model: str | None = None
    """How the token's model begins; ``None`` for any."""
    omitted: frozenset[Attribute] = frozenset()
    """What must not stand in the template of a new private key, not even as false."""
    omitted_public: frozenset[Attribute] = frozenset()
    """The same of its public key."""
    misreported: Mapping[str, str] = field(default_factory=dict)
    """Attributes that a new key shows wrongly, by PKCS#11's names without ``CKA_``, and why that is known."""
    factory_so_pin: bytes | None = field(default=None, repr=False)
    """The security officer's PIN of a token that was never initialised, where C_InitToken wants it. It is public."""
    wrong_tries_stay: bool = False
    """A right PIN does not take wrong tries back: then no PIN is proven dead by trying it."""
    erasable: bool = True
    """Whether C_InitToken erases a token that is in use."""

    def fits(self, library: str, manufacturer: str, model: str) -> bool:
        """Tell whether a token is of this profile."""
        return (
            self.library in {None, library}
            and self.manufacturer in {None, manufacturer}
            and model.startswith(self.model or "")
        )


STANDARD = Quirks(name="standard")
"""Of a module that is not in the table."""

TABLE: tuple[Quirks, ...] = (
    Quirks(name="softhsm", manufacturer="SoftHSM project"),
    Quirks(
        name="nss",
        manufacturer="Mozilla Foundation",
        misreported={"LOCAL": "NSS says of no key that it was generated inside"},
    ),
    Quirks(name="opencryptoki-soft", library="IBM", model="IBM SoftTok", factory_so_pin=b"87654321"),
    Quirks(
        name="tpm2-pkcs11",
        library="tpm2-software.github.io",
        omitted=frozenset({Attribute.ENCRYPT, Attribute.WRAP, Attribute.VERIFY, Attribute.DECRYPT}),
        omitted_public=frozenset({Attribute.ENCRYPT, Attribute.WRAP}),
        misreported={"DECRYPT": "every key gets the TPM's decrypt attribute; no mechanism uses it with an EC key"},
        wrong_tries_stay=True,
        erasable=False,
    ),
    Quirks(name="kryoptic", library="Kryoptic"),
)


def quirks_of(library: str, manufacturer: str, model: str) -> Quirks:
    """Return the profile of a token.

    Args:
        library: what the module says of its maker.
        manufacturer: what the token says of its maker.
        model: what the token says of its model.
    """
    return next((each for each in TABLE if each.fits(library, manufacturer, model)), STANDARD)


def quirks_named(name: str) -> Quirks:
    """Return the profile of a name, as a transcript has it; the standard's for a name that nobody knows."""
    return next((each for each in TABLE if each.name == name), STANDARD)
