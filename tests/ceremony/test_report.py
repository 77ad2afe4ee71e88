"""The ceremony report: complete, from the record alone, the same bytes each time, and only of what verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.document.page import Page
from ceremony.document.report_pdf import MEANING, Report, report_pdf
from ceremony.plan import load_plan
from ceremony.plan_history import PlanHistory
from ceremony.transcript import verify_chain

pytestmark = needs_softhsm


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """One finished rehearsal, with an exception that has a character no font here has."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        rehearsal = full_rehearsal(tmp_path_factory.mktemp("report"))
        done = rehearsal.run(
            "exception", "--dir", rehearsal.directory, "--step", "2.3", "--expected", "serial 17", "--happened",
            "\u4e2d", "--decided", "go on", "--by", "Grace",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        return rehearsal


def test_the_same_record_gives_the_same_bytes(finished: Rehearsal, tmp_path: Path) -> None:
    """Two auditors who print the report must sign the same paper."""
    for name in ("one.pdf", "two.pdf"):
        done = finished.run("report", "--dir", finished.directory, "--pdf", tmp_path / name)
        assert done.exit_code == 0, done.stderr
    first = (tmp_path / "one.pdf").read_bytes()
    assert first == (tmp_path / "two.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    again = finished.run("report", "--dir", finished.directory, "--pdf", tmp_path / "one.pdf")
    assert (again.exit_code, "already exists" in again.stderr) == (1, True)


def test_everything_is_in_it(finished: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard asks for must be there: roles, phases, device, keys, certificates, exceptions, signatures."""
    drawn: list[str] = []
    text = Page.text

    def spy(page: Page, left: float, top: float, content: str, **how: float) -> float:
        drawn.append(content)
        return text(page, left, top, content, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Page, "text", spy)
    records = verify_chain((finished.directory / "transcript.jsonl").read_bytes())
    plan = load_plan((finished.directory / "plan.toml").read_bytes())
    report_pdf(Report(plans=PlanHistory.of(plan), records=records))
    paper = " ".join(drawn)
    for wanted in (
        "This was a rehearsal", "Roles and functions", "Phase 1: root", "Phase 2: intermediate", "Device", "SoftHSM",
        "Key pair, generated in the device", "SENSITIVE yes", "root.crt", "intermediate.crt", "Exception 1",
        "share 1: ",
        "<U+4E2D>", "Responsible for the keys", "Independent of them", MEANING[:40], records[-1].digest.hex(),
    ):  # fmt: skip
        assert wanted in paper, wanted


def test_nothing_is_reported_of_what_does_not_verify(finished: Rehearsal, tmp_path: Path) -> None:
    """A signed report of a record that was altered would be worse than none."""
    copy = finished.copy(tmp_path / "copy")
    path = copy.directory / "root.crt"
    path.write_bytes(path.read_bytes() + b"\n")
    done = copy.run("report", "--dir", copy.directory, "--pdf", tmp_path / "report.pdf")
    assert done.exit_code == 1
    assert not (tmp_path / "report.pdf").exists()
