"""A ca.json of step-ca, turned into one that the node reads, with a finding for every part of it. Pure.

The tables of ``online.config`` decide what is known and what is not: what the node learns comes along by itself.

Invariants: every member of the old file has a finding, or says nothing (null, empty, false); the new file holds nothing
that the old one did not say, but for the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from online.claims import CLAIM_NAMES, UNSUPPORTED_CLAIMS, Claims, merge, parse_claims
from online.config import unsupported
from online.config.load import AUTHORITY_KEYS, DOCUMENT_KEYS, READERS
from online.moving.findings import Fate, Finding
from online.provisioners.issuance import UNSUPPORTED_OPTIONS
from online.strict_json import Json, JsonObject, is_empty
from shared.errors import RequestRejected, Unsupported
from shared.names import printable

_INSTEAD = {
    "acme": "ACME clients get nothing here; give their hosts tokens of a JWK provisioner, or certificates by X5C",
    "scep": "SCEP clients get nothing here",
    "sshpop": "it renews SSH certificates, and the node issues X.509 certificates only",
    "aws": "cloud identities are not accepted; use a JWK or X5C provisioner",
    "gcp": "cloud identities are not accepted; use a JWK or X5C provisioner",
    "azure": "cloud identities are not accepted; use a JWK or X5C provisioner",
    "k8ssa": "tokens of Kubernetes service accounts are not accepted; cert-manager works with a JWK provisioner",
    "nebula": "Nebula certificates are not accepted; use a JWK or X5C provisioner",
}
_KEPT = {
    "root": "trusted as before",
    "federatedRoots": "published as before",
    "crt": "goes on signing; no new intermediate is needed",
    "key": "stays where it is, under the password that it has",
    "address": "the same",
    "dnsNames": "the same",
    "commonName": "the same",
    "tls": "the same",
    "logger": "the same",
    "password": "used as before; the file must be private (mode 0600)",
    "kms": "merged into the key's URI",
}


@dataclass(slots=True)
class _Work:
    """The findings so far."""

    findings: list[Finding] = field(default_factory=list)

    def say(self, fate: Fate, what: str, detail: str) -> None:
        self.findings.append(Finding(fate=fate, what=what, detail=detail))


def convert(
    document: JsonObject, *, data_source: str, home: Path, locate: Callable[[str], str]
) -> tuple[JsonObject, tuple[Finding, ...]]:
    """Turn a document of step-ca's into one of ours.

    Args:
        document: the parsed ca.json.
        data_source: the path of the node's database, as the new file shall have it.
        home: what paths of template files hang on.
        locate: returns the path to use for one of the old file's: another one when the home was moved.

    Returns:
        The new document, and the findings.
    """
    work = _Work()
    result: JsonObject = {}
    for key, value in document.items():
        if key == "db" or (is_empty(value) and key not in DOCUMENT_KEYS):
            continue
        if key == "authority" and isinstance(value, dict):
            result[key] = _authority(value, home, work)
        elif key in DOCUMENT_KEYS:
            result[key] = _located(key, value, locate, work)
        else:
            _dropped(key, key, unsupported.DOCUMENT, work)
    result.setdefault("authority", {"provisioners": []})
    result["db"] = {"type": "sqlite", "dataSource": data_source}
    _database(document.get("db"), data_source, work)
    return result, tuple(work.findings)


def _located(key: str, value: Json, locate: Callable[[str], str], work: _Work) -> Json:
    if is_empty(value):
        return value
    if key in {"root", "crt", "key", "federatedRoots"}:
        found: Json = locate(value) if isinstance(value, str) else value
        if isinstance(value, list):
            found = [locate(each) if isinstance(each, str) else each for each in value]
        if found != value:
            work.say(Fate.CHANGES, key, "the home was moved: the path now hangs on it")
            return found
    work.say(Fate.CARRIES, key, _KEPT.get(key, "the same"))
    return value


def _authority(value: JsonObject, home: Path, work: _Work) -> JsonObject:
    result: JsonObject = {}
    above = _limits(value.get("claims"))
    for key, each in value.items():
        path = f"authority.{key}"
        if is_empty(each) and key not in AUTHORITY_KEYS:
            continue
        if key == "provisioners" and isinstance(each, list):
            kept = [_provisioner(entry, f"{path}[{index}]", above, home, work) for index, entry in enumerate(each)]
            result[key] = [entry for entry in kept if entry is not None]
        elif key == "claims" and isinstance(each, dict):
            result[key] = _claims(each, path, work)
            work.say(Fate.CARRIES, path, "the same limits")
        elif key == "enableAdmin":
            work.say(
                Fate.TO_DO,
                path,
                "provisioners of the admin API are in step-ca's database, not in this file: list them with step ca "
                "provisioner list, and add them here with online provisioner add",
            )
        elif key in AUTHORITY_KEYS:
            result[key] = each
            work.say(Fate.CARRIES, path, "the same")
        else:
            _dropped(path, key, unsupported.AUTHORITY, work)
    return result


def _provisioner(entry: Json, path: str, above: Claims, home: Path, work: _Work) -> Json:
    if not isinstance(entry, dict):
        work.say(Fate.STOPS, path, "it is not an object")
        return None
    kind, name = str(entry.get("type")), printable(str(entry.get("name")))
    what = f"{path} {kind} {name}"
    if kind.upper() not in READERS:
        reason = _INSTEAD.get(kind.lower(), "the node knows no provisioners of this type")
        work.say(Fate.DROPS, what, f"{reason}; what it vouched for stays valid until it ends, and is not renewed")
        return None
    kept: JsonObject = dict(entry)
    if isinstance(entry.get("claims"), dict):
        kept["claims"] = _claims(entry["claims"], f"{path}.claims", work)
    if isinstance(entry.get("options"), dict):
        kept["options"] = _options(entry["options"], f"{path}.options", work)
    if kept.pop("clientSecret", None):
        work.say(Fate.CHANGES, f"{path}.clientSecret", "left out: the node needs none, and publishes none")
    try:
        READERS[kind.upper()](kept, path=path, above=above, home=home)
    except Unsupported as error:
        if error.code == "config.unsupported-template":
            kept.pop("options", None)
            work.say(Fate.TO_DO, f"{path}.options", f"{error.message}; without it, leaves have the default profile")
        else:
            work.say(Fate.STOPS, what, f"{error.message}; {error.hint or ''}".rstrip("; "))
    except RequestRejected as error:
        work.say(Fate.STOPS, what, f"{error.message}; {error.hint or ''}".rstrip("; "))
    work.say(Fate.CARRIES, what, "tokens, and the renewal of what it vouched for, go on")
    return kept


def _limits(value: Json) -> Claims:
    """Return the authority's limits; the built-in ones when they are no good, which is said with the whole file."""
    try:
        stated = _claims(value, "", _Work()) if isinstance(value, dict) else {}
        return merge(Claims(), parse_claims(stated, path="authority.claims"))
    except RequestRejected:
        return Claims()


