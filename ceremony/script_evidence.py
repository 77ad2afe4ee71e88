"""The printed script in the record: what it was drawn from, so that anybody can draw it again byte for byte.

A script that was rendered before the root act cannot stand in a transcript that does not exist yet; it is recorded
when it is rendered for a ceremony that began. What it shows as expected (digests that were known beforehand) is in the
record with it; the plan gives everything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from ceremony.document.content import ScriptPaper
from ceremony.document.script_html import script_html
from ceremony.document.script_pdf import script_pdf
from ceremony.plan import Plan
from ceremony.plan_history import PlanHistory
from ceremony.records import Facts, Kind
from ceremony.script import Known, build_script
from ceremony.transcript import Json, Record
from shared.errors import RequestRejected

_DRAWN_BY = ("coldroot", "qrcode", "reportlab")
_DRAW = {"pdf": script_pdf, "html": script_html}


def rendered(plan: Plan, known: Known, only: Sequence[str]) -> tuple[ScriptPaper, Facts]:
    """Return a script ready to be drawn, and what is recorded of it.

    Args:
        plan: validated.
        known: what the paper shows as expected.
        only: the acts of one day, as ``build_script`` takes them; empty for all.

    Raises:
        RequestRejected: ``script.*`` or ``paper.unprintable``.
    """
    paper = _paper(plan, known, only)
    facts: dict[str, Json] = {
        "plan": plan.digest.hex(),
        "only": list(only),
        "tbs": {file: digest.hex() for file, digest in known.tbs.items()},
        "requests": {file: digest.hex() for file, digest in known.requests.items()},
        "drawn_by": _versions(),
    }
    return paper, facts | {f"{form}_sha256": _digest(draw(paper)) for form, draw in _DRAW.items()}


def script_claims(plans: PlanHistory, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Draw every recorded script again; yield each claim that holds with what shows it.

    Raises:
        RequestRejected: ``verify.script``.
    """
    for record in records:
        if record.kind != Kind.SCRIPT_RENDERED:
            continue
        body = record.body
        if body.get("drawn_by") != _versions():
            yield "a script was not drawn again: that takes the versions that drew it", f"record {record.seq}"
            continue
        only = body.get("only")
        known = Known(tbs=_digests(record, "tbs"), requests=_digests(record, "requests"))
        acts = [str(each) for each in only] if isinstance(only, list) else []
        plan = next((day.plan for day in plans.days if day.plan.digest.hex() == body.get("plan")), None)
        if plan is None or rendered(plan, known, acts)[1] != body:
            raise _false(record)
        yield (
            "the script was drawn again from plan and record, PDF and HTML, byte for byte",
            f"record {record.seq}, PDF sha256 {body.get('pdf_sha256')}",
        )


def _paper(plan: Plan, known: Known, only: Sequence[str]) -> ScriptPaper:
    script = build_script(plan, known, only=only)
    return ScriptPaper(script=script, tool=f"coldroot {metadata.version('coldroot')}")


def _versions() -> dict[str, Json]:
    return {name: metadata.version(name) for name in _DRAWN_BY}


def _digests(record: Record, member: str) -> dict[str, bytes]:
    value = record.body.get(member)
    try:
        return {name: bytes.fromhex(str(each)) for name, each in value.items()} if isinstance(value, Mapping) else {}
    except ValueError:
        raise _false(record) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _false(record: Record) -> RequestRejected:
    why = f"the script of record {record.seq} is not the one that plan and record lead to"
    return RequestRejected("verify.script", f"this ceremony does not verify: {why}")
