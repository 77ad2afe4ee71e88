"""The plans that ``ceremony plan new`` hands out to start from."""

from __future__ import annotations

from ceremony.plan.lists import as_revoked
from ceremony.plan.model import FIRST_ROOT, Plan

EXAMPLE = """\
# The plan of a root key ceremony. Everybody who takes part reads it, agrees, and compares its digest words.
version = 1
title = "Example root key ceremony"
organization = "Example"

[root]
common_name = "Example Root CA"
key = "ec-p384"        # ec-p256, ec-p384, rsa, ed25519 or ml-dsa-65, generated inside the HSM
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

_NEXT_DAY = """\
# The plan of another day of a ceremony that began. It has tables for what is new; what earlier days described can be
# listed as an act too. Root, organization and backup never change; who holds the shares says the record.
version = 1
title = "{title}"
previous = "{previous}" # the digest of the plan in force
acts = ["crl:lists-{number}"]

# Who takes part today. Without this table: the same people as on the day before.
# [roles]
# administrator = "Grace"
# witnesses = ["Alan", "Edsger"]
# auditor = "Barbara"

[[crl]]
name = "lists-{number}"
number = {list_number}   # above every number that was ever used
this_update = "2027-12-01T00:00:00Z"
next_update = "2028-03-01T00:00:00Z"
count = 4
period_days = 85

# What is revoked: file = "…" for an intermediate, cross = "…" for a cross-certificate, new_root = "…" for the link
# to a next root. What was revoked once stays on every list.
{revoked}# [[crl.revoked]]
# file = "intermediate"
# reason = "superseded"
# date = "2027-12-01T00:00:00Z"

# A new intermediate; issuer = "…" names the rollover whose root signs it.
# [[intermediate]]
# file = "another"
# common_name = "Another Intermediate CA"
# years = 5
"""


def next_day(plan: Plan) -> str:
    """Return a plan to start from for the day after a plan's.

    Args:
        plan: in force.
    """
    above = max((each.number + each.count for each in plan.crls), default=1)
    revoked = {each.file: each for crl in plan.crls if crl.issuer == FIRST_ROOT for each in crl.revoked}
    return _NEXT_DAY.format(
        title=f"Day {plan.number + 1} of the ceremony",
        previous=plan.digest.hex(),
        number=plan.number + 1,
        list_number=above,
        revoked="".join(map(as_revoked, revoked.values())),
    )
