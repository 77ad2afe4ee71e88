"""A plan with every kind of act in it, for scripts, papers and comparisons."""

from __future__ import annotations

from ceremony.plan import EXAMPLE, Plan, load_plan

DAY = """\
version = 1
title = "Northwind root key ceremony 2026"
organization = "Northwind"
acts = [
  "root", "intermediate:alpha", "intermediate:beta", "crl:first", "cross:old", "rollover:next", "rotate:spring",
  "backup", "restore-test", "destroy",
]
backup = true

[roles]
administrator = "Grace Hopper"
auditor = "Barbara Liskov"
witnesses = ["Alan Turing", "Edsger Dijkstra"]
min_witnesses = 2

[root]
common_name = "Northwind Root CA"
key = "ec-p384"
label = "northwind-root"
years = 20
serial = "0x4a3f0000000000000000000000000001"
not_before = "2026-12-01T10:00:00Z"

[[intermediate]]
file = "alpha"
common_name = "Northwind Issuing CA Alpha"
years = 5
serial = "0x4a3f0000000000000000000000000002"
not_before = "2026-12-01T11:00:00Z"
permitted = ["dns:northwind.example", "ip:10.0.0.0/8"]
excluded = ["dns:guest.northwind.example"]
policies = ["1.3.6.1.4.1.99999.1"]
crl_urls = ["http://pki.northwind.example/root.crl"]
issuer_urls = ["http://pki.northwind.example/root.crt"]

[[intermediate]]
file = "beta"
common_name = "Northwind Issuing CA Beta"
years = 5

[[crl]]
name = "first"
number = 1
this_update = "2026-12-01T12:00:00Z"
next_update = "2027-06-01T12:00:00Z"
count = 4
period_days = 90

[[crl.revoked]]
file = "beta"
reason = "superseded"
date = "2026-12-01T11:30:00Z"

[[cross]]
name = "old"
common_name = "Contoso Root CA"
organization = "Contoso"
fingerprint = "d7a7a0fb5d7e2731d771e9484ebcdef71d5f0c3e0a2948782bc83ee0ea699ef4"
years = 3

[[rollover]]
name = "next"
common_name = "Northwind Root CA 2"
key = "ec-p384"
label = "northwind-root-2"
years = 20

[[rotation]]
name = "spring"
group_threshold = 2
[[rotation.group]]
name = "officers"
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
[[rotation.group]]
name = "recovery"
threshold = 1
custodians = ["Fritz", "Gottfried"]

[shares]
threshold = 3
custodians = ["Ada", "Blaise", "Carl", "Dorothy", "Emmy"]
"""


def day() -> Plan:
    """Return the plan of the whole day."""
    return load_plan(DAY.encode())


def with_acts(*acts: str) -> Plan:
    """Return the plan of a day with these acts alone."""
    begin, end = DAY.index("acts = ["), DAY.index("backup = true")
    listed = ", ".join(f'"{act}"' for act in acts)
    return load_plan(f"{DAY[:begin]}acts = [{listed}]\n{DAY[end:]}".encode())


def example() -> Plan:
    """Return the plan that ``ceremony plan new`` prints."""
    return load_plan(EXAMPLE.encode())
