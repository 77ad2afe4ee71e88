"""The ceremony report: what ETSI EN 319 411-1 (6.5.1) wants to have in writing, drawn from the record alone.

Roles and functions in each phase, the device, the inventory of keys with their attributes, the certificates, the
shares, the exceptions, and places for the signatures: of the role that is responsible for the keys and, for a root, of
a person who is independent of it. A person fills in nothing else; what the record does not hold is not claimed.

Invariant: the same plan and record give the same bytes (see ``ceremony.document.page``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ceremony.document import rows
from ceremony.document.flow import LEFT, RIGHT, Block, Placed, Row, fill
from ceremony.document.page import GREY, Page, glyphs
from ceremony.plan import Plan
from ceremony.plan_history import PlanDay, PlanHistory
from ceremony.records import ENDINGS, OPENINGS, Kind
from ceremony.share_history import ShareHistory
from ceremony.share_shape import SetShape
from ceremony.transcript import Json, Record
from shared.clock import rfc3339
from shared.crossing.words import digest_words

_FOOT = 276.0
_ISSUED = (Kind.CERTIFICATE_ISSUED, Kind.NEXT_ROOT_ISSUED, Kind.CROSS_ISSUED, Kind.LIST_ISSUED)
_GENERATED = (Kind.KEY_GENERATED, Kind.NEXT_KEY_GENERATED)
_GONE = (Kind.KEY_DESTROYED, Kind.ABSENCE_PROVEN, Kind.TOKEN_ERASED)
# Whole certificates and key lists are in the record; on paper their digests say the same.
_LEFT_OUT = frozenset({"der", "tools", "findings", "shares", "attributes"})
# Labels have 22 millimetres.
_LABELS = {
    "manufacturer": "maker",
    "public_key_sha256": "key, SHA-256",
    "second_opinion": "checked by",
    "sha256": "SHA-256",
    "tbs_sha256": "TBS, SHA-256",
}
MEANING = (
    "I was present at the ceremony, or have verified its record with `ceremony verify`. The head digest above is the "
    "one that was copied by hand. To my knowledge this report is a correct and complete account of what was done, and "
    "integrity and confidentiality of the key pairs were ensured; what was otherwise is listed as an exception."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is reported: a ceremony whose record was verified."""

    plans: PlanHistory
    records: Sequence[Record]

    @property
    def plan(self) -> Plan:
        """The first day's plan."""
        return self.plans.first

    @property
    def head(self) -> bytes:
        """SHA-256 of the last record."""
        return self.records[-1].digest

    def of(self, *kinds: Kind) -> list[Record]:
        """Return the records of some kinds, in their order."""
        return [record for record in self.records if record.kind in kinds]


def report_pdf(report: Report) -> bytes:
    """Draw the report of a verified ceremony."""
    page = Page(f"Ceremony report - {report.plan.title}")
    placed = fill(
        [
            *_cover(report), *_roles(report), *_phases(report), *_device(report), *_keys(report), *_issued(report),
            *_shares(report), *_confirmations(report), *_exceptions(report), *_signatures(report),
        ]
    )  # fmt: skip
    for number, each in enumerate(placed, start=1):
        if number > 1:
            page.next()
        _frame(page, report, each, place=f"{number} / {len(placed)}")
        for draw, top in each.draws:
            draw(page, top)
    return page.close()


def _frame(page: Page, report: Report, placed: Placed, *, place: str) -> None:
    page.fitted(LEFT, 13, _shown(report.plan.title), size=9, room=90)
    page.text_before(RIGHT, 13, f"{placed.section}    page {place}", size=9)
    page.line(LEFT, 15.5, RIGHT, 15.5)
    page.line(LEFT, _FOOT, RIGHT, _FOOT)
    words = digest_words(report.head)
    page.text(LEFT, _FOOT + 4.5, f"Head of the record  {report.head.hex()}", size=7, grey=GREY)
    page.text(LEFT, _FOOT + 8.5, f"{' '.join(words[:4])}  …  {' '.join(words[-4:])}", size=8)


def _cover(report: Report) -> Iterator[Block]:
    genesis, last, plan = report.records[0], report.records[-1], report.plan
    rehearsal = (rows.warning("This was a rehearsal: nobody may trust what it made."),)
    yield Block(
        rows=(
            rows.text("Report of a key ceremony", size=11, grey=GREY),
            rows.text(_shown(plan.title), size=20, bold=True),
            rows.space(2),
            rows.text(_shown(plan.organization), size=12),
            *(rehearsal if genesis.body.get("mode") == "rehearsal" else ()),
            _line("Begun", rfc3339(genesis.time)),
            _line("Ended", rfc3339(last.time)),
            _line("Records", str(len(report.records))),
            *(_line(*_plan_line(day, len(report.plans.days))) for day in report.plans.days),
            _line("Program", _listed(genesis.body.get("tools"))),
        ),
        section="ceremony",
    )
    yield Block(
        head=rows.text("Head of the record, as digest words", bold=True),
        rows=(rows.words(report.head, ticks=False), rows.text(report.head.hex(), size=8.5, indent=rows.INDENT)),
    )


