"""The settings that step-ca knows and the node does not, each with what an operator does about it.

They are accepted while they say nothing (null, empty, false), because ``step ca init`` writes some of them so.
"""

from __future__ import annotations

_NO_SSH = "remove it: the node issues X.509 certificates only"
_NO_CAS = "remove it: the node signs with its own intermediate key, given by crt and key"
_NO_ADMIN = "remove it: provisioners are managed in this file"

DOCUMENT = {
    "monitoring": "remove it: the node reports to no monitoring service",
    "ssh": _NO_SSH,
    "templates": _NO_SSH,
}

AUTHORITY = {
    "authorityId": _NO_ADMIN,
    "enableAdmin": "set it to false: provisioners are managed in this file",
    "disableGetSSHHosts": _NO_SSH,
    "certificateAuthority": _NO_CAS,
    "certificateAuthorityFingerprint": _NO_CAS,
    "certificateIssuer": _NO_CAS,
    "credentialsFile": _NO_CAS,
    "project": _NO_CAS,
    "location": _NO_CAS,
    "caPool": _NO_CAS,
    "caPoolTier": _NO_CAS,
    "gcsBucket": _NO_CAS,
    "config": _NO_CAS,
}

DATABASE = {
    "badgerFileLoadingMode": "remove it: it belongs to step-ca's badger database",
    "database": "remove it: SQLite is one file, named by dataSource",
    "valueDir": "remove it: it belongs to step-ca's badger database",
}
NETWORKED_DATABASE = {
    "badgerFileLoadingMode": "remove it: it belongs to step-ca's badger database",
    "valueDir": "remove it: it belongs to step-ca's badger database",
}
DATABASE_TYPES = frozenset({"badger", "badgerv1", "badgerv2", "bbolt"})
FROM_STEP = "online import-step DIR --write makes the node's file from step-ca's, where DIR is step-ca's home"
NEW_DATABASE = 'the node keeps its own: write "db": {"type": "sqlite", "dataSource": "db/coldroot.db"}'

PROVISIONER_TYPES = frozenset({"gcp", "aws", "azure", "acme", "k8ssa", "sshpop", "scep", "nebula", "wire"})

KEY_SCHEMES = frozenset(
    {"awskms", "azurekms", "cloudkms", "capi", "mackms", "softkms", "sshagentkms", "tpmkms", "yubikey"}
)
