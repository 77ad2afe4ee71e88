"""The script as PDF: what people work from, and what they sign.

Every page carries the plan's digest in hex, in words and as QR code, so that a page of another plan is noticed.

Invariant: the same script and tool give the same bytes (see ``ceremony.document.page``).
"""

from __future__ import annotations

from collections.abc import Iterator

from ceremony.document import rows
from ceremony.document.content import COMMITS, EXCEPTION_SHEETS, MEANING, RULES, ScriptPaper, initials
from ceremony.document.flow import LEFT, RIGHT, Block, Placed, Row, fill
from ceremony.document.page import GREY, Page, check_printable, qr_matrix
from ceremony.script import Expected, Step

_QR_SIDE = 15.0
_FOOT = 270.0


def script_pdf(paper: ScriptPaper) -> bytes:
    """Draw the script.

    Raises:
        RequestRejected: ``paper.unprintable`` for a name that the font lacks.
    """
    _check(paper)
    page = Page(f"Ceremony script - {paper.plan.title}")
    placed = fill([*_cover(paper), *_people(paper), *_materials(paper), *_steps(paper), *_exceptions(), *_end(paper)])
    code = qr_matrix(paper.qr_payload)
    for number, each in enumerate(placed, start=1):
        if number > 1:
            page.next()
        _frame(page, paper, each, place=f"{number} / {len(placed)}")
        page.qr(LEFT, _FOOT + 3, _QR_SIDE, code)
        for draw, top in each.draws:
            draw(page, top)
    return page.close()


def _check(paper: ScriptPaper) -> None:
    for what, content in (("title", paper.plan.title), ("organization", paper.plan.organization)):
        check_printable(content, what=what)
    for person in paper.people():
        if person.name:
            check_printable(person.name, what=f"name of the {person.role.lower()}")
    for _, section in paper.sections():
        for step in section.steps:
            for content in step.does:
                check_printable(content, what=f"text of the step {step.id}")


def _frame(page: Page, paper: ScriptPaper, placed: Placed, *, place: str) -> None:
    page.fitted(LEFT, 13, paper.plan.title, size=9, room=90)
    page.text_before(RIGHT, 13, f"{placed.section}    page {place}", size=9)
    page.line(LEFT, 15.5, RIGHT, 15.5)
    page.line(LEFT, _FOOT, RIGHT, _FOOT)
    left, words = LEFT + _QR_SIDE + 4, paper.plan_words
    page.text(left, _FOOT + 6, "Plan, SHA-256", size=7, grey=GREY)
    page.text(left, _FOOT + 10.5, paper.plan.digest.hex(), size=8)
    page.text(left, _FOOT + 15, f"{' '.join(words[:4])}  …  {' '.join(words[-4:])}", size=8)
    page.text_before(RIGHT, _FOOT + 6, paper.tool, size=7, grey=GREY)


def _cover(paper: ScriptPaper) -> Iterator[Block]:
    plan = paper.plan
    yield Block(
        rows=(
            rows.space(4),
            rows.text("Ceremony script", size=11, grey=GREY),
            rows.text(plan.title, size=22, bold=True),
            rows.space(2),
            rows.text(f"{plan.organization}: {paper.root_name}", size=12),
            rows.space(4),
            rows.choice(("Practice", "Production"), label="Tick exactly one:"),
        ),
        section="cover",
    )
    yield Block(
        rows=(
            rows.blanks(("Date", "Place", "Begin (UTC)", "End (UTC)")),
            rows.blanks(
                ("Copy number, and for whom", "Directory of the ceremony (DIR)", "Digest of the machine's medium")
            ),
        )
    )
    yield Block(
        head=rows.space(1.5),
        rows=(
            rows.text("The plan, as digest words", bold=True, indent=rows.INDENT),
            rows.words(plan.digest, ticks=True),
            rows.text(plan.digest.hex(), size=8.5, indent=rows.INDENT),
            rows.text(
                f"Printed by {paper.tool}. The program on the machine must have the same version.", indent=rows.INDENT
            ),
        ),
        framed=True,
    )
    acts = [
        rows.text(f"{number}   {section.title}: {len(section.steps)} steps", indent=rows.INDENT)
        for number, section in paper.sections()
    ]
    yield Block(head=rows.text("What is done", bold=True), rows=tuple(acts))
    yield Block(
        head=rows.text("How this script is used", bold=True),
        rows=tuple(_rule(number, rule) for number, rule in enumerate(RULES, start=1)),
    )


def _rule(number: int, content: str) -> Row:
    return rows.text(f"{number}.  {content}", size=9, indent=rows.INDENT)


def _people(paper: ScriptPaper) -> Iterator[Block]:
    widths = (44.0, 56.0, 20.0, 54.0)
    head = rows.table(
        tuple(zip(("Role", "Name", "Document", "Initials, as written today"), widths, strict=True)), height=7, head=True
    )
    lines = [
        rows.table(tuple(zip((each.role, each.name, "", ""), widths, strict=True)), height=10.5, tick=108.0)
        for each in paper.people()
    ]
    yield Block(rows=(rows.text("Roles", size=14, bold=True), rows.space(1)), new_page=True, section="roles", gap=1)
    yield Block(head=head, rows=tuple(lines))
    yield Block(
        rows=(
            rows.text(f"Shares: {paper.plan.shares.describe()} together unlock the key. Fewer learn nothing about it."),
            rows.text("A witness is neither administrator nor auditor. The box is ticked when a document was seen."),
        )
    )