def _claims(value: Json, path: str, work: _Work) -> JsonObject:
    assert isinstance(value, dict)
    kept: JsonObject = {}
    for key, each in value.items():
        if key in CLAIM_NAMES.values():
            kept[key] = each
        elif not is_empty(each):
            _dropped(f"{path}.{key}", key, UNSUPPORTED_CLAIMS, work)
    return kept


def _options(value: Json, path: str, work: _Work) -> JsonObject:
    assert isinstance(value, dict)
    kept: JsonObject = {}
    for key, each in value.items():
        if key == "x509":
            kept[key] = each
        elif not is_empty(each):
            _dropped(f"{path}.{key}", key, UNSUPPORTED_OPTIONS, work)
    return kept


def _dropped(path: str, key: str, table: Mapping[str, str], work: _Work) -> None:
    reason = table.get(key)
    if reason is None:
        work.say(Fate.DROPS, path, "it is no setting of step-ca, which ignores it; the node would refuse it")
        return
    # The tables speak to somebody who edits the file; here that is done already.
    _, _, why = reason.partition(": ")
    work.say(Fate.DROPS, path, why or reason)


def _database(value: Json, data_source: str, work: _Work) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "sqlite":
        work.say(Fate.CHANGES, "db", f"the node gets a database of its own: {data_source}")
        return
    shown = printable(str(kind)) if kind else "no"
    work.say(
        Fate.CHANGES, "db", f"the node keeps its own SQLite database, {data_source}; step-ca's {shown} database stays"
    )
    work.say(
        Fate.TO_DO,
        "db: revocations",
        "they do not come along: what was revoked there could be renewed here until it ends. Wait for the longest life "
        "of a certificate before switching, or revoke it again here, with the certificate and its key",
    )
    work.say(
        Fate.DROPS, "db: history", "the node lists what it issues from now on; older certificates renew all the same"
    )
    work.say(
        Fate.TO_DO,
        "db: used tokens",
        "they do not come along: a token that was used there could be used once more here. Wait, between stopping the "
        "one and starting the other, until the last tokens have expired: five minutes, unless longer ones were minted",
    )
