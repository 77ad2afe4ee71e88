"""Writing a ca.json: what ``online init`` puts down is what ``load_config`` reads, and what step-ca's schema says."""

from __future__ import annotations

from collections.abc import Sequence

from online.config.settings import DEFAULT_COMMON_NAME, TlsSettings
from online.provisioners.protocol import Provisioner
from online.strict_json import Json, JsonObject


def render_config(
    *,
    dns_names: Sequence[str],
    address: str,
    provisioners: Sequence[Provisioner],
    root: str = "certs/root_ca.crt",
    crt: str = "certs/intermediate_ca.crt",
    key: str = "secrets/intermediate_ca_key",
    database: str = "sqlite",
    data_source: str = "db/coldroot.db",
    common_name: str = DEFAULT_COMMON_NAME,
    tls: TlsSettings | None = None,
) -> JsonObject:
    """Return the document of a new ca.json, keys in step-ca's order.

    Args:
        dns_names: host names and IP addresses of the node.
        address: ``HOST:PORT`` or ``:PORT``.
        provisioners: with their encrypted keys.
        root: path of the root certificate; a relative path hangs on the home, so that the home can be moved.
        crt: path of the intermediate.
        key: path or ``pkcs11:`` URI of its key.
        database: the kind of database.
        data_source: path of the SQLite database, or address of a server's.
        common_name: the subject of the node's own certificate.
        tls: the ``tls`` block.
    """
    names: list[Json] = [*dns_names]
    entries: list[Json] = [each.public_json() for each in provisioners]
    return {
        "root": root,
        "federatedRoots": [],
        "crt": crt,
        "key": key,
        "address": address,
        "dnsNames": names,
        "commonName": common_name,
        "logger": {"format": "text"},
        "db": {"type": database, "dataSource": data_source},
        "authority": {"provisioners": entries},
        "tls": (tls or TlsSettings()).to_json(),
    }
