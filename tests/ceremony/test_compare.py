"""Rehearsal and real run: what may differ passes, everything else is found, afterwards and as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.clock import NOON, FakeClock
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.cli import cli
from ceremony.compare import Watch, compare
from ceremony.records import Kind
from ceremony.transcript import Json, Record, Transcript, verify_chain
from shared.errors import PolicyDenied, RequestRejected

pytestmark = needs_softhsm

Records = tuple[Record, ...]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rehearsal, Rehearsal]]:
    """Two whole rehearsals of one plan, with keys, serials and shares of their own."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("first")), full_rehearsal(tmp_path_factory.mktemp("second"))


def _records(rehearsal: Rehearsal) -> Records:
    return verify_chain((rehearsal.directory / "transcript.jsonl").read_bytes())


def _written(path: Path, bodies: list[tuple[str, Mapping[str, Json]]]) -> Records:
    """Write a transcript with these records, as one who tells another story would."""
    transcript = Transcript.create(path, bodies[0][1], FakeClock(NOON))
    for kind, body in bodies[1:]:
        transcript.append(kind, body)
    return transcript.records


def _bodies(records: Records) -> list[tuple[str, Mapping[str, Json]]]:
    return [(record.kind, record.body) for record in records]


def test_two_runs_of_one_plan_are_equal(runs: tuple[Rehearsal, Rehearsal]) -> None:
    """Everything that differs between two good runs must be declared, or no real run could ever pass."""
    first, second = map(_records, runs)
    assert compare(first, second) == ()
    watch = Watch(first)
    for place, record in enumerate(second):
        watch.check(second[:place], record.kind, record.body)