def _materials(paper: ScriptPaper) -> Iterator[Block]:
    widths = (10.0, 14.0, 88.0, 62.0)
    head = rows.table(tuple(zip(("", "Count", "What", "Number"), widths, strict=True)), height=7, head=True)
    lines = []
    for each in paper.script.materials:
        cells = ("", str(each.count), each.name, "")
        lines.append(_material(tuple(zip(cells, widths, strict=True)), each.number))
    yield Block(
        rows=(rows.text("Materials", size=14, bold=True), rows.space(1)), new_page=True, section="materials", gap=1
    )
    yield Block(head=head, rows=tuple(lines))
    yield Block(rows=(rows.lines("Further materials, with their numbers", 4),))


def _material(cells: tuple[tuple[str, float], ...], number: str) -> Row:
    line = rows.table(cells, height=11.0, tick=3.0)

    def draw(page: Page, top: float) -> None:
        line.draw(page, top)
        page.text(LEFT + 113.5, top + 3.4, number or "no number", size=6.5, grey=GREY)

    return Row(height=line.height, draw=draw)


def _steps(paper: ScriptPaper) -> Iterator[Block]:
    for number, section in paper.sections():
        title = f"{number}  {section.title}"
        yield Block(rows=(rows.text(title, size=14, bold=True),), new_page=True, section=title, gap=2)
        for place, step in enumerate(section.steps, start=1):
            yield _step(paper, step, f"{number}.{place}")


def _step(paper: ScriptPaper, step: Step, number: str) -> Block:
    content: list[Row] = []
    if step.commits:
        content.append(rows.warning(COMMITS))
    content.append(rows.labelled("Who", paper.who(step)))
    if step.says:
        content.append(rows.labelled("Read aloud", f"“{step.says}”", bar=True))
    if step.command:
        content.append(rows.labelled("Type", step.command, bold=True))
    content += [rows.check(each) for each in step.does]
    for expected in step.expects:
        content += _expected(expected)
    if step.blanks:
        content.append(rows.blanks(step.blanks))
    content.append(rows.blanks(initials(paper)))
    return Block(head=rows.step_head(number, step.name.heading, step.name), rows=tuple(content), framed=True)


def _expected(expected: Expected) -> list[Row]:
    if expected.digest is not None:
        label = f"Expected: the {expected.what}. Tick each line whose words were read aloud and are the same."
        return [rows.text(label, size=8, grey=GREY, indent=rows.INDENT), rows.words(expected.digest, ticks=True)]
    which = "all words" if expected.whole else "the first two and the last two words"
    label = f"Write down {which}: {expected.what}"
    return [rows.text(label, size=8, grey=GREY, indent=rows.INDENT), rows.word_blanks(whole=expected.whole)]


def _exceptions() -> Iterator[Block]:
    for number in range(1, EXCEPTION_SHEETS + 1):
        yield Block(
            head=rows.step_head(f"E{number}", f"Exception sheet {number}", "ceremony exception"),
            rows=(
                rows.blanks(("Step", "Time noticed (UTC)", "Noticed by")),
                rows.lines("What was expected", 2),
                rows.lines("What happened", 3),
                rows.lines("What was decided, and why it is safe", 3),
                rows.blanks(
                    ("Decided by", "Signature, administrator", "Signature, witness", "Signature, auditor"), height=13
                ),
            ),
            framed=True,
            new_page=number % 2 == 1,
            section="exceptions",
        )


def _end(paper: ScriptPaper) -> Iterator[Block]:
    yield Block(
        rows=(
            rows.text("Signatures", size=14, bold=True),
            rows.space(1),
            rows.text("My signature and my tick beside “agree” mean:"),
            rows.text(f"“{MEANING}”", indent=rows.INDENT),
            rows.text(
                "Whoever cannot say all of it ticks “do not agree”, writes why on an exception sheet, and signs."
            ),
        ),
        new_page=True,
        section="signatures",
    )
    widths = (60.0, 36.0, 50.0, 28.0)
    head = rows.table(
        tuple(zip(("Name and role", "", "Signature", "Date, time (UTC)"), widths, strict=True)), height=7, head=True
    )
    yield Block(head=head, rows=tuple(_signature(each.role, each.name, widths) for each in paper.people()))


def _signature(role: str, name: str, widths: tuple[float, ...]) -> Row:
    line = rows.table(tuple(zip((name, "", "", ""), widths, strict=True)), height=14.0)

    def draw(page: Page, top: float) -> None:
        line.draw(page, top)
        page.text(LEFT + 1.5, top + 3.4, role, size=6.5, grey=GREY)
        for at, option in ((4.4, "agree"), (10.2, "do not agree")):
            page.circle(LEFT + 64, top + at - 0.9, 1.9)
            page.text(LEFT + 67.5, top + at, option, size=8)

    return Row(height=line.height, draw=draw)
