"""A ceremony of three days by the public commands: years go by, and each day has a plan of its own."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import Result
from cryptography.hazmat.primitives import serialization
from fakes.later_acts import Partner
from fakes.rehearsal import Rehearsal, request_bundle

from shared import keys, names
from shared.clock import rfc3339
from shared.crossing.transfer import stage_bundle
from shared.durable import Staging

FIRST = """\
version = 1
title = "The first day"
organization = "Example"
acts = ["root", "intermediate:alpha", "intermediate:never", "cross:partner"]

[roles]
administrator = "Alan"
auditor = "Grace"
witnesses = ["Edsger"]

[root]
common_name = "Example Root CA"
key = "ec-p256"
label = "root"
years = 10
not_before = "{begin}"

[[intermediate]]
file = "alpha"
common_name = "Alpha CA"
years = 5

[[intermediate]]
file = "never"
common_name = "Never CA"
years = 5

[[cross]]
name = "partner"
common_name = "Partner Root CA"
organization = "Partner"
fingerprint = "{fingerprint}"
years = 3

[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
"""

SECOND = """\
version = 1
title = "The second day"
previous = "{previous}"
acts = ["intermediate:beta", "crl:revoking", "rotate:spring"]

[[intermediate]]
file = "beta"
common_name = "Beta CA"
years = 3
permitted = ["dns:example.com"]

[[crl]]
name = "revoking"
number = 5
this_update = "{begin}"
next_update = "{end}"
count = 2
period_days = 30
[[crl.revoked]]
file = "alpha"
reason = "keyCompromise"
date = "{begin}"
[[crl.revoked]]
cross = "partner"
reason = "affiliationChanged"
date = "{begin}"

[[rotation]]
name = "spring"
threshold = 2
custodians = ["Fritz", "Gottfried", "Heinz"]
"""

THIRD = """\
version = 1
title = "The third day"
previous = "{previous}"
acts = ["rollover:next", "intermediate:gamma", "crl:of-next", "crl:of-old", "rotate:autumn"]

[roles]
administrator = "Donald"
witnesses = ["Barbara", "Edsger"]

[[rollover]]
name = "next"
common_name = "Example Root CA 2"
key = "ec-p384"
label = "root-2"
years = 10
not_before = "{begin}"

[[intermediate]]
file = "gamma"
issuer = "next"
common_name = "Gamma CA"
years = 3

[[crl]]
name = "of-next"
issuer = "next"
number = 10
this_update = "{begin}"
next_update = "{end}"
[[crl.revoked]]
file = "gamma"
reason = "superseded"
date = "{begin}"

[[crl]]
name = "of-old"
number = 11
this_update = "{begin}"
next_update = "{end}"
[[crl.revoked]]
file = "alpha"
reason = "keyCompromise"
date = "{first_begin}"
[[crl.revoked]]
cross = "partner"
reason = "affiliationChanged"
date = "{first_begin}"
[[crl.revoked]]
new_root = "next"
reason = "superseded"
date = "{begin}"

[[rotation]]
name = "autumn"
threshold = 2
custodians = ["Ada", "Blaise"]
"""


@dataclass(frozen=True)
class Years(Rehearsal):
    """A rehearsal that goes on for years."""

    @property
    def live_words(self) -> Path:
        """The words of whoever holds the shares now."""
        return max(self.base.glob("words-*.txt"), default=self.words)

    def begin(self, partner: Partner) -> None:
        """Conduct the first day. The root leaves room for a next root of another name, as a cross-certificate needs."""
        begin = rfc3339(datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))
        self.prepare(FIRST.format(fingerprint=keys.fingerprint(partner.root), begin=begin))
        (self.base / "partner.crt").write_bytes(partner.root.public_bytes(serialization.Encoding.DER))
        _done(self.root())
        self.sign("Alpha CA", "alpha")
        self.act("cross", "partner", self.base / "partner.crt")

    def second(self) -> Path:
        """Write the plan of the second day."""
        return self.write_plan(2, SECOND, begin=datetime.now(UTC) - timedelta(minutes=30))

    def third(self) -> Path:
        """Write the plan of the third day."""
        return self.write_plan(3, THIRD, begin=datetime.now(UTC) - timedelta(minutes=20))

    def write_plan(self, number: int, text: str, *, begin: datetime) -> Path:
        """Write the plan of a day, behind the one in force."""
        before = self.base / ("plan.toml" if number == 2 else f"plan-{number - 1}.toml")
        path = self.base / f"plan-{number}.toml"
        begin = begin.replace(microsecond=0)
        path.write_text(
            text.format(
                previous=hashlib.sha256(before.read_bytes()).hexdigest(),
                begin=rfc3339(begin),
                first_begin=rfc3339(begin - timedelta(minutes=5)),
                end=rfc3339(begin + timedelta(days=80)),
            )
        )
        return path

    def amend(self, plan: Path, *more: str) -> Result:
        """Rehearse the amendment."""
        return self.run("rehearse", "amend", "--dir", self.directory, plan, *more)

    def try_act(self, command: str, *arguments: str | Path) -> Result:
        """Rehearse a later act by whoever holds the shares."""
        return self.run(
            "rehearse", command, "--dir", self.directory, "--hsm", self.base / "hsm.toml", "--words-file",
            self.live_words, *arguments,
        )  # fmt: skip

    def act(self, command: str, *arguments: str | Path) -> Result:
        """The same, and insist that it is done."""
        return _done(self.try_act(command, *arguments))

    def rotate(self, name: str) -> None:
        """Rehearse a rotation; its words lie in a file of their own."""
        count = len(list(self.base.glob("words-*.txt")))
        self.act("rotate", "--new-words-file", self.base / f"words-{count + 1}.txt", name)

    def sign(self, common: str, stem: str) -> None:
        """Rehearse an intermediate."""
        encoded = request_bundle(
            keys.generate(keys.KeyKind.EC_P256), subject=names.subject(common=common, organization="Example")
        )
        with Staging() as staging:
            request, *_ = stage_bundle(staging, self.crossing, f"request-{stem}", encoded)
        self.act("intermediate", "--out", self.base / f"reply-{stem}", request)

    def verify(self) -> Result:
        """Verify, and insist that it holds."""
        return _done(self.run("verify", self.directory))

    def copy(self, base: Path) -> Years:
        """Copy everything to another place."""
        shutil.copytree(self.base, base)
        return Years(base)


def _done(result: Result) -> Result:
    assert result.exit_code == 0, result.stderr
    return result