def test_the_real_one_may_be_real(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """Mode, token, machine and the removal of sheets belong to the real run alone."""
    first, second = map(_records, runs)
    bodies: list[tuple[str, Mapping[str, Json]]] = []
    for kind, body in _bodies(second):
        changed = dict(body)
        if "mode" in body:
            changed["mode"] = "real"
        if kind == Kind.TOKEN_INITIALISED:
            changed |= {"manufacturer": "Real", "model": "HSM", "firmware": "7", "label": "real"}
        if kind == Kind.HOST_CHECKED:
            findings = body["findings"]
            assert isinstance(findings, list)
            changed["findings"] = [{**each, "status": "pass", "detail": "fine"} for each in findings]
        bodies.append((kind, changed))
        if kind == Kind.SHEET_READ_BACK:
            bodies.append((Kind.SHEET_REMOVED, {"index": 1}))
    bodies.append((Kind.EXCEPTION, {"number": 1}))
    assert compare(first, _written(tmp_path / "t", bodies)) == ()


CHANGES: list[tuple[str, str, Json]] = [
    (Kind.GENESIS, "plan", "00" * 32),
    (Kind.GENESIS, "tools", {"coldroot": "0.0.1"}),
    (Kind.GENESIS, "added", True),
    (Kind.HOST_CHECKED, "findings", []),
    (Kind.ENTROPY_MIXED, "bytes_each", 32),
    (Kind.HSM_INTENT, "operation", "format-disk"),
    (Kind.KEY_GENERATED, "label", "other"),
    (Kind.CERTIFICATE_ISSUED, "subject", "CN=other"),
    (Kind.CERTIFICATE_ISSUED, "key", "RSA 1024"),
    (Kind.CERTIFICATE_ISSUED, "second_opinion", "not asked"),
    (Kind.CERTIFICATE_PREPARED, "file", "other.crt"),
    (Kind.SHARES_DEALT, "quorums_proven", 1),
    (Kind.SHEET_WRITTEN, "custodian", "Mallory"),
    (Kind.REQUEST_ACCEPTED, "ignored_extensions", ["2.5.29.19"]),
    (Kind.ACT_CLOSED, "act", "other"),
]


@pytest.mark.parametrize(("kind", "name", "value"), CHANGES, ids=lambda value: str(value)[:30])
def test_undeclared_differences_are_found(
    runs: tuple[Rehearsal, Rehearsal], tmp_path: Path, kind: str, name: str, value: Json
) -> None:
    """A difference that nobody declared is a real run that was never practised."""
    first, second = map(_records, runs)
    place = next(place for place, record in enumerate(second) if record.kind == kind)
    bodies = _bodies(second)
    bodies[place] = (kind, {**bodies[place][1], name: value})
    changed = _written(tmp_path / "t", bodies)
    found = [difference.where for difference in compare(first, changed)]
    assert f"record {place} {kind}: {name}" in found
    assert all(where.startswith(f"record {place} {kind}: ") for where in found)
    with pytest.raises(PolicyDenied) as stopped:
        Watch(first).check(changed[:place], kind, bodies[place][1])
    assert stopped.value.code == "compare.differs"
    assert f"record {place} {kind}: " in stopped.value.message


def test_another_certificate_is_found(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """The DER varies in every run; what stands in its extensions must not hide behind that."""
    first, second = map(_records, runs)
    issued = [place for place, record in enumerate(second) if record.kind == Kind.CERTIFICATE_ISSUED]
    bodies = _bodies(second)
    root, intermediate = (bodies[place][1] for place in issued)
    bodies[issued[0]] = (Kind.CERTIFICATE_ISSUED, {**root, "der": intermediate["der"]})
    found = compare(first, _written(tmp_path / "t", bodies))
    assert any(each.where.endswith("extensions") for each in found)


def test_order_and_number_of_records(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """A step that was left out, added or moved is a difference, and is told once, not for all that follows."""
    first, second = map(_records, runs)
    place = next(place for place, record in enumerate(second) if record.kind == Kind.SHARES_READ_BACK)
    without = _bodies(second)
    taken = without.pop(place)
    (missing,) = compare(first, _written(tmp_path / "a", without))
    assert (missing.rehearsal, missing.real) == (Kind.SHARES_READ_BACK, "nothing of the kind")
    added = _bodies(second)
    added.insert(place, taken)
    (more,) = compare(first, _written(tmp_path / "b", added))
    assert (more.rehearsal, more.real) == ("nothing of the kind", Kind.SHARES_READ_BACK)
    watch = Watch(first)
    with pytest.raises(PolicyDenied, match="rehearsed shares-read-back, now"):
        watch.check(second[:place], second[place + 1].kind, second[place + 1].body)
    with pytest.raises(PolicyDenied, match="the rehearsal ended before it"):
        watch.check(second, Kind.ACT_OPENED, {})
    watch.check(second, Kind.EXCEPTION, {})
    watch.check(second[:place], Kind.ACT_FAILED, {})


def test_acts_that_broke_off_are_repeated(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """A mistyped share in practice must not make every real run different; one in the real run is told."""
    first, second = map(_records, runs)
    opened = next(place for place, record in enumerate(first) if record.kind == Kind.ACT_OPENED)
    broken = _bodies(first)
    broken[opened:opened] = [
        *broken[opened : opened + 2],
        (Kind.ACT_FAILED, {"act": "intermediate", "code": "share.other-set"}),
    ]
    practice = _written(tmp_path / "t", broken)
    assert compare(practice, second) == ()
    assert {each.real for each in compare(first, practice)} >= {Kind.ACT_FAILED}
    watch = Watch(first)
    for place in range(opened, len(practice)):
        watch.check(practice[:place], practice[place].kind, practice[place].body)


def test_only_a_rehearsal_is_one(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """Whoever swaps the two directories would compare a real run with nothing that was practised."""
    bodies = _bodies(_records(runs[0]))
    bodies[0] = (bodies[0][0], {**bodies[0][1], "mode": "real"})
    real = _written(tmp_path / "t", bodies)
    for refuse in (lambda: compare(real, real), lambda: Watch(real)):
        with pytest.raises(RequestRejected) as refused:
            refuse()
        assert refused.value.code == "compare.no-rehearsal"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_compare_command(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """A script relies on the status, a person on the lines."""
    first, second = runs
    done = _run("compare", first.directory, second.directory)
    assert (done.exit_code, "are as rehearsed" in done.stdout) == (0, True)
    assert json.loads(_run("compare", first.directory, second.directory, "--json").stdout) == []
    (tmp_path / "other").mkdir()
    bodies = _bodies(_records(second))
    bodies[0] = (bodies[0][0], {**bodies[0][1], "title": "other"})
    _written(tmp_path / "other" / "transcript.jsonl", bodies)
    done = _run("compare", first.directory, tmp_path / "other")
    assert done.exit_code == 1
    assert 'genesis: title: rehearsed "Example root key ceremony", now "other"' in done.stdout
    listed = json.loads(_run("compare", first.directory, tmp_path / "other", "--json").stdout)
    assert [each["real"] for each in listed] == ['"other"']


def test_exceptions_are_recorded(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """An exception on paper alone is one that the record contradicts; its number binds the two."""
    again = runs[0].copy(tmp_path / "copy")
    base = ["exception", "--dir", str(again.directory)]
    answers = "2.3\nserial 17\nserial 18\ngo on, the label was misread\nGrace Hopper\n"
    done = CliRunner().invoke(cli, base, input=answers)
    assert (done.exit_code, done.stdout) == (0, "1\n"), done.stderr
    given = ["--step", "room.prepared", "--expected", "a", "--happened", "b", "--decided", "c", "--by", "d"]
    assert CliRunner().invoke(cli, [*base, *given]).stdout == "2\n"
    records = [record.body for record in _records(again) if record.kind == Kind.EXCEPTION]
    assert records[0] == {
        "number": 1, "step": "2.3", "expected": "serial 17", "happened": "serial 18",
        "decided": "go on, the label was misread", "by": "Grace Hopper",
    }  # fmt: skip
    assert records[1]["number"] == 2
    assert _run("verify", again.directory).exit_code == 0
    assert _run("compare", runs[1].directory, again.directory).exit_code == 0


def test_exceptions_that_cannot_be_recorded(runs: tuple[Rehearsal, Rehearsal], tmp_path: Path) -> None:
    """A record with a hole, or one written under a running act's feet, is worse than a second try."""
    again = runs[0].copy(tmp_path / "copy")
    given = [
        "exception",
        "--dir",
        str(again.directory),
        "--step",
        "1",
        "--expected",
        "a",
        "--happened",
        "b",
        "--by",
        "d",
    ]
    before = again.snapshot()
    for decided in ("", " ", "two\nlines", "x" * 2001, "\x1b[2J"):
        done = CliRunner().invoke(cli, [*given, "--decided", decided])
        assert (done.exit_code, "exception.malformed" in done.stderr) == (1, True)
    assert "no answer" in CliRunner().invoke(cli, given, input="").stderr
    assert again.snapshot() == before
    path = again.directory / "transcript.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))  # the end of the act, and the signature under it
    done = CliRunner().invoke(cli, [*given, "--decided", "c"])
    assert (done.exit_code, "exception.act-open" in done.stderr) == (1, True)
    assert CliRunner().invoke(cli, [*given, "--decided", "c", "--interrupted"]).stdout == "1\n"
