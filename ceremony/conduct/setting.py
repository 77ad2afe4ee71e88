"""What an act takes place with: directory, HSM, people, clock; and whether the host is fit for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ceremony import host
from ceremony.compare import Watch
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.hsm import HsmSettings
from ceremony.plan import Plan, not_accepted
from ceremony.records import Mode
from ceremony.script import StepName
from ceremony.terminal import People
from ceremony.transcript import LIMIT_BYTES, Json, verify_chain
from shared import durable
from shared.clock import Clock
from shared.errors import PolicyDenied, RequestRejected

Rng = Callable[[int], bytes]
"""Returns the asked number of random bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What an act takes place with that needs no HSM."""

    directory: CeremonyDirectory
    people: People
    clock: Clock
    mode: Mode
    watch: Watch | None = None
    """The rehearsal that a real act must repeat."""

    @property
    def rehearsal(self) -> bool:
        """Whether it is for practice."""
        return self.mode is Mode.REHEARSAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Scene):
    """What an act takes place with."""

    hsm: HsmSettings
    rng: Rng

    def __post_init__(self) -> None:
        if self.hsm.software_keys and not self.rehearsal:
            raise RequestRejected(
                "hsm.software-keys",
                "hsm.toml allows software keys, which are for rehearsals only",
                hint="a real ceremony's keys are made in its HSM: remove software_keys",
            )


def check_host(setting: Scene, plan: Plan) -> tuple[host.HostFinding, ...]:
    """Harden this process, look at the host, tell every finding; outside a rehearsal a breach ends the act.

    Args:
        setting: where and by whom; a transcript that is there already also tells what time it was.
        plan: what it accepts of the machine is no breach, once the people confirm that it is still so.

    Raises:
        PolicyDenied: ``host.not-fit`` or ``people.refused``.
        RequestRejected: ``transcript.*``.
    """
    people = setting.people
    people.step(StepName.HOST_CHECKED)
    host.harden_process()
    findings = host.check_host(clock=setting.clock, not_before=_last_recorded(setting))
    for finding in findings:
        people.tell(f"{finding.status.value:7} {finding.check.value}: {finding.detail}")
    breaches = not_accepted(findings, plan.accepted)
    if breaches and setting.mode is Mode.REAL:
        named = ", ".join(finding.check.value for finding in breaches)
        raise PolicyDenied(
            "host.not-fit",
            f"this host is not fit for a ceremony: {named}",
            hint="mend it, or practise with `ceremony rehearse`",
        )
    if breaches:
        people.tell("(rehearsal: in a real ceremony each fail or unknown ends the act here)")
    for each in plan.accepted:
        if any((found.check, found.detail) == (each.check, each.finding) for found in findings):
            people.confirm(f"Accepted by the plan: {each}")
    return findings


def host_facts(findings: Sequence[host.HostFinding], plan: Plan) -> Mapping[str, Json]:
    """Return what is recorded of a check of the host: every finding, and what the plan accepts."""
    accepted: list[Json] = [
        {
            "check": each.check.value,
            "finding": each.finding,
            "reason": each.reason,
            "accepted_by": list(each.accepted_by),
        }
        for each in plan.accepted
    ]
    return {"findings": [each.to_json() for each in findings], **({"accepted": accepted} if accepted else {})}


def confirm_time(setting: Scene) -> host.HostFinding:
    """Have people compare the machine's clock with one of theirs; this time goes into what is signed, for good.

    Raises:
        PolicyDenied: ``people.refused``.
    """
    now = setting.clock.now()
    setting.people.confirm(
        f"This machine says {now:%Y-%m-%d %H:%M} UTC, and so does a clock that is not this machine's"
    )
    return host.check_stated_time(now, now.replace(second=0, microsecond=0))


def _last_recorded(setting: Scene) -> datetime:
    path = setting.directory.transcript
    if not path.exists():
        return host.BUILT
    return verify_chain(durable.read_file(path, limit=LIMIT_BYTES))[-1].time
