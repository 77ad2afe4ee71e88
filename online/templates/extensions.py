"""The fields of a template that become extensions: key usages, and where lists, responders and issuers are found.

Invariants: a leaf gets no power of a CA by any of them (RFC 5280 §4.2.1.3, §4.2.1.9, §4.2.1.12); addresses are plain
HTTP URLs; none of them is critical but the key usage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from online.strict_json import Fields, Json, is_empty, wrong_type
from online.templates.shape import Slot
from shared.errors import RequestRejected, Unsupported
from shared.names import canonical_uri, printable
from shared.profile import LEAF_PURPOSES, TLS_USAGES, KeyPurpose

FIELDS = frozenset(
    {
        "keyUsage",
        "extKeyUsage",
        "basicConstraints",
        "crlDistributionPoints",
        "issuingCertificateURL",
        "ocspServer",
        "policyIdentifiers",
    }
)
_HTTP = re.compile(r"https?://[^/?#]+(?:[/?].*)?", re.ASCII)
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,38})){1,30}", re.ASCII)
_CA_USAGES = frozenset({"certsign", "crlsign"})
_NO_CA = "remove it: leaves sign no certificates, lists or responses; use a profile of the ceremony for a CA"
_EXTENDED = {
    "serverauth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientauth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codesigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailprotection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsecendsystem": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsectunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsecuser": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
}
_EXTENDED_REFUSED = {
    "any": "name the usages one by one",
    "ocspsigning": _NO_CA,
    "timestamping": "remove it: such a leaf may have no other usage, and that one critical (RFC 3161 §2.3)",
}


def purposes(found: Fields) -> frozenset[KeyPurpose]:
    """Read ``keyUsage``; what TLS needs when it is not given.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-template``.
    """
    known = {each.lower(): each for each in KeyPurpose} | {"nonrepudiation": KeyPurpose.CONTENT_COMMITMENT}
    result = set()
    for path, text in fixed_texts(found, "keyUsage"):
        word = _word(text)
        if word in _CA_USAGES:
            raise _unsupported(path, text, _NO_CA)
        if word not in known:
            raise _unsupported(path, text, f"usages are {', '.join(KeyPurpose)}")
        result.add(known[word])
    if result and KeyPurpose.DIGITAL_SIGNATURE not in result:
        raise RequestRejected(
            "config.malformed",
            f"{found.at('keyUsage')} lacks digitalSignature",
            hint="add it: without it a leaf proves itself in no TLS 1.3 handshake, and cannot be renewed",
        )
    return frozenset(result) or LEAF_PURPOSES


def extended_key_usage(found: Fields) -> tuple[x509.ObjectIdentifier, ...]:
    """Read ``extKeyUsage``; server and client of TLS when it is not given.

    A certificate without the extension is good for anything; that is never what is left out on purpose.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-template``.
    """
    result: dict[x509.ObjectIdentifier, None] = {}
    for path, text in fixed_texts(found, "extKeyUsage"):
        word = _word(text)
        if word not in _EXTENDED:
            names = "serverAuth, clientAuth, codeSigning, emailProtection, ipsecEndSystem, ipsecTunnel, ipsecUser"
            raise _unsupported(path, text, _EXTENDED_REFUSED.get(word, f"usages are {names}"))
        result[_EXTENDED[word]] = None
    return tuple(result) or TLS_USAGES


def further(found: Fields) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """Read the fields that become extensions of their own.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-template``.
    """
    _refuse_ca(found)
    result: list[x509.ExtensionType] = []
    access = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for key, method in (
            ("ocspServer", AuthorityInformationAccessOID.OCSP),
            ("issuingCertificateURL", AuthorityInformationAccessOID.CA_ISSUERS),
        )
        for url in _urls(found, key)
    ]
    if access:
        result.append(x509.AuthorityInformationAccess(access))
    policies = _oids(found, "policyIdentifiers")
    if policies:
        result.append(x509.CertificatePolicies([x509.PolicyInformation(oid, None) for oid in policies]))
    lists = _urls(found, "crlDistributionPoints")
    if lists:
        # One point a URL, as Go writes it: each names the whole list by itself.
        points = [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in lists]
        result.append(x509.CRLDistributionPoints(points))
    return tuple(x509.Extension(each.oid, False, each) for each in result)


def texts(found: Fields, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a field that holds one or a list of them, each with its dotted path. Slots are texts too.

    Raises:
        RequestRejected: ``config.wrong-type`` or ``config.malformed``.
    """
    value = found.raw(key)
    if isinstance(value, str):
        if value:
            yield found.at(key), value
        return
    for path, each in found.items(key):
        yield path, _text(each, path)


def fixed_texts(found: Fields, key: str, *, single: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the texts of a field in which no placeholder may stand.

    Args:
        found: the object.
        key: of the field.
        single: a list is refused.

    Raises:
        RequestRejected: ``config.wrong-type`` or ``config.malformed``.
    """
    if single and isinstance(found.raw(key), list):
        raise wrong_type(found.at(key), "text", found.raw(key))
    for path, text in texts(found, key):
        if text in set(Slot):
            raise misplaced(path)
        yield path, text


def misplaced(path: str) -> RequestRejected:
    """Make the error for a placeholder in the wrong place."""
    return RequestRejected(
        "config.malformed",
        f"{path}: this placeholder cannot stand here",
        hint="{{ toJson .Subject }} is the value of subject, {{ toJson .SANs }} of sans, {{ toJson .Subject.CommonName"
        " }} of a common name or an alternative name",
    )


def _refuse_ca(found: Fields) -> None:
    if "basicConstraints" not in found:
        return
    block = Fields(found.raw("basicConstraints"), path=found.at("basicConstraints"), known={"isCA", "maxPathLen"})
    if block.flag("isCA") or not (is_empty(block.raw("maxPathLen")) or block.raw("maxPathLen") == -1):
        raise Unsupported("config.unsupported-template", f"{block.path}: a leaf is no CA", hint=_NO_CA)


def _urls(found: Fields, key: str) -> tuple[str, ...]:
    result: dict[str, None] = {}
    for path, text in fixed_texts(found, key):
        try:
            url = canonical_uri(text)
        except RequestRejected as error:
            raise RequestRejected("config.malformed", f"{path}: {error.message}") from None
        if not _HTTP.fullmatch(url):
            raise RequestRejected("config.malformed", f"{path} is not an http:// address", hint="write a whole URL")
        result[url] = None
    return tuple(result)


def _oids(found: Fields, key: str) -> tuple[x509.ObjectIdentifier, ...]:
    result: dict[x509.ObjectIdentifier, None] = {}
    for path, text in fixed_texts(found, key):
        oid = _oid(text)
        if oid is None:
            raise RequestRejected(
                "config.malformed", f"{path} is not an object identifier", hint="write numbers and dots: 1.3.6.1.4.1.5"
            )
        result[oid] = None
    return tuple(result)


def _oid(text: str) -> x509.ObjectIdentifier | None:
    if not _OID.fullmatch(text):
        return None
    try:
        return x509.ObjectIdentifier(text)
    except ValueError:
        # The first two numbers share a byte, so not every pair of them can be written.
        return None


def _text(value: Json, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, "text", value)
    if not value:
        raise RequestRejected("config.malformed", f"{path} is empty")
    return value


def _word(text: str) -> str:
    # step-ca compares the names of usages without case and underscores.
    return text.lower().replace("_", "")


def _unsupported(path: str, text: str, hint: str) -> Unsupported:
    return Unsupported(
        "config.unsupported-template", f"{path}: the usage {printable(text, limit=60)} is not supported", hint=hint
    )
