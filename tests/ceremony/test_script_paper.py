"""The printed script, judged from its rendered pages: complete, inside its margins, the same bytes each time."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zxingcpp
from click.testing import CliRunner
from fakes.day import DAY, day
from PIL import Image

from ceremony.cli import cli
from ceremony.document.content import EXCEPTION_SHEETS, ScriptPaper
from ceremony.document.flow import BOTTOM, Block, Row, fill
from ceremony.document.page import wrap
from ceremony.document.script_html import script_html
from ceremony.document.script_pdf import script_pdf
from ceremony.plan import Plan, load_plan
from ceremony.script import build_script
from shared.crossing.words import digest_words
from shared.errors import RequestRejected

needs_poppler = pytest.mark.skipif(
    not (shutil.which("pdftoppm") and shutil.which("pdftotext")), reason="poppler-utils is not installed"
)


def paper(plan: Plan | None = None) -> ScriptPaper:
    return ScriptPaper(script=build_script(plan or day()), tool="coldroot 1.2.3")


def pages_of(pdf: bytes, directory: Path) -> list[str]:
    path = directory / "script.pdf"
    path.write_bytes(pdf)
    printed = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True).stdout
    return [" ".join(page.split()) for page in printed.decode("utf-8").split("\f")[:-1]]


@needs_poppler
def test_every_step_is_on_the_paper(tmp_path: Path) -> None:
    """A step that the paper lacks is one that nobody does, or nobody signs."""
    told = " ".join(pages_of(script_pdf(paper()), tmp_path))
    for number, section in paper().sections():
        for place, step in enumerate(section.steps, start=1):
            assert f"{number}.{place} {step.name.heading}" in told
            assert f"[{step.name}]" in told
            for line in (*step.does, step.says, step.command):
                assert " ".join(line.split()) in told
            for blank in step.blanks:
                assert blank in told
    for person in paper().people():
        assert told.count(person.name) >= 2
    for material in paper().script.materials:
        assert material.name in told
    for number in range(1, EXCEPTION_SHEETS + 1):
        assert f"Exception sheet {number}" in told
    assert "do not agree" in told
    assert [word for word in digest_words(day().digest) if word not in told] == []


@needs_poppler
def test_every_page_says_which_plan(tmp_path: Path) -> None:
    """A page from the script of another plan must be noticed, by a person and by a scanner."""
    pdf = script_pdf(paper())
    pages = pages_of(pdf, tmp_path)
    assert len(pages) > 20
    for number, page in enumerate(pages, start=1):
        assert day().digest.hex() in page
        assert f"page {number} / {len(pages)}" in page
        assert "coldroot 1.2.3" in page
    subprocess.run(["pdftoppm", "-r", "110", "-l", "3", "-png", tmp_path / "script.pdf", tmp_path / "p"], check=True)
    shown = sorted(tmp_path.glob("p-*.png"))
    assert len(shown) == 3
    for path in shown:
        with Image.open(path) as image:
            assert [code.text for code in zxingcpp.read_barcodes(image.convert("L"))] == [paper().qr_payload]


@needs_poppler
def test_nothing_leaves_the_margins(tmp_path: Path) -> None:
    """What a printer cuts off, or what runs into the foot, cannot be read by a tired person."""
    custodians = ", ".join(f'"Custodian with the long name number {number}"' for number in range(1, 17))
    full = DAY.replace('["Ada", "Blaise", "Carl", "Dorothy", "Emmy"]', f"[{custodians}]")
    full = full.replace("Northwind root key ceremony 2026", "W" * 64)
    path = tmp_path / "script.pdf"
    path.write_bytes(script_pdf(paper(load_plan(full.encode()))))
    boxes = subprocess.run(["pdftotext", "-bbox", path, "-"], capture_output=True, check=True, text=True).stdout
    millimetre = 72 / 25.4
    words = re.findall(r'xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">([^<]*)<', boxes)
    assert len(words) > 3000
    for left, top, right, bottom, word in words:
        edges = [float(each) / millimetre for each in (left, top, right, bottom)]
        assert edges[0] > 17, word
        assert edges[2] < 193, word
        assert edges[1] > 8, word
        assert edges[3] < 289, word


def test_same_script_same_bytes() -> None:
    """An auditor prints the script again and compares bytes; another process must get the same."""
    pdf, html = script_pdf(paper()), script_html(paper())
    program = (
        "import hashlib, test_script_paper as t;"
        "print(hashlib.sha256(t.script_pdf(t.paper()) + t.script_html(t.paper())).hexdigest())"
    )
    here = Path(__file__)
    path = [str(here.parent), str(here.parents[1]), str(here.parents[2])]
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"],
        capture_output=True, check=True, text=True,
        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"},
    )  # fmt: skip
    assert elsewhere.stdout.strip() == hashlib.sha256(pdf + html).hexdigest()
    other = paper(load_plan(DAY.replace("years = 20", "years = 19").encode()))
    assert script_pdf(other) != pdf
    assert script_html(other) != html


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_html_is_complete_and_inert() -> None:
    """The file is opened on machines that matter: nothing in it may run, or be fetched from elsewhere."""
    parsed = _Tags()
    parsed.feed(script_html(paper()).decode())
    assert not {"script", "link", "img", "iframe", "a", "form"} & set(parsed.tags)
    assert not {"src", "href", "style"} & parsed.attributes
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert parsed.tags.count("svg") == 1
    assert b"url(" not in script_html(paper())
    told = " ".join(parsed.text.split())
    for _, section in paper().sections():
        for step in section.steps:
            assert step.name.heading in told
            assert all(line in told for line in step.does)
    assert day().digest.hex() in told


def test_html_escapes_names() -> None:
    """A plan is a file from somebody; its names must not become markup. Names of any script can stand in HTML."""
    odd = DAY.replace("Grace Hopper", "<script>x</script>").replace("Emmy", "王 Жанна")
    html = script_html(paper(load_plan(odd.encode()))).decode()
    assert "<script>" not in html
    assert "&lt;script&gt;x&lt;/script&gt;" in html
    assert "王 Жанна" in html


def test_pdf_refuses_what_it_cannot_show() -> None:
    """A black box for a name is worse than a refusal."""
    with pytest.raises(RequestRejected) as refused:
        script_pdf(paper(load_plan(DAY.replace("Alan Turing", "王").encode())))
    assert refused.value.code == "paper.unprintable"
    assert "name of the witness 1" in refused.value.message


def test_render_command(tmp_path: Path) -> None:
    """Both files or none, and never over an older one."""
    plan, pdf, html = tmp_path / "plan.toml", tmp_path / "s.pdf", tmp_path / "s.html"
    plan.write_text(DAY)
    base = ["script", "render", "--plan", str(plan), "--pdf", str(pdf)]
    done = CliRunner().invoke(cli, [*base, "--html", str(html)])
    assert done.exit_code == 0, done.output
    assert pdf.read_bytes().startswith(b"%PDF")
    assert html.read_bytes().startswith(b"<!DOCTYPE html>")
    pdf.unlink()
    again = CliRunner().invoke(cli, [*base, "--html", str(html)])
    assert (again.exit_code, pdf.exists(), "already exists" in again.stderr) == (1, False, True)
    assert CliRunner().invoke(cli, ["script", "render", "--plan", str(plan)]).exit_code == 2


def test_blocks_are_divided_only_when_no_page_holds_them() -> None:
    """A step that is torn over two pages without need is signed without its first half in view."""

    def block(rows: int) -> Block:
        return Block(rows=tuple(Row(height=10, draw=lambda *_: None) for _ in range(rows)), framed=True)

    assert [len(page.draws) for page in fill([block(20), block(20)])] == [1, 1]
    assert [len(page.draws) for page in fill([block(10), block(10)])] == [2]
    assert len(fill([block(60)])) == 3
    assert BOTTOM == 266.0


def test_wrapping_keeps_every_character() -> None:
    """A word that is too long for a line must be broken, not cut."""
    text = "short " + "W" * 300 + " end"
    lines = wrap(text, size=9, room=100)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
