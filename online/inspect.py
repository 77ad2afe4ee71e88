"""Describing a certificate for people and for ``jq``: pure functions from a certificate to text.

Invariants: nothing is verified here, and nothing claims to be; every name is made safe to show; the JSON has the
shape that ``step certificate inspect --format json`` prints, as far as coldroot's certificates go.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from online.step_extension import STEP_PROVISIONER_OID, StepExtension, read_step_extension
from shared.clock import rfc3339
from shared.errors import RequestRejected
from shared.issue import lifetime
from shared.keys import PublicKey, fingerprint, public_key_digest
from shared.names import printable

_SIGNATURES = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ECDSA-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ECDSA-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ECDSA-SHA512",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "SHA256-RSA",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "SHA384-RSA",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "SHA512-RSA",
    SignatureAlgorithmOID.ED25519: "Ed25519",
    SignatureAlgorithmOID.ML_DSA_65: "ML-DSA-65",
}
_ATTRIBUTES = {
    NameOID.COMMON_NAME: ("common_name", "CN"),
    NameOID.ORGANIZATION_NAME: ("organization", "O"),
    NameOID.ORGANIZATIONAL_UNIT_NAME: ("organizational_unit", "OU"),
    NameOID.COUNTRY_NAME: ("country", "C"),
    NameOID.LOCALITY_NAME: ("locality", "L"),
    NameOID.STATE_OR_PROVINCE_NAME: ("province", "ST"),
    NameOID.STREET_ADDRESS: ("street_address", "STREET"),
    NameOID.SERIAL_NUMBER: ("serial_number", "SERIALNUMBER"),
}
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server_auth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client_auth",
    ExtendedKeyUsageOID.CODE_SIGNING: "code_signing",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "email_protection",
    ExtendedKeyUsageOID.TIME_STAMPING: "time_stamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "ocsp_signing",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}
# RFC 5280 §4.2.1.3, bit 0 first, under zcrypto's names and in its numbering.
_USAGES = (
    ("digital_signature", "digital_signature"),
    ("content_commitment", "content_commitment"),
    ("key_encipherment", "key_encipherment"),
    ("data_encipherment", "data_encipherment"),
    ("key_agreement", "key_agreement"),
    ("key_cert_sign", "certificate_sign"),
    ("crl_sign", "crl_sign"),
)
_PROVISIONER_KINDS = {1: "JWK", 2: "OIDC", 3: "GCP", 4: "AWS", 5: "Azure", 6: "ACME", 7: "X5C", 8: "K8sSA", 9: "SSHPOP"}
_SHORTENED_FROM = 10


def describe(certificate: x509.Certificate) -> dict[str, object]:
    """Return a certificate's content as JSON-able values.

    Raises:
        RequestRejected: ``certificate.malformed`` when an extension cannot be read.
    """
    algorithm = certificate.signature_algorithm_oid
    signature = {"name": signature_name(algorithm), "oid": algorithm.dotted_string}
    return {
        "version": certificate.version.value + 1,
        "serial_number": str(certificate.serial_number),
        "signature_algorithm": signature,
        "issuer": name_parts(certificate.issuer),
        "issuer_dn": distinguished_name(certificate.issuer),
        "validity": {
            "start": rfc3339(certificate.not_valid_before_utc),
            "end": rfc3339(certificate.not_valid_after_utc),
            "length": int(lifetime(certificate).total_seconds()),
        },
        "subject": name_parts(certificate.subject),
        "subject_dn": distinguished_name(certificate.subject),
        "subject_key_info": _key_info(certificate),
        "extensions": _extensions(certificate),
        "signature": {
            "signature_algorithm": signature,
            "value": _base64(certificate.signature),
            "self_signed": certificate.subject == certificate.issuer,
        },
        # MD5 and SHA-1 protect nothing here; they are names by which others still search.
        "fingerprint_md5": certificate.fingerprint(hashes.MD5()).hex(),  # noqa: S303
        "fingerprint_sha1": certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303
        "fingerprint_sha256": fingerprint(certificate),
        "tbs_fingerprint": hashlib.sha256(certificate.tbs_certificate_bytes).hexdigest(),
        "names": _host_names(certificate),
    }


def short(certificate: x509.Certificate) -> str:
    """Describe a certificate in five lines, as ``step certificate inspect --short`` does.

    Raises:
        RequestRejected: ``certificate.malformed``.
    """
    provisioner = _provisioner(certificate)
    names = _subject_names(certificate)
    serial = _ellipsis(str(certificate.serial_number))
    lines = [
        f"X.509v3 {_kind(certificate)} ({_key_name(certificate)}) [Serial: {serial}]",
        f"  Subject:     {names[0]}",
        *(f"               {each}" for each in names[1:]),
        f"  Issuer:      {_common_name(certificate.issuer)}",
    ]
    if provisioner is not None:
        identifier = f" [ID: {_ellipsis(printable(provisioner.credential_id))}]" if provisioner.credential_id else ""
        lines.append(f"  Provisioner: {printable(provisioner.name)}{identifier}")
    lines.append(f"  Valid from:  {rfc3339(certificate.not_valid_before_utc)}")
    lines.append(f"          to:  {rfc3339(certificate.not_valid_after_utc)}")
    return "\n".join(lines)


def text(certificate: x509.Certificate) -> str:
    """Describe a certificate in full for people.

    Raises:
        RequestRejected: ``certificate.malformed``.
    """
    provisioner = _provisioner(certificate)
    serial = certificate.serial_number
    lines = [
        f"{_kind(certificate)}:",
        f"    Serial number:  {serial} (0x{serial:x})",
        f"    Signature:      {_SIGNATURES.get(certificate.signature_algorithm_oid, 'unknown')}",
        f"    Issuer:         {distinguished_name(certificate.issuer)}",
        f"    Subject:        {distinguished_name(certificate.subject) or '(empty)'}",
        f"    Valid from:     {rfc3339(certificate.not_valid_before_utc)}",
        f"    Valid to:       {rfc3339(certificate.not_valid_after_utc)}",
        f"    Public key:     {_key_name(certificate)}",
        f"    Fingerprint:    {fingerprint(certificate)} (SHA-256)",
        "    Extensions:",
    ]
    extensions = _read(certificate)
    critical = {each.oid: " (critical)" if each.critical else "" for each in extensions}
    for oid, name, content in _extension_lines(extensions, provisioner):
        lines.append(f"        {name}{critical[oid]}:")
        lines.extend(f"            {each}" for each in content)
    return "\n".join(lines)


def _extension_lines(
    extensions: x509.Extensions, provisioner: StepExtension | None
) -> Iterable[tuple[x509.ObjectIdentifier, str, list[str]]]:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage):
            yield extension.oid, "Key usage", [", ".join(_usages(value))]
        elif isinstance(value, x509.ExtendedKeyUsage):
            yield extension.oid, "Extended key usage", [", ".join(_purposes(value))]
        elif isinstance(value, x509.BasicConstraints):
            length = f", path length {value.path_length}" if value.path_length is not None else ""
            yield extension.oid, "Basic constraints", [f"CA: {'yes' if value.ca else 'no'}{length}"]
        elif isinstance(value, x509.SubjectAlternativeName):
            yield extension.oid, "Alternative names", [f"{kind}: {name}" for kind, name in _alternative_names(value)]
        elif isinstance(value, x509.CRLDistributionPoints):
            yield extension.oid, "Revocation list", list(_list_urls(value))
        elif isinstance(value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier):
            whose = "Subject" if isinstance(value, x509.SubjectKeyIdentifier) else "Authority"
            yield extension.oid, f"{whose} key identifier", [(value.key_identifier or b"").hex()]
        elif extension.oid == STEP_PROVISIONER_OID and provisioner is not None:
            kind = _PROVISIONER_KINDS.get(provisioner.type, str(provisioner.type))
            content = [f"Type: {kind}", f"Name: {printable(provisioner.name)}"]
            if provisioner.credential_id:
                content.append(f"Credential: {printable(provisioner.credential_id)}")
            yield extension.oid, "Provisioner", content
        else:
            yield extension.oid, extension.oid.dotted_string, [extension.value.public_bytes().hex()]


def _extensions(certificate: x509.Certificate) -> dict[str, object]:
    found: dict[str, object] = {}
    unknown: list[dict[str, object]] = []
    provisioner = _provisioner(certificate)
    for extension in _read(certificate):
        known = _known_extension(extension.value)
        if known is not None:
            found[known[0]] = known[1]
        elif extension.oid != STEP_PROVISIONER_OID or provisioner is None:
            encoded = _base64(extension.value.public_bytes())
            unknown.append({"id": extension.oid.dotted_string, "critical": extension.critical, "value": encoded})
    if provisioner is not None:
        found["step_provisioner"] = {
            "type": _PROVISIONER_KINDS.get(provisioner.type, str(provisioner.type)),
            "name": printable(provisioner.name),
            "credentialID": printable(provisioner.credential_id),
        }
    if unknown:
        found["unknown_extensions"] = unknown
    return found


def _known_extension(value: x509.ExtensionType) -> tuple[str, object] | None:
    """Return an extension under zcrypto's name and in its shape; ``None`` for one that it lists as unknown."""
    found: tuple[str, object] | None = None
    if isinstance(value, x509.KeyUsage):
        used = _usages(value)
        bits = sum(1 << place for place, (_, name) in enumerate(_USAGES) if name in used)
        found = "key_usage", {**dict.fromkeys(used, True), "value": bits}
    elif isinstance(value, x509.ExtendedKeyUsage):
        found = "extended_key_usage", dict.fromkeys(_purposes(value), True)
    elif isinstance(value, x509.BasicConstraints):
        length = {"max_path_len": value.path_length} if value.path_length is not None else {}
        found = "basic_constraints", {"is_ca": value.ca, **length}
    elif isinstance(value, x509.SubjectAlternativeName):
        names: dict[str, list[str]] = {}
        for kind, name in _alternative_names(value):
            names.setdefault(_SAN_KEYS.get(kind, "other_names"), []).append(name)
        found = "subject_alt_name", names
    elif isinstance(value, x509.CRLDistributionPoints):
        found = "crl_distribution_points", list(_list_urls(value))
    elif isinstance(value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier):
        whose = "subject" if isinstance(value, x509.SubjectKeyIdentifier) else "authority"
        found = f"{whose}_key_id", (value.key_identifier or b"").hex()
    return found


