"""The three forms of the list: the same facts in each, and nothing in them that acts on whoever reads."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import unicodedata
from datetime import timedelta

import pytest
from fakes.clock import NOON
from hypothesis import given, settings
from hypothesis import strategies as st

from online.inventory import COLUMNS, csv_lines, json_lines, remaining, short_serial, table
from online.store import CertificateKind
from online.store.search import Found, Status, Withdrawal

PLAIN = Found(
    serial=59636004850364466675608080466579278406,
    subject="CN=foo.local",
    sans=("foo.local", "10.0.0.7"),
    not_before=NOON,
    not_after=NOON + timedelta(hours=24),
    provisioner="admin",
    kind=CertificateKind.SIGNED,
    status=Status.VALID,
    renewed_from=None,
    renewed_to=(),
    withdrawal=None,
)
REVOKED = dataclasses.replace(
    PLAIN,
    serial=17,
    kind=CertificateKind.RENEWED,
    status=Status.REVOKED,
    renewed_from=PLAIN.serial,
    renewed_to=(4, 24000000000000002409),
    withdrawal=Withdrawal(at=NOON, reason_code=4, reason="moved, to bar"),
)


def unpainted(cell: str, status: Status) -> str:
    del status
    return cell


def read_csv(*found: Found) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("\n".join(csv_lines(found)) + "\n")))


def test_the_table_is_aligned_and_tells_the_lineage() -> None:
    """People compare rows by eye: a shifted column is a wrong serial revoked."""
    lines = table([PLAIN, REVOKED], now=NOON, paint=unpainted).splitlines()
    common = ["2026-11-25T12:00:00Z", "in", "24h", "foo.local", "10.0.0.7", "admin"]
    assert [line.split() for line in lines] == [
        ["STATUS", "ENDS", "NAMES", "PROVISIONER", "KIND", "SERIAL", "LINEAGE"],
        ["valid", *common, "signed", str(PLAIN.serial), "-"],
        ["revoked", *common, "renewed", "17", "from", "5963…8406", "to", "4,", "2400…2409"],
    ]
    for heading in ("ENDS", "NAMES", "PROVISIONER", "KIND", "SERIAL", "LINEAGE"):
        column = lines[0].index(heading)
        assert all(line[column - 1] == " " and line[column] != " " for line in lines)


def test_colours_do_not_shift_columns() -> None:
    """The codes of a colour have a length but no width."""
    plain = table([PLAIN, REVOKED], now=NOON, paint=unpainted)
    painted = table([PLAIN, REVOKED], now=NOON, paint=lambda cell, status: f"\x1b[3{len(status)}m{cell}\x1b[0m")
    assert re.sub(r"\x1b\[[0-9]*m", "", painted) == plain
    assert painted != plain


def test_many_names_are_counted_and_no_name_is_the_subject() -> None:
    """A certificate with a hundred names must not fill the screen, and one without any must not be nameless."""
    many = dataclasses.replace(PLAIN, sans=tuple(f"{each}.local" for each in range(9)))
    none = dataclasses.replace(PLAIN, sans=(), provisioner="")
    lines = table([many, none], now=NOON, paint=unpainted).splitlines()
    assert "0.local 1.local 2.local +6" in lines[1]
    assert "CN=foo.local" in lines[2]
    assert "  -  " in lines[2]


def test_csv_and_json_say_the_same() -> None:
    """Whoever compares two exports must not find differences that are not there."""
    rows = read_csv(PLAIN, REVOKED)
    parsed = json.loads("\n".join(json_lines([PLAIN, REVOKED], "17")))
    assert parsed["next"] == "17"
    for row, each in zip(rows, parsed["certificates"], strict=True):
        assert tuple(row) == COLUMNS
        assert row["sans"].split(" ") == each["sans"]
        assert row["renewed_to"].split() == each["renewed_to"]
        assert row["renewed_from"] == (each["renewed_from"] or "")
        revocation = each["revocation"] or {"at": "", "reason_code": "", "reason": ""}
        assert row["revoked_at"] == revocation["at"]
        assert row["reason_code"] == str(revocation["reason_code"])
        assert row["reason"] == revocation["reason"]
        for same in ("serial", "serial_hex", "status", "kind", "subject", "not_before", "not_after", "provisioner"):
            assert row[same] == each[same]
    assert rows[1]["reason"] == "moved, to bar"
    assert int(rows[0]["serial_hex"], 16) == int(rows[0]["serial"]) == PLAIN.serial


def test_nothing_found_is_still_csv_and_json() -> None:
    """A script must not have to treat the empty list apart."""
    assert json.loads("\n".join(json_lines([], ""))) == {"certificates": [], "next": None}
    assert read_csv() == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "\uff1d", "\uff0b"])
def test_no_cell_is_a_formula(start: str) -> None:
    """A spreadsheet runs what a requester wrote into a name, on the operator's machine."""
    evil = f'{start}cmd|" /C calc"!A0'
    row = dataclasses.replace(
        REVOKED,
        subject=evil,
        sans=(evil,),
        provisioner=evil,
        withdrawal=Withdrawal(at=NOON, reason_code=0, reason=evil),
    )
    for name, cell in read_csv(row)[0].items():
        if name in {"subject", "sans", "provisioner", "reason"}:
            assert cell.startswith("'") or cell[0] == "\\", f"{name}: {cell!r}"


@settings(max_examples=60)
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_gets_out_of_its_cell(text: str, other: str) -> None:
    """A name with a line break, a quote or an escape sequence must not forge a row, a column or a command."""
    row = dataclasses.replace(
        REVOKED,
        subject=text,
        sans=(text or "x", "y"),
        provisioner=other,
        withdrawal=Withdrawal(at=NOON, reason_code=0, reason=other),
    )
    printed = [
        table([row], now=NOON, paint=unpainted),
        "\n".join(csv_lines([row])),
        "\n".join(json_lines([row], "")),
    ]
    for each in printed:
        assert all(unicodedata.category(character)[0] != "C" or character == "\n" for character in each)
    assert len(printed[0].split("\n")) == 2
    assert len(printed[1].split("\n")) == 2
    assert len(read_csv(row)) == 1
    assert json.loads(printed[2])["certificates"][0]["subject"] == text


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(hours=24), "in 24h"),
        (timedelta(hours=48), "in 2d"),
        (timedelta(minutes=119), "in 119m"),
        (timedelta(0), "in 0m"),
        (timedelta(seconds=-1), "0m ago"),
        (-timedelta(days=400), "400d ago"),
    ],
)
def test_distances_are_told_in_one_unit(span: timedelta, words: str) -> None:
    """What ends soon must be seen at a glance."""
    assert remaining(NOON + span, NOON) == words


@pytest.mark.parametrize(("serial", "words"), [(1, "1"), (123456789, "123456789"), (1234567890, "1234…7890")])
def test_serials_are_shortened_as_step_does(serial: int, words: str) -> None:
    """The short form is looked for in what step printed."""
    assert short_serial(serial) == words
