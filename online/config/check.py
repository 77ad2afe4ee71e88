"""Whether a node could start with a configuration: what it names is there, fits together, and is kept as it should be.

That the file itself is good, ``load_config`` said before. No password or PIN is asked for, so the key is looked at from
outside only; ``online serve`` opens it. Nothing is written and no network is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from cryptography import x509

from online.config.settings import Config
from online.hierarchy import read_chain, read_former
from online.path_validation import validate_path
from online.provisioners.protocol import ProvisionerType
from shared import durable
from shared.clock import rfc3339
from shared.durations import format_duration
from shared.errors import ColdrootError, RequestRejected
from shared.keys import certificate_key, describe
from shared.keystore.uri import Pkcs11Uri, parse_key_uri
from shared.names import format_name
from shared.pem import load_certificates

_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_LARGEST_KEY_FILE = 64 << 10
_FORMER = "coldroot.formerIntermediates"


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    """The setting, by its dotted path."""
    outcome: Outcome
    detail: str


def check_config(config: Config, *, now: datetime) -> tuple[Check, ...]:
    """Look at everything that a configuration names.

    Args:
        config: read and checked.
        now: aware UTC.
    """
    return (
        *_certificates("root", config.roots, now),
        *_certificates("federatedRoots", config.federated_roots, now),
        _guarded("crt", lambda: _intermediate(config, now)),
        _guarded("key", lambda: _key(config)),
        _guarded("db", lambda: _database(config)),
        *_provisioners(config),
        *_former(config, now),
        *_crl(config),
    )


def _guarded(what: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except ColdrootError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Check(what=what, outcome=Outcome.FAULT, detail=f"{error.message}{hint}")


def _certificates(what: str, paths: Sequence[Path], now: datetime) -> Iterator[Check]:
    for path in paths:
        yield _guarded(what, partial(_roots, what, path, now))


def _roots(what: str, path: Path, now: datetime) -> Check:
    found = load_certificates(durable.read_file(path), what=f"file {path}")
    for each in found:
        certificate_key(each)
        if now > each.not_valid_after_utc:
            return Check(what=what, outcome=Outcome.FAULT, detail=f"{format_name(each.subject)} in {path} has expired")
    names = ", ".join(f"{format_name(each.subject)} until {rfc3339(each.not_valid_after_utc)}" for each in found)
    return Check(what=what, outcome=Outcome.OK, detail=f"{path}: {names}")


def _intermediate(config: Config, now: datetime) -> Check:
    chain = read_chain(config.crt)
    roots = [each for path in config.roots for each in load_certificates(durable.read_file(path), what=f"file {path}")]
    validate_path(chain[0], chain[1:], roots, now=now)
    if not any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in chain[0].extensions):
        raise RequestRejected("config.chain", f"{config.crt} does not begin with the certificate of a CA")
    end = chain[0].not_valid_after_utc
    said = f"{format_name(chain[0].subject)}, {describe(certificate_key(chain[0]))}, until {rfc3339(end)}"
    longest = max((each.claims.max_tls for each in config.provisioners), default=config.claims.max_tls)
    if end - now < longest:
        return Check(
            what="crt",
            outcome=Outcome.WARNING,
            detail=f"{said}: sooner than the longest certificate it may issue ({format_duration(longest)}) would end",
        )
    return Check(what="crt", outcome=Outcome.OK, detail=said)


def _former(config: Config, now: datetime) -> Iterator[Check]:
    for path in config.former_intermediates:
        yield _guarded(_FORMER, partial(_former_intermediate, config, path, now))


def _former_intermediate(config: Config, path: Path, now: datetime) -> Check:
    (former,) = read_former((path,))
    end = former.not_valid_after_utc
    said = f"{path}: {format_name(former.subject)}"
    if now > end:
        return Check(
            what=_FORMER,
            outcome=Outcome.WARNING,
            detail=f"{said} ended at {rfc3339(end)} and is not trusted: remove it",
        )
    roots = [each for root in config.roots for each in load_certificates(durable.read_file(root), what=f"file {root}")]
    validate_path(former, read_chain(config.crt)[1:], roots, now=now)
    return Check(what=_FORMER, outcome=Outcome.OK, detail=f"{said} until {rfc3339(end)}; what it issued renews")


def _key(config: Config) -> Check:
    place = parse_key_uri(config.key, base=config.home)
    if isinstance(place, Pkcs11Uri):
        module = place.module()
        if not module.exists():
            raise RequestRejected("config.module", f"the PKCS#11 module {module} does not exist")
        return Check(what="key", outcome=Outcome.OK, detail=f"in an HSM, by {module}; not opened")
    content = durable.read_private(place.path, limit=_LARGEST_KEY_FILE)
    if not any(each in content for each in _ENCRYPTED):
        return Check(what="key", outcome=Outcome.WARNING, detail=f"{place.path} is not encrypted: online change-pass")
    return Check(what="key", outcome=Outcome.OK, detail=f"{place.path}: encrypted, for its owner only; not opened")


def _database(config: Config) -> Check:
    if config.db.where:
        # Asked over the network, and with a password: for online db check.
        return Check(what="db", outcome=Outcome.OK, detail=f"{config.db.type} at {config.db.where}; not opened")
    path = Path(config.db.data_source)
    if not path.is_file():
        raise RequestRejected("config.database", f"{path} does not exist", hint="online init or import-step make it")
    return Check(what="db", outcome=Outcome.OK, detail=str(path))


def _provisioners(config: Config) -> Iterator[Check]:
    if config.authority_version is not None:
        detail = f"version {config.authority_version}, of the database"
        yield Check(what="authority", outcome=Outcome.OK, detail=detail)
    if not config.provisioners:
        yield Check(
            what="authority.provisioners",
            outcome=Outcome.WARNING,
            detail="there is none: nobody can get a first certificate",
        )
    for index, each in enumerate(config.provisioners):
        limits = f"{each.type.wire_name} {each.name}, up to {format_duration(each.claims.max_tls)}"
        elsewhere = each.type is ProvisionerType.JWK and each.encrypted_key is None
        yield Check(
            what=f"authority.provisioners[{index}]",
            outcome=Outcome.OK,
            detail=f"{limits}; its key is kept elsewhere" if elsewhere else limits,
        )


def _crl(config: Config) -> Iterator[Check]:
    crl = config.crl
    if crl is None:
        return
    said = f"{crl.url}, a new list every {format_duration(crl.renew_period)}"
    if not crl.leaf_url:
        yield Check(
            what="crl",
            outcome=Outcome.WARNING,
            detail=f"{said}: no certificate names a list behind TLS; set insecureAddress, or an http:// crl.idpURL",
        )
        return
    yield Check(what="crl", outcome=Outcome.OK, detail=said)
