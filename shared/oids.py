"""Object identifiers that cryptography does not name, each with where it is defined."""

from __future__ import annotations

from cryptography.x509 import ObjectIdentifier

# The provisioner extension that step-ca puts last into each leaf: SEQUENCE { type INTEGER, name OCTET STRING,
# credentialID OCTET STRING, keyValuePairs SEQUENCE OF string OPTIONAL }. Arc of smallstep's private enterprise.
STEP_PROVISIONER = ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
