"""The plan that ``ceremony plan new`` hands out to start from."""

from __future__ import annotations

EXAMPLE = """\
# The plan of a root key ceremony. Everybody who takes part reads it, agrees, and compares its digest words.
version = 1
title = "Example root key ceremony"
organization = "Example"

[root]
common_name = "Example Root CA"
key = "ec-p384"        # ec-p256, ec-p384, rsa or ed25519, generated inside the HSM
label = "example-root" # the label of the key in the HSM
years = 10

# One table for each intermediate that this root shall sign. The request must name exactly this subject.
[[intermediate]]
file = "intermediate"  # the certificate is written to intermediate.crt
common_name = "Example Intermediate CA"
years = 5

[shares]
threshold = 3          # so many custodians together can unlock the HSM
custodians = ["Ada", "Blaise", "Carl", "Dorothy", "Emmy"]
"""
