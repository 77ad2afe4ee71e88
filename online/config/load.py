"""Reading a ca.json: step-ca's schema, strictly.

Invariants: a key that is unknown, occurs twice, is of the wrong type or is not supported is refused with its
dotted path; nothing is ignored in silence; a refused file has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from online.claims import Claims, merge, parse_claims
from online.config import unsupported
from online.config.address import parse_address
from online.config.crl import parse_crl
from online.config.database import parse_database
from online.config.kms import merge_key, read_kms
from online.config.own import (
    parse_archive_after,
    parse_authority_source,
    parse_former_intermediates,
    parse_least_status,
    parse_rate_limit,
    parse_renewal,
    parse_tls_engine,
)
from online.config.settings import (
    DEFAULT_BACKDATE,
    DEFAULT_COMMON_NAME,
    DEFAULT_DNS_NAMES,
    DEFAULT_SUITES,
    DEFAULT_TRACE_HEADER,
    KNOWN_SUITES,
    AuthoritySource,
    Config,
    LoggerSettings,
    TlsSettings,
    TlsVersion,
)
from online.policy import parse_policy
from online.provisioners.jwk import parse_jwk_provisioner
from online.provisioners.oidc import parse_oidc_provisioner
from online.provisioners.protocol import Provisioner, ProvisionerType
from online.provisioners.registry import Registry
from online.provisioners.x5c import parse_x5c_provisioner
from online.strict_json import Fields, Json, JsonObject, is_empty, parse_json, wrong_type
from online.templates import parse_subject_defaults
from shared import durable
from shared.errors import RequestRejected, Unsupported
from shared.names import common_name, parse_sans, printable

DOCUMENT_KEYS = frozenset(
    {
        "root", "federatedRoots", "crt", "key", "address", "dnsNames", "commonName",
        "db", "tls", "logger", "metricsAddress", "authority", "password", "kms", "crl",
        "insecureAddress", "coldroot",
    }
)  # fmt: skip
AUTHORITY_KEYS = frozenset(
    {"provisioners", "claims", "backdate", "policy", "template", "type", "deploymentType", "disableIssuedAtCheck"}
)
SHARED_KEYS = frozenset({"provisioners", "claims", "backdate", "policy", "template"})
"""What the database has of the block ``authority`` where ``coldroot.authority`` says so."""
_LONGEST_PASSWORD = 4096


class _Reader(Protocol):
    def __call__(self, value: Json, *, path: str, above: Claims, home: Path) -> Provisioner: ...


READERS: Mapping[str, _Reader] = {
    ProvisionerType.JWK.wire_name: parse_jwk_provisioner,
    ProvisionerType.X5C.wire_name: parse_x5c_provisioner,
    ProvisionerType.OIDC.wire_name: parse_oidc_provisioner,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAuthority:
    """What the database says of the block ``authority``."""

    version: int
    block: JsonObject
    """Has none but ``SHARED_KEYS``."""


def load_config(path: Path) -> Config:
    """Read and check a ca.json: the file alone (``online.shared_authority`` asks the database, too).

    Relative paths in it hang on the home, which is the parent of the directory ``config/`` that holds the file
    (or the file's own directory, when that has another name).

    Args:
        path: the file.

    Raises:
        RequestRejected: ``file.*`` or ``config.*``; ``file.exposed`` when it holds a password and others may
            read it.
        Unsupported: ``config.unsupported-*``.
    """
    data = durable.read_file(path, if_missing="make a node with online init, or name the home of one with --home")
    config = parse_config(data, path=path)
    if config.password is not None:
        durable.read_private(path)
    return config


def parse_config(data: bytes, *, path: Path, shared: SharedAuthority | None = None) -> Config:
    """Check the content of a ca.json.

    Args:
        data: the content.
        path: where it stands, for resolving relative paths; not read. Only files of templates are.
        shared: what the database has of it, where the content says that it does.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-*``.
    """
    home = path.parent.parent if path.parent.name == "config" else path.parent
    document = parse_json(data, what="configuration", room="config")
    top = Fields(document, path="", known=DOCUMENT_KEYS, unsupported=unsupported.DOCUMENT)
    source = parse_authority_source(top)
    authority = Fields(
        _authority(top, source, shared),
        path="authority",
        known=AUTHORITY_KEYS,
        unsupported=unsupported.AUTHORITY,
    )
    _check_authority(authority)
    stated = parse_claims(authority.raw("claims"), path="authority.claims")
    try:
        claims = merge(Claims(), stated)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"authority.claims: {error.message}", hint=error.hint) from None
    backdate = authority.duration("backdate")
    if backdate is not None and backdate < timedelta(0):
        raise RequestRejected("config.malformed", "authority.backdate is negative")
    kms = read_kms(top)
    password = kms.pin or top.text("password", default="") or None
    if password is not None and len(password) > _LONGEST_PASSWORD:
        raise RequestRejected("config.malformed", f"password is longer than {_LONGEST_PASSWORD} characters")
    address = parse_address(top, "address")
    dns_names = _dns_names(top)
    crl, insecure_address = parse_crl(top, address=address, host=dns_names[0])
    return Config(
        path=path,
        home=home,
        roots=_roots(top, home),
        federated_roots=tuple(home / each for each in top.texts("federatedRoots")),
        crt=home / top.text("crt"),
        key=merge_key(_key(top, home), kms, home=home),
        address=address,
        insecure_address=insecure_address,
        metrics_address=_metrics_address(top),
        dns_names=dns_names,
        common_name=_common_name(top),
        db=parse_database(top, home),
        tls=_tls(top),
        logger=_logger(top),
        stated_claims=stated,
        claims=claims,
        backdate=DEFAULT_BACKDATE if backdate is None else backdate,
        policy=parse_policy(authority.raw("policy"), path="authority.policy"),
        subject_defaults=parse_subject_defaults(authority.raw("template"), path="authority.template"),
        provisioners=_provisioners(authority, claims, home),
        crl=crl,
        rate_limit=parse_rate_limit(top),
        renewal=parse_renewal(top),
        archive_after=parse_archive_after(top),
        former_intermediates=tuple(home / each for each in parse_former_intermediates(top)),
        authority=source,
        authority_version=None if shared is None else shared.version,
        password=password,
    )


def _authority(top: Fields, source: AuthoritySource, shared: SharedAuthority | None) -> Json:
    block = top.raw("authority") if "authority" in top else {}
    if source is AuthoritySource.FILE or not isinstance(block, dict):
        return block
    for key in sorted(SHARED_KEYS & block.keys()):
        if not is_empty(block[key]):
            raise RequestRejected(
                "config.shared-authority",
                f"authority.{key} stands in the file, but by coldroot.authority the database has it",
                hint="remove it; or remove coldroot.authority, and take it to the database with online authority share",
            )
    return {**block, **(shared.block if shared is not None else {})}


def _check_authority(authority: Fields) -> None:
    kind = authority.text("type", default="softcas")
    if kind.lower() != "softcas":
        raise Unsupported(
            "config.unsupported-key",
            f"authority.type {printable(kind)!r} is not supported",
            hint="remove it: the node signs with its own intermediate key, given by crt and key",
        )
    deployment = authority.text("deploymentType", default="standalone")
    if deployment != "standalone":
        raise Unsupported(
            "config.unsupported-key",
            f"authority.deploymentType {printable(deployment)!r} is not supported",
            hint='set it to "standalone": the node depends on no hosted service',
        )
    # Read for its type only: a token's single use is recorded durably, so the node never needs the check that
    # this setting turns off, which in step-ca kills all outstanding tokens at each restart.
    authority.flag("disableIssuedAtCheck")


def _roots(top: Fields, home: Path) -> tuple[Path, ...]:
    value = top.raw("root")
    roots = (value,) if isinstance(value, str) and value else () if value == "" else top.texts("root")
    if not roots:
        raise RequestRejected("config.missing-key", "root is missing", hint="name the file of the root certificate")
    return tuple(home / each for each in roots)


def _key(top: Fields, home: Path) -> str:
    key = top.text("key")
    scheme, colon, rest = key.partition(":")
    if colon and scheme.lower() == "pkcs11":
        return key
    if colon and scheme.lower() in unsupported.KEY_SCHEMES:
        raise Unsupported(
            "config.unsupported-key",
            f"key: keys of the scheme {scheme.lower()} are not supported",
            hint="use a file, or an HSM by a pkcs11: URI",
        )
    return str(home / (rest if colon and scheme == "file" else key))


def _metrics_address(top: Fields) -> tuple[str, int] | None:
    if not top.text("metricsAddress", default=""):
        return None
    host, port = parse_address(top, "metricsAddress")
    # Where step-ca listens on all interfaces: the numbers go out in plain HTTP, to whoever asks.
    return host or "127.0.0.1", port


def _dns_names(top: Fields) -> tuple[str, ...]:
    given = top.texts("dnsNames") or DEFAULT_DNS_NAMES
    found: list[str] = []
    for index, each in enumerate(given):
        try:
            names = parse_sans([each])
        except RequestRejected as error:
            raise RequestRejected("config.malformed", f"dnsNames[{index}]: {error.message}") from None
        if names.emails or names.uris or "*" in each:
            raise RequestRejected(
                "config.malformed", f"dnsNames[{index}] is not a host name or an IP address", hint="leave out the port"
            )
        found.extend(names.texts())
    return tuple(dict.fromkeys(found))


def _common_name(top: Fields) -> str:
    try:
        return common_name(top.text("commonName", default=DEFAULT_COMMON_NAME))
    except RequestRejected as error:
        if error.code.startswith("config."):
            raise
        raise RequestRejected("config.malformed", f"commonName: {error.message}") from None


def _tls(top: Fields) -> TlsSettings:
    engine = parse_tls_engine(top)
    if "tls" not in top:
        return TlsSettings(engine=engine)
    block = Fields(
        top.raw("tls"),
        path="tls",
        known={"cipherSuites", "minVersion", "maxVersion"},
        unsupported={"renegotiation": "set it to false: the node never renegotiates (RFC 9325 §3.5)"},
    )
    suites = block.texts("cipherSuites") or DEFAULT_SUITES
    for index, each in enumerate(suites):
        if each not in KNOWN_SUITES:
            raise RequestRejected(
                "config.malformed",
                f"tls.cipherSuites[{index}] is not an accepted suite",
                hint=f"accepted are {', '.join(KNOWN_SUITES)}",
            )
    least = _tls_version(block, "minVersion", TlsVersion.TLS_1_2)
    most = _tls_version(block, "maxVersion", TlsVersion.TLS_1_3)
    if least.value > most.value:
        raise RequestRejected("config.malformed", "tls.minVersion is above tls.maxVersion")
    return TlsSettings(min_version=least, max_version=most, cipher_suites=tuple(suites), engine=engine)


def _tls_version(block: Fields, key: str, default: TlsVersion) -> TlsVersion:
    number = block.number(key)
    # step-ca takes 0 for "not set".
    if number is None or number == 0:
        return default
    try:
        return TlsVersion(number)
    except ValueError:
        raise RequestRejected("config.malformed", f"{block.at(key)} is neither 1.2 nor 1.3") from None


def _logger(top: Fields) -> LoggerSettings:
    value = top.raw("logger") if "logger" in top else {}
    block = Fields(value, path="logger", known={"format", "traceHeader"})
    form = block.text("format", default="text")
    if form not in {"text", "json"}:
        raise Unsupported(
            "config.unsupported-key",
            f"logger.format {printable(form)!r} is not supported",
            hint="set it to text or json",
        )
    header = block.text("traceHeader", default=DEFAULT_TRACE_HEADER)
    if not header.isascii() or not header.replace("-", "a").isalnum():
        raise RequestRejected("config.malformed", "logger.traceHeader is not the name of an HTTP header")
    return LoggerSettings(format=form, trace_header=header, least_status=parse_least_status(top))


def _provisioners(authority: Fields, claims: Claims, home: Path) -> tuple[Provisioner, ...]:
    found = tuple(_provisioner(value, path, claims, home) for path, value in authority.items("provisioners"))
    try:
        Registry(found)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"authority.provisioners: {error.message}") from None
    return found


def _provisioner(value: Json, path: str, claims: Claims, home: Path) -> Provisioner:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    kind = value.get("type")
    reader = READERS.get(kind.upper()) if isinstance(kind, str) else None
    if reader is not None:
        return reader(value, path=path, above=claims, home=home)
    if isinstance(kind, str) and kind.lower() in unsupported.PROVISIONER_TYPES:
        raise Unsupported(
            "config.unsupported-provisioner",
            f"{path}.type: provisioners of the type {kind} are not supported",
            hint=f"remove the provisioner, or replace it by one of the types {', '.join(READERS)}; "
            f"{unsupported.FROM_STEP}",
        )
    if kind is None:
        raise RequestRejected("config.missing-key", f"{path}.type is missing")
    if not isinstance(kind, str):
        raise wrong_type(f"{path}.type", "text", kind)
    raise RequestRejected(
        "config.malformed", f"{path}.type is not a known type of provisioner", hint=f"write {' or '.join(READERS)}"
    )
