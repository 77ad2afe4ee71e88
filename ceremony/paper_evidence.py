"""What the papers and the other files show, for whoever verifies.

Checked; the numbers return in the code.

1. sheets and receipts that lie here are the recorded bytes;
2. every receipt is drawn again, from plan and commitments alone, and has the recorded digest: what the custodian signed
   is what anybody can print. A PDF's bytes depend on the program that draws it, so this is done with the very
   versions that the record names; with others it is left out, and said;
3. nothing lies among the papers that no record tells of. Other files are listed: they prove nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ceremony import paper
from ceremony.conduct.dealing import Sheet, sheet_facts
from ceremony.mending import set_aside
from ceremony.plan import Plan
from ceremony.plan_history import PlanHistory
from ceremony.records import Kind, Mode
from ceremony.share_history import ShareHistory
from ceremony.shares import ShareCommitments
from ceremony.transcript import Record
from shared import durable
from shared.errors import RequestRejected

_SHEETS = "sheets"
# What has a check of its own, or is the HSM's: ``tokens`` are a rehearsal's software HSM.
_ELSEWHERE = frozenset({"tokens", "signatures", "crl", "cross", "rollover", "backup"})
_DRAWN_BY = ("coldroot", "reportlab", "qrcode")
_MOST_NAMED = 5


def paper_claims(
    directory: Path, plans: PlanHistory, records: Sequence[Record], mode: Mode
) -> Iterator[tuple[str, str, str]]:
    """Check papers and files; yield code, text and evidence of each claim that holds.

    Raises:
        RequestRejected: ``verify.files.*`` or ``file.*``.
    """
    written = [record for record in records if record.kind == Kind.SHEET_WRITTEN]
    yield from _unchanged(directory, written)
    yield _receipts(plans, records, written, mode)
    yield from _accounted_for(directory, plans, records, written)


def _unchanged(directory: Path, written: Sequence[Record]) -> Iterator[tuple[str, str, str]]:
    # 1.
    checked = []
    for record in written:
        sheet, receipt = _paths(record)
        for name, recorded in ((sheet, "sha256"), (receipt, "receipt_sha256")):
            path = directory / name
            if path.exists() and _digest(durable.read_file(path)) != record.body.get(recorded):
                raise _false("sheet", f"{path} is not the paper that was written")
        if (directory / sheet).exists():
            checked.append(Path(sheet).name)
    if checked:
        yield (
            "sheets",
            f"{len(checked)} share sheets still lie here, unchanged; after a real ceremony none may",
            ", ".join(checked),
        )


def _receipts(
    plans: PlanHistory, records: Sequence[Record], written: Sequence[Record], mode: Mode
) -> tuple[str, str, str]:
    # 2.
    tools = records[0].body.get("tools")
    recorded = {name: tools.get(name) for name in _DRAWN_BY} if isinstance(tools, Mapping) else {}
    here = {name: metadata.version(name) for name in _DRAWN_BY}
    if recorded != here:
        named = ", ".join(f"{name} {version}" for name, version in recorded.items())
        return "receipts", "receipts were not drawn again: that takes the versions that drew them", named
    sets = {dealt.set_id: dealt.commitments for dealt in ShareHistory(records).dealt}
    for record in written:
        if _digest(_receipt(plans.at(record.seq), record, sets, mode)) != record.body.get("receipt_sha256"):
            raise _false("receipt", f"the receipt of record {record.seq} is not the one that plan and shares lead to")
    return (
        "receipts",
        f"{len(written)} receipts were drawn again from plan and commitments, byte for byte as recorded",
        ", ".join(f"{name} {version}" for name, version in here.items()),
    )


def _receipt(plan: Plan, record: Record, sets: Mapping[str, ShareCommitments], mode: Mode) -> bytes:
    body = record.body
    commitments, index, copy = sets.get(str(body.get("set_id"))), body.get("index"), body.get("copy")
    if commitments is None or not isinstance(index, int) or not isinstance(copy, int):
        raise _false("receipt", f"record {record.seq} tells of a sheet of no share")
    sheet = Sheet(number=0, custodian=str(body.get("custodian")), index=index, copy=copy)
    return paper.share_receipt(sheet_facts(plan, sheet, commitments, mode))


def _accounted_for(
    directory: Path, plans: PlanHistory, records: Sequence[Record], written: Sequence[Record]
) -> Iterator[tuple[str, str, str]]:
    # 3.
    known = {"transcript.jsonl", *(day.file for day in plans.days), *set_aside(records)}
    known |= {str(record.body.get("file")) for record in records if record.kind == Kind.CERTIFICATE_ISSUED}
    papers = {name for record in written for name in _paths(record)}
    found = sorted(_files(directory))
    for name in found:
        if name.startswith(f"{_SHEETS}/") and name not in papers:
            raise _false("paper", f"{name} lies among the papers, and no record tells of it")
    strange = [name for name in found if name not in known | papers]
    if strange:
        more = f" and {len(strange) - _MOST_NAMED} more" if len(strange) > _MOST_NAMED else ""
        yield (
            "files.unknown",
            f"{len(strange)} files lie here that no record tells of; they prove nothing",
            ", ".join(ascii(name) for name in strange[:_MOST_NAMED]) + more,
        )


def _files(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if name.parts[0] not in _ELSEWHERE and (path.is_symlink() or not path.is_dir()):
            yield str(name)


def _paths(record: Record) -> tuple[str, str]:
    """Return where a sheet and its receipt were written."""
    sheet = Path(str(record.body.get("file")))
    if sheet.parts[:1] != (_SHEETS,) or ".." in sheet.parts:
        raise _false("sheet", f"record {record.seq} tells of a sheet outside {_SHEETS}")
    return str(sheet), str(sheet.with_name(sheet.name.replace("share-", "receipt-")))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.files.{claim}", f"this ceremony does not verify: {why}")
