"""The papers: judged from their rendered page, as a custodian and a scanner see them."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zxingcpp
from fakes.randomness import seeded
from PIL import Image

from ceremony.document.page import check_printable
from ceremony.paper import SheetFacts, check_papers, share_receipt, share_sheet
from ceremony.secret import CeremonySecret
from ceremony.shares import GroupShape, SetShape, Share, ShareSet, one_group, parse_share, split
from shared.crossing.words import digest_words
from shared.errors import ColdrootError, Fatal, RequestRejected

needs_poppler = pytest.mark.skipif(
    not (shutil.which("pdftoppm") and shutil.which("pdftotext")), reason="poppler-utils is not installed"
)


def dealt(count: int = 5) -> ShareSet:
    return split(CeremonySecret(value=seeded(7)(32)), shape=one_group(threshold=3, count=count), rng=seeded(8))


def facts(index: int = 2, *, custodian: str = "Zoë Müller-Şimşek", rehearsal: bool = False) -> SheetFacts:
    return SheetFacts(
        title="Northwind root key ceremony",
        root_name="Northwind Root CA",
        custodian=custodian,
        index=index,
        commitments=dealt().commitments,
        rehearsal=rehearsal,
    )


def text_of(pdf: bytes, directory: Path) -> list[str]:
    path = directory / "page.pdf"
    path.write_bytes(pdf)
    printed = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True)
    return printed.stdout.decode("utf-8").split()


def image_of(pdf: bytes, directory: Path) -> Image.Image:
    path = directory / "page.pdf"
    path.write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", "150", "-png", "-singlefile", path, directory / "page"], check=True)
    return Image.open(directory / "page.png")


@needs_poppler
@pytest.mark.parametrize("index", [1, 2, 3, 4, 5])
def test_code_is_read_back_from_the_page(tmp_path: Path, index: int) -> None:
    """A code that prints but does not scan is noticed on the day of the disaster."""
    share = dealt().shares[index - 1]
    with image_of(share_sheet(facts(index), share), tmp_path) as image:
        codes = zxingcpp.read_barcodes(image.convert("L"))
    assert len(codes) == 1
    entered = parse_share(codes[0].text)
    assert entered.words == share.words
    assert entered.set_id == dealt().set_id
    assert dealt().commitments.recognise(entered) == share


@needs_poppler
@pytest.mark.parametrize("angle", [3, 90, 171])
def test_code_survives_a_crooked_scanner(tmp_path: Path, angle: int) -> None:
    """Nobody lays a sheet straight; the code must not depend on it."""
    share = dealt().shares[1]
    with image_of(share_sheet(facts(), share), tmp_path) as image:
        crooked = image.convert("L").rotate(angle, expand=True, fillcolor=255)
    assert [parse_share(code.text).words for code in zxingcpp.read_barcodes(crooked)] == [share.words]


@needs_poppler
def test_sheet_holds_everything_a_custodian_needs(tmp_path: Path) -> None:
    """A sheet is found in a safe after years by somebody who was not there."""
    share = dealt().shares[1]
    told = text_of(share_sheet(facts(), share), tmp_path)
    joined = " ".join(told)
    for number, word in enumerate(share.words, start=1):
        assert word in told
        assert str(number) in told
    assert "Share 2 of 5" in joined
    assert "Any 3 of these 5 shares together unlock the key." in joined
    for expected in ("Northwind root key ceremony", "Northwind Root CA", "Zoë Müller-Şimşek", "SECRET", "SLIP-39"):
        assert expected in joined
    for blank in ("Date", "initials", "Bag number", "Do", "Never"):
        assert blank in joined
    assert dealt().set_id in "".join(told)
    assert [word for word in digest_words(bytes.fromhex(share.commitment)) if word not in told] == []
    assert "REHEARSAL:" not in joined


@needs_poppler
def test_words_stand_by_their_numbers(tmp_path: Path) -> None:
    """Words next to the wrong number restore nothing: the columns are read down, three words a line."""
    share = dealt().shares[1]
    told = text_of(share_sheet(facts(), share), tmp_path)
    for row in range(11):
        numbers = (row + 1, row + 12, row + 23)
        expected = [part for number in numbers for part in (str(number), share.words[number - 1])]
        assert any(told[at : at + 6] == expected for at in range(len(told))), f"row {row + 1}"


@needs_poppler
def test_receipt_holds_no_secret(tmp_path: Path) -> None:
    """The receipt is filed and shown around: no word of the share and no code may be on it."""
    share = dealt().shares[1]
    receipt = share_receipt(facts())
    told = text_of(receipt, tmp_path)
    public = set(digest_words(bytes.fromhex(share.commitment)))
    assert not (set(share.words) - public) & set(told)
    assert "Share 2 of 5" in " ".join(told)
    assert dealt().set_id in "".join(told)
    with image_of(receipt, tmp_path) as image:
        assert zxingcpp.read_barcodes(image.convert("L")) == []


@needs_poppler
def test_rehearsal_is_told_from_the_real_thing(tmp_path: Path) -> None:
    """A rehearsal's sheet sealed by mistake would be trusted, and the real one thrown away."""
    assert "REHEARSAL:" in text_of(share_sheet(facts(rehearsal=True), dealt().shares[1]), tmp_path)
    assert "REHEARSAL:" in text_of(share_receipt(facts(rehearsal=True)), tmp_path)


