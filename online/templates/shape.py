"""The shape of a leaf, as a template fixes it: typed, complete, and with places where verified names go.

Invariants: everything that does not depend on a request was checked when the configuration was read, so that filling a
shape can only fail on the names that come in; a leaf never signs certificates, lists or OCSP responses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from online.templates.subject import SubjectShape
from shared.keys import KeyKind
from shared.names import SanSet
from shared.profile import LEAF_PURPOSES, TLS_USAGES, KeyPurpose


class Slot(StrEnum):
    """What a placeholder stands for; the value is how a placeholder is written once it was recognised."""

    SUBJECT = "{{ toJson .Subject }}"
    SANS = "{{ toJson .SANs }}"
    COMMON_NAME = "{{ toJson .Subject.CommonName }}"


class SanKind(StrEnum):
    """The kinds of alternative name; the value is the ``type`` of an entry in a template's ``sans``."""

    AUTO = "auto"
    DNS = "dns"
    EMAIL = "email"
    IP = "ip"
    URI = "uri"


@dataclass(frozen=True, slots=True, kw_only=True)
class SansShape:
    """Which alternative names a leaf gets."""

    from_token: bool
    """The verified names of the token."""
    fixed: SanSet = field(default_factory=SanSet)
    """The operator's own."""
    subject_as: frozenset[SanKind] = frozenset()
    """Kinds in which the token's subject is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafShape:
    """What a template says about leaves for one group of key kinds."""

    subject: SubjectShape
    sans: SansShape
    purposes: frozenset[KeyPurpose] = LEAF_PURPOSES
    """Key usages; what a kind of key cannot do is left out for keys of that kind."""
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = TLS_USAGES
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()
    """Further extensions, none critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafTemplate:
    """A template, once for each answer to the only question that it may ask: is the key an RSA key?"""

    rsa: LeafShape
    other: LeafShape

    def shape(self, kind: KeyKind) -> LeafShape:
        """Return the shape for a kind of subject key."""
        return self.rsa if kind is KeyKind.RSA else self.other

    def extended_key_usages(self) -> frozenset[x509.ObjectIdentifier]:
        """Return every extended key usage that the template gives to some leaf."""
        return frozenset((*self.rsa.extended_key_usage, *self.other.extended_key_usage))