def _plan_line(day: PlanDay, count: int) -> tuple[str, str]:
    digest = f"SHA-256 {day.plan.digest.hex()}"
    return ("Plan", digest) if count == 1 else (f"Plan of day {day.plan.number}", f"{day.file}, {digest}")


def _roles(report: Report) -> Iterator[Block]:
    for day in report.plans.days:
        title = "Roles and functions" if day.plan.previous is None else f"Roles and functions on day {day.plan.number}"
        yield _day_roles(day.plan, title)


def _day_roles(plan: Plan, title: str) -> Block:
    roles, shares = plan.roles, plan.shares
    people = [
        ("Administrator", roles.administrator, "conducts every act and types the commands"),
        ("Auditor", roles.auditor, "verifies plan, record and papers; signs this report"),
        *(("Witness", name, "follows the script, copies the head by hand") for name in roles.witnesses),
        *(("Custodian", name, f"holds a share ({shares.describe()}), unlocks the HSM") for name in shares.custodians),
    ]
    return Block(
        head=_heading(title, "as the plan names them; who was present stands on the signed script"),
        rows=tuple(_line(role, f"{name}: {does}") for role, name, does in people if name),
        section="roles",
    )


def _phases(report: Report) -> Iterator[Block]:
    for number, records in enumerate(_acts(report.records), start=1):
        opening, ending = records[0], records[-1]
        name = " ".join(str(opening.body.get(each)) for each in ("act", "name") if opening.body.get(each))
        unlocked = [each for each in records if each.kind == Kind.QUORUM_UNLOCKED]
        resumed = [each for each in records if each.kind == Kind.ACT_RESUMED]
        found = [each for each in records if each.kind == Kind.OUTCOME_FOUND]
        ended = {Kind.ACT_CLOSED.value: "done", Kind.ACT_FAILED.value: "failed", Kind.ACT_ABANDONED.value: "abandoned"}
        yield Block(
            head=_heading(f"Phase {number}: {name}", f"records {opening.seq} to {ending.seq}"),
            rows=(
                _line("Time", f"{rfc3339(opening.time)} to {rfc3339(ending.time)}"),
                _line("Result", " ".join((ended.get(ending.kind, "open"), str(ending.body.get("code", ""))))),
                *(_line("Plan", f"{each.body.get('file')} is in force") for each in records if _amends(each)),
                *(_line("Unlocked by", f"shares {_listed(each.body.get('indexes'))}") for each in unlocked),
                *(_line("Resumed", f"after record {each.body.get('after')}") for each in resumed),
                *(_line("HSM found", f"{each.body.get('found')} ({each.body.get('operation')})") for each in found),
                *(_line("Host", _host(each)) for each in records if each.kind in {Kind.HOST_CHECKED, Kind.ACT_RESUMED}),
            ),
            section="phases",
        )


def _amends(record: Record) -> bool:
    return record.kind == Kind.PLAN_AMENDED


def _device(report: Report) -> Iterator[Block]:
    for record in report.of(Kind.TOKEN_INITIALISED):
        yield Block(head=_heading("Device", f"record {record.seq}"), rows=_facts(record.body), section="device")


def _keys(report: Report) -> Iterator[Block]:
    for record in report.of(*_GENERATED):
        attributes = record.body.get("attributes")
        listed = attributes if isinstance(attributes, Mapping) else {}
        yield Block(
            head=_heading("Key pair, generated in the device", f"record {record.seq}"),
            rows=(*_facts(record.body), _line("attributes", _listed(listed))),
            section="keys",
        )
    for record in report.of(Kind.KEY_WRAPPED, Kind.BACKUP_RESTORED, *_GONE):
        yield Block(
            head=_heading(record.kind.replace("-", " ").capitalize(), f"record {record.seq}"),
            rows=_facts(record.body), section="keys",
        )  # fmt: skip


def _issued(report: Report) -> Iterator[Block]:
    for record in report.of(*_ISSUED):
        kind = record.kind.replace("-", " ").capitalize()
        yield Block(
            head=_heading(f"{kind}: {record.body.get('file')}", f"record {record.seq}"),
            rows=_facts(record.body), section="certificates",
        )  # fmt: skip