def test_same_facts_same_bytes() -> None:
    """An auditor draws the receipt again and compares bytes; another process must get the same."""
    sheet, receipt = share_sheet(facts(), dealt().shares[1]), share_receipt(facts())
    assert sheet == share_sheet(facts(), dealt().shares[1])
    assert receipt == share_receipt(facts())
    program = (
        "import hashlib, test_paper as t; from ceremony.paper import share_sheet, share_receipt;"
        "print(hashlib.sha256(share_receipt(t.facts()) + share_sheet(t.facts(), t.dealt().shares[1])).hexdigest())"
    )
    here = Path(__file__)
    path = [str(here.parent), str(here.parents[1]), str(here.parents[2])]
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"],
        capture_output=True,
        check=True,
        text=True,
        # Neither the hash seed, nor the time zone, nor the language may show in the bytes.
        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"},
    )
    assert elsewhere.stdout.strip() == hashlib.sha256(receipt + sheet).hexdigest()


def test_papers_differ_where_the_facts_do() -> None:
    """Byte equality proves something only if other facts give other bytes."""
    papers = {
        share_receipt(facts()),
        share_receipt(facts(3)),
        share_receipt(facts(custodian="Ada")),
        share_receipt(facts(rehearsal=True)),
    }
    assert len(papers) == 4


@pytest.mark.parametrize(
    ("name", "place", "code_point"),
    [
        ("Жанна", 1, "0416"),
        ("王", 1, "738B"),
        ("Wanda Wiśniewska", 9, "015B"),
        ("a\u202eb", 2, "202E"),
        ("a\nb", 2, "000A"),
        ("a\x00", 2, "0000"),
        ("a\u200bb", 2, "200B"),
        ("Ada 🙂", 5, "1F642"),
        ("a\uffff", 2, "FFFF"),
    ],
)
def test_unprintable_name_is_refused(name: str, place: int, code_point: str) -> None:
    """A black box instead of a letter on a sealed sheet is found out years later."""
    with pytest.raises(RequestRejected) as caught:
        facts(custodian=name)
    assert caught.value.code == "paper.unprintable"
    assert f"character {place} (U+{code_point})" in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "name", ["Ada", "José Ñandú", "Łukasz", "Jürgen Groß", "O\N{COMBINING DIAERESIS}zil", "Ğ. İ. Ş."]
)
def test_names_beyond_latin_1_are_printed(name: str) -> None:
    """Names are people's own: where the font has the letters they are printed, composed or not."""
    check_printable(name, what="custodian's name")
    assert share_receipt(facts(custodian=name)).startswith(b"%PDF-")


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_name_is_refused(name: str) -> None:
    """A sheet without a name belongs to whoever finds it."""
    with pytest.raises(RequestRejected, match="is empty"):
        facts(custodian=name)


def test_long_names_shrink_and_endless_ones_are_refused() -> None:
    """A name that runs off the paper is cut by the printer without a word."""
    assert share_receipt(facts(custodian="Maximiliane von und zu Hohenstein-Weissenberg"))
    with pytest.raises(RequestRejected) as caught:
        facts(custodian="W" * 90)
    assert caught.value.code == "paper.too-long"
    assert "90 characters" in caught.value.message


