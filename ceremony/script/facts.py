"""What is there or not in the course of a day: the edges of the step graph."""

from __future__ import annotations

from ceremony.plan import FIRST_ROOT
from ceremony.script.model import Fact

PEOPLE: Fact = "people who were identified"
MATERIALS: Fact = "materials that were counted"
MACHINE: Fact = "a machine that was started from its medium"
PLAN: Fact = "a plan that everybody compared"
NEXT_PLAN: Fact = "the plan of this day, which everybody compared"
HOST: Fact = "a host that was checked"
TRANSCRIPT: Fact = "an open transcript"
BLANK_TOKEN: Fact = "a blank token"  # noqa: S105 (an HSM's token)
TOKEN: Fact = "an initialised token"  # noqa: S105 (an HSM's token)
SECRET: Fact = "the ceremony secret in memory"  # noqa: S105 (a name)
SPLIT: Fact = "shares of the secret"
SHEETS: Fact = "written sheets"
HELD: Fact = "sheets in their custodians' hands"
NEW_SHEETS: Fact = "new sheets that were read back"
OLD_SHEETS: Fact = "old sheets that unlock nothing any more"
ROOT_KEY: Fact = "the root key in the HSM"
ROOT: Fact = "the root's certificate"
UNLOCKED: Fact = "an unlocked HSM"
OTHER_ROOT: Fact = "the other root's certificate, compared"
NEXT_KEY: Fact = "the next root's key in the HSM"
WRAPPED: Fact = "a wrapped backup of the root key"
BACKUP: Fact = "a sealed backup of the root key"
CLOSED: Fact = "a closed transcript"


def request(file: str) -> Fact:
    """Return the fact that an intermediate's request was read and compared."""
    return f"the request of {file}, compared"


def certificate(file: str) -> Fact:
    """Return the fact that a certificate exists: an intermediate's, a cross-certificate, a link of a rollover."""
    return f"the certificate of {file}"


def issuer(name: str) -> frozenset[Fact]:
    """Return the facts that a root can sign: the first one, or the one of a rollover."""
    return frozenset({ROOT, ROOT_KEY} if name == FIRST_ROOT else {f"the next root {name}"})
