"""Subjects of leaves: the attributes that a template or ``authority.template`` fixes around the verified common name.

Invariants: attribute values are checked for length and characters when the configuration is read (RFC 5280 appendix
A.1); they come out in Go's order, one value a component; a common name that is not one of the alternative names does
not enter a certificate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import NameOID

from online.strict_json import Fields, Json
from shared.errors import RequestRejected
from shared.names import SanSet, printable
from shared.names import common_name as checked_common_name

COMMON_NAME = "commonName"
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
# RFC 5280 appendix A.1: X520SerialNumber is a PrintableString.
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]+", re.ASCII)

# Names, kinds and longest values of the attributes, in the order in which Go writes them (crypto/x509/pkix).
_ATTRIBUTES: Mapping[str, tuple[x509.ObjectIdentifier, int]] = MappingProxyType(
    {
        "country": (NameOID.COUNTRY_NAME, 2),
        "organization": (NameOID.ORGANIZATION_NAME, 64),
        "organizationalUnit": (NameOID.ORGANIZATIONAL_UNIT_NAME, 64),
        "locality": (NameOID.LOCALITY_NAME, 128),
        "province": (NameOID.STATE_OR_PROVINCE_NAME, 128),
        "streetAddress": (NameOID.STREET_ADDRESS, 128),
        "postalCode": (NameOID.POSTAL_CODE, 40),
        COMMON_NAME: (NameOID.COMMON_NAME, 64),
        "serialNumber": (NameOID.SERIAL_NUMBER, 64),
    }
)
# Values by step-ca's name of the attribute.
Attributes: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
SUBJECT_KEYS = frozenset(_ATTRIBUTES)
# step-ca's ASN1DN has no postalCode.
_DEFAULT_KEYS = SUBJECT_KEYS - {"postalCode"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectShape:
    """What a template says about the subject."""

    from_token: bool = True
    """The common name is the token's subject."""
    common_name: str | None = None
    """The operator's own common name, when it is not the token's."""
    attributes: Attributes = ()
    """All but the common name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectDefaults:
    """``authority.template``: what a subject gets where its template leaves an attribute out."""

    common_name: str | None = None
    attributes: Attributes = ()


NO_DEFAULTS = SubjectDefaults()


def parse_subject_defaults(value: Json, *, path: str) -> SubjectDefaults:
    """Read ``authority.template``, step-ca's ASN1DN.

    Args:
        value: the object; ``None`` when there is none.
        path: its dotted path.

    Raises:
        RequestRejected: ``config.*``.
    """
    if value is None:
        return NO_DEFAULTS
    found = Fields(value, path=path, known=_DEFAULT_KEYS)
    given = {key: found.text(key, default="") for key in _ATTRIBUTES if key in _DEFAULT_KEYS}
    checked = {key: check_attribute(key, text, path=found.at(key)) for key, text in given.items() if text}
    common = checked.pop(COMMON_NAME, None)
    return SubjectDefaults(common_name=common, attributes=tuple((key, (text,)) for key, text in checked.items()))


def check_attribute(key: str, text: str, *, path: str) -> str:
    """Check the value of an attribute that an operator fixes, and return it.

    Args:
        key: step-ca's name of the attribute, one of ``SUBJECT_KEYS``.
        text: the value.
        path: its dotted path.

    Raises:
        RequestRejected: ``config.malformed``.
    """
    longest = _ATTRIBUTES[key][1]
    if key == "country" and not _COUNTRY.fullmatch(text):
        raise RequestRejected("config.malformed", f"{path} is not a country", hint="write two capital letters: CH")
    if key == "serialNumber" and not _PRINTABLE.fullmatch(text):
        raise RequestRejected("config.malformed", f"{path} has characters that a serial number cannot have")
    if not 1 <= len(text) <= longest or text != text.strip() or printable(text, limit=longest) != text:
        raise RequestRejected("config.malformed", f"{path} is not a text of 1 to {longest} visible characters")
    return text


def wanted_common_name(shape: SubjectShape, defaults: SubjectDefaults, *, subject: str) -> str:
    """Return the common name that a leaf would get, checked; empty for none.

    Args:
        shape: the template's.
        defaults: the authority's.
        subject: the token's.

    Raises:
        RequestRejected: ``name.common-name``.
    """
    wanted = subject if shape.from_token else shape.common_name or defaults.common_name
    return checked_common_name(wanted) if wanted else ""


def build_subject(shape: SubjectShape, defaults: SubjectDefaults, *, common_name: str, sans: SanSet) -> x509.Name:
    """Return the subject of a leaf.

    ``step ca certificate foobar --san 10.0.0.1`` asks for a common name that is none of the alternative names. Whoever
    still matches common names would take the holder for a host that nobody checked, so it is left out.

    Args:
        shape: the template's.
        defaults: the authority's.
        common_name: from ``wanted_common_name``.
        sans: the leaf's alternative names.
    """
    attributes: dict[str, Sequence[str]] = {**dict(defaults.attributes), **dict(shape.attributes)}
    if common_name and common_name.lower() in {text.lower() for text in sans.texts()}:
        attributes[COMMON_NAME] = (common_name,)
    return x509.Name(
        [x509.NameAttribute(oid, text) for key, (oid, _) in _ATTRIBUTES.items() for text in attributes.get(key, ())]
    )