_SAN_KEYS = {
    "DNS": "dns_names",
    "e-mail": "email_addresses",
    "IP": "ip_addresses",
    "URI": "uniform_resource_identifiers",
}


def _alternative_names(value: x509.SubjectAlternativeName) -> list[tuple[str, str]]:
    kinds: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.RFC822Name: "e-mail",
        x509.IPAddress: "IP",
        x509.UniformResourceIdentifier: "URI",
    }
    return [(kinds.get(type(name), type(name).__name__), printable(str(name.value), limit=300)) for name in value]


def _list_urls(value: x509.CRLDistributionPoints) -> Iterable[str]:
    for point in value:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier):
                yield printable(name.value, limit=400)


def _usages(value: x509.KeyUsage) -> list[str]:
    return [name for attribute, name in _USAGES if getattr(value, attribute)]


def _purposes(value: x509.ExtendedKeyUsage) -> list[str]:
    return [_PURPOSES.get(oid, oid.dotted_string) for oid in value]


def _key_info(certificate: x509.Certificate) -> dict[str, object]:
    key = _public_key(certificate)
    found: dict[str, object] = {"key_algorithm": {"name": _key_name(certificate).split(" ", maxsplit=1)[0]}}
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = key.public_numbers()
        found["ecdsa_public_key"] = {
            "curve": _curve(key),
            "length": key.key_size,
            "pub": _base64(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
            "x": _base64(_shortest(numbers.x)),
            "y": _base64(_shortest(numbers.y)),
        }
    elif isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        found["rsa_public_key"] = {
            "exponent": rsa_numbers.e,
            "modulus": _base64(rsa_numbers.n.to_bytes((key.key_size + 7) // 8, "big")),
            "length": key.key_size,
        }
    elif isinstance(key, ed25519.Ed25519PublicKey):
        found["ed25519_public_key"] = {"pub": _base64(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    if isinstance(key, PublicKey):
        found["fingerprint_sha256"] = public_key_digest(key)
    return found


def _shortest(number: int) -> bytes:
    # As step writes coordinates: without leading zeros.
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _key_name(certificate: x509.Certificate) -> str:
    key = _public_key(certificate)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_curve(key)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, mldsa.MLDSA65PublicKey):
        return "ML-DSA-65"
    return "Ed25519 256" if isinstance(key, ed25519.Ed25519PublicKey) else "unknown"


def _curve(key: ec.EllipticCurvePublicKey) -> str:
    known = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
    return known.get(key.curve.name, key.curve.name)


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _kind(certificate: x509.Certificate) -> str:
    for extension in _read(certificate):
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            own = certificate.subject == certificate.issuer
            return "Root CA Certificate" if own else "Intermediate CA Certificate"
    return "TLS Certificate"


def _subject_names(certificate: x509.Certificate) -> list[str]:
    names = [_common_name(certificate.subject)]
    for extension in _read(certificate):
        if isinstance(extension.value, x509.SubjectAlternativeName):
            alternative = _alternative_names(extension.value)
            kinds = dict.fromkeys(("DNS", "IP", "e-mail", "URI", *(kind for kind, _ in alternative)))
            names.extend(name for wanted in kinds for kind, name in alternative if kind == wanted)
    return list(dict.fromkeys(each for each in names if each)) or ["(empty)"]


def _host_names(certificate: x509.Certificate) -> list[str]:
    """Return the names that a client could reach the subject by, in zcrypto's order: CN, DNS, URI, IP."""
    names = [_common_name(certificate.subject)]
    for extension in _read(certificate):
        if isinstance(extension.value, x509.SubjectAlternativeName):
            alternative = _alternative_names(extension.value)
            names.extend(name for wanted in ("DNS", "URI", "IP") for kind, name in alternative if kind == wanted)
    return list(dict.fromkeys(each for each in names if each))


def signature_name(algorithm: x509.ObjectIdentifier) -> str:
    """Return the name of a signature algorithm, as step prints it; its number when it is not one of ours."""
    return _SIGNATURES.get(algorithm, algorithm.dotted_string)


def name_parts(name: x509.Name) -> dict[str, list[str]]:
    """Return a name's attributes under step's names for them, safe to show."""
    found: dict[str, list[str]] = {}
    for attribute in name:
        key = _ATTRIBUTES.get(attribute.oid, (attribute.oid.dotted_string, ""))[0]
        found.setdefault(key, []).append(_value(attribute))
    return found


def distinguished_name(name: x509.Name) -> str:
    """Return a name in one line, such as ``O=Acme, CN=Acme Root CA``, safe to show."""
    shown = []
    for attribute in name:
        label = _ATTRIBUTES.get(attribute.oid, ("", attribute.oid.dotted_string))[1]
        shown.append(f"{label}={_value(attribute)}")
    return ", ".join(shown)


def _common_name(name: x509.Name) -> str:
    return next((_value(each) for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def _value(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    return printable(value if isinstance(value, str) else value.hex(), limit=200)


def _provisioner(certificate: x509.Certificate) -> StepExtension | None:
    try:
        return read_step_extension(certificate)
    except RequestRejected:
        # It is shown among the unknown ones; an odd extension must not hide the rest of the certificate.
        return None


def _read(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension):
        raise RequestRejected("certificate.malformed", "an extension of the certificate cannot be read") from None


def _ellipsis(text: str) -> str:
    return f"{text[:4]}...{text[-4:]}" if len(text) > _SHORTENED_FROM else text


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