def test_plan_is_checked_before_anything_exists() -> None:
    """A title or name that cannot be printed must stop the plan, not the ceremony after the HSM was touched."""
    check_papers(title="t" * 100, root_name="Root", custodians=["Ada", "Blaise"])
    for title, root_name, custodians in (
        ("W" * 100, "Root", ["Ada"]),
        ("Title", "W" * 64, ["Ada"]),
        ("Title", "Root", ["Ada", "W" * 64]),
    ):
        with pytest.raises(RequestRejected) as caught:
            check_papers(title=title, root_name=root_name, custodians=custodians)
        assert caught.value.code == "paper.too-long"


@pytest.mark.parametrize("place", [0, 2])
def test_only_the_named_share_is_printed(place: int) -> None:
    """One custodian's words under another's name would give one person two shares."""
    with pytest.raises(Fatal) as caught:
        share_sheet(facts(2), dealt().shares[place])
    assert caught.value.code == "paper.wrong-share"
    foreign = dataclasses.replace(dealt().shares[1], commitment="0" * 64)
    with pytest.raises(Fatal):
        share_sheet(facts(2), foreign)


@pytest.mark.parametrize("index", [0, 6, -1])
def test_index_outside_the_set_is_refused(index: int) -> None:
    """Python would take index 0 for the last share."""
    with pytest.raises(ColdrootError) as caught:
        facts(index)
    assert caught.value.code == "paper.wrong-share"


def _grouped(index: int, *, copy: int = 1) -> tuple[SheetFacts, Share]:
    officers = GroupShape(name="Officers", threshold=2, custodians=3)
    recovery = GroupShape(name="recovery", threshold=1, custodians=2)
    alone = GroupShape(name="notary", threshold=1, custodians=1)
    shape = SetShape(group_threshold=2, groups=(officers, recovery, alone))
    share_set = split(CeremonySecret(value=seeded(7)(32)), shape=shape, rng=seeded(8))
    sheet = SheetFacts(
        title="Northwind root key ceremony",
        root_name="Northwind Root CA",
        custodian="Ada",
        index=index,
        copy=copy,
        commitments=share_set.commitments,
        rehearsal=False,
    )
    return sheet, share_set.shares[index - 1]


@needs_poppler
@pytest.mark.parametrize(
    ("index", "copy", "name", "rule"),
    [
        (2, 1, "Share 2 of Officers", "Any 2 of the 3 shares of Officers count as this group."),
        (4, 2, "Share of recovery, copy 2", "counts as the group recovery; 2 people hold a copy of it."),
        (5, 1, "Share of notary, copy 1", "This share alone counts as the group notary."),
    ],
)
def test_a_grouped_sheet_says_its_group_and_rule(tmp_path: Path, index: int, copy: int, name: str, rule: str) -> None:
    """Whoever finds a sheet in ten years must learn whom else to call, and its code must say the same."""
    sheet, share = _grouped(index, copy=copy)
    told = " ".join(text_of(share_sheet(sheet, share), tmp_path))
    for expected in (name, rule, "2 of 3 groups together unlock the key. Fewer tell nothing about it."):
        assert expected in told
    with image_of(share_sheet(sheet, share), tmp_path) as image:
        codes = zxingcpp.read_barcodes(image.convert("L"))
    assert sheet.commitments.recognise(parse_share(codes[0].text)) == share
    received = " ".join(text_of(share_receipt(sheet), tmp_path))
    assert f"the sheet of s{name[1:]}; " in received
    assert ("only who holds a copy of it has seen" in received) is (copy == 2)


def test_group_names_are_checked_too(tmp_path: Path) -> None:
    """A group that the paper cannot name must be noticed with the plan."""
    del tmp_path
    for group, code in (("W" * 60, "paper.too-long"), ("\u5c40", "paper.unprintable")):
        with pytest.raises(RequestRejected) as caught:
            check_papers(title="t", root_name="r", custodians=["Ada"], groups=[group])
        assert caught.value.code == code
    with pytest.raises(Fatal):
        _grouped(2, copy=2)