def _shares(report: Report) -> Iterator[Block]:
    dealt = {each.set_id: each for each in ShareHistory(report.records).dealt}
    for record in report.of(Kind.SHARES_DEALT):
        body = record.body
        sheets = [each for each in report.of(Kind.SHEET_WRITTEN) if each.body.get("set_id") == body.get("set_id")]
        names = dealt[str(body.get("set_id"))].commitments.shape
        yield Block(
            head=_heading(f"Shares of the act {body.get('act')}", f"record {record.seq}"),
            rows=(
                _line("Set", str(body.get("set_id"))),
                _line("Quorums", f"{body.get('quorums_proven')} proven in memory, every one"),
                *(_line("Sheet", _sheet(names, each)) for each in sheets),
            ),
            section="shares",
        )
    for record in report.of(Kind.BAG_SEALED, Kind.BAG_OPENED):
        yield Block(
            head=_heading(record.kind.replace("-", " ").capitalize(), f"record {record.seq}"),
            rows=_facts(record.body), section="shares",
        )  # fmt: skip


def _sheet(shape: SetShape, written: Record) -> str:
    """Call a share what its sheet and the screen call it, and say who holds it."""
    return f"{shape.name(int(str(written.body.get('index'))))}: {written.body.get('custodian')}"


def _confirmations(report: Report) -> Iterator[Block]:
    for record in report.of(Kind.DIGEST_CONFIRMED):
        yield Block(
            head=_heading(
                f"Digest of the {record.body.get('what')} confirmed", f"record {record.seq}, {rfc3339(record.time)}"
            ),
            rows=_facts({name: record.body.get(name) for name in ("sha256", "how", "read_by", "typed_by")}),
            section="confirmations",
        )  # fmt: skip
    asked = report.of(Kind.STEP_CONFIRMED, Kind.FACT_CONFIRMED)
    if asked:
        yield Block(
            head=_heading("Confirmed at the machine", f"{len(asked)} answers"),
            rows=tuple(
                _line(
                    str(each.body.get("number", "question")),
                    " ".join((rfc3339(each.time), str(each.body.get("step", "")), str(each.body.get("what")))),
                )
                for each in asked
            ),
            section="confirmations",
        )


def _exceptions(report: Report) -> Iterator[Block]:
    found = report.of(Kind.EXCEPTION)
    if not found:
        yield Block(head=_heading("Exceptions", "none recorded"), rows=(rows.space(1),), section="exceptions")
    for record in found:
        yield Block(
            head=_heading(f"Exception {record.body.get('number')}", f"record {record.seq}, {rfc3339(record.time)}"),
            rows=tuple(
                _line(name, str(record.body.get(name))) for name in ("step", "expected", "happened", "decided", "by")
            ),
            section="exceptions",
        )


def _signatures(report: Report) -> Iterator[Block]:
    # Who was there on the last day signs for all of it.
    roles = report.plans.current.roles
    signers = (
        f"Responsible for the keys: {roles.administrator}".rstrip(": "),
        f"Independent of them: {roles.auditor}".rstrip(": "),
        *(f"Witness: {name}" for name in roles.witnesses),
    )
    yield Block(head=rows.text("Signatures", bold=True, size=12), rows=(rows.text(MEANING),), section="signatures")
    for signer in signers:
        yield Block(rows=(rows.text(_shown(signer), bold=True), rows.blanks(("Name", "Signature", "Date and time"))))


def _acts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    begin: int | None = None
    for place, record in enumerate(records):
        if record.kind in OPENINGS:
            begin = place
        elif record.kind in ENDINGS and begin is not None:
            yield records[begin : place + 1]
            begin = None


def _host(record: Record) -> str:
    findings = record.body.get("findings")
    listed = [each for each in findings if isinstance(each, Mapping)] if isinstance(findings, list) else []
    bad = [str(each.get("check")) for each in listed if each.get("status") != "pass"]
    return f"{len(listed)} checks; not passed: {', '.join(bad) or 'none'}"


def _heading(title: str, note: str) -> Row:
    return rows.text(f"{_shown(title)}   ({_shown(note)})", bold=True)


def _line(label: str, content: str) -> Row:
    return rows.labelled(_shown(label), _shown(content) or "-")


def _facts(body: Mapping[str, Json]) -> tuple[Row, ...]:
    shown = {_LABELS.get(name, name.replace("_", " ")): value for name, value in body.items() if name not in _LEFT_OUT}
    return tuple(_line(label, _listed(value)) for label, value in shown.items())


def _listed(value: Json) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_listed(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_listed(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _shown(text: str) -> str:
    """Return a text with a number in the place of each character that the font lacks."""
    known = glyphs()
    return "".join(each if ord(each) in known else f"<U+{ord(each):04X}>" for each in text)
