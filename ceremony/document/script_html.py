"""The script as HTML: the same content as the PDF, in one file that needs nothing else.

It prints like the PDF, and it shows names in every script of the world. Nothing in it runs: no JavaScript, no link,
no font or picture from elsewhere; the plan's QR code is inline SVG.

Invariant: the same script and tool give the same bytes; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ceremony.document.content import COMMITS, EXCEPTION_SHEETS, MEANING, RULES, ScriptPaper, initials
from ceremony.document.page import qr_matrix, runs
from ceremony.script import Expected, Step
from shared.crossing.words import digest_words

_STYLE = """\
@page { size: A4; margin: 14mm 16mm 14mm 18mm }
* { box-sizing: border-box }
body { font: 10pt/1.35 Verdana, "DejaVu Sans", sans-serif; color: #000; background: #fff; margin: 0 auto;
  max-width: 176mm }
h1 { font-size: 22pt; margin: 2mm 0 }
h2 { font-size: 14pt; margin: 0 0 3mm; break-before: page; break-after: avoid }
h3 { font-size: 11pt; margin: 0; background: #e6e6e6; padding: 1.5mm 3mm; display: flex; gap: 5mm }
h3 code { margin-left: auto; font: 7.5pt Verdana, "DejaVu Sans", sans-serif; color: #555 }
section.step { border: 0.3mm solid #555; margin: 0 0 4mm; break-inside: avoid }
section.step > * { margin-left: 3mm; margin-right: 3mm }
section.step > h3, section.step > .commits { margin: 0 }
.commits { background: #000; color: #fff; font-weight: bold; padding: 0.8mm 3mm; print-color-adjust: exact }
h3, th { print-color-adjust: exact }
dl { display: grid; grid-template-columns: 20mm 1fr; margin: 1.5mm 3mm }
dt, .label, small { font-size: 7.5pt; color: #555 }
dd { margin: 0 0 1mm }
dd.says { border-left: 1mm solid #000; padding-left: 2mm }
dd.type { font-weight: bold }
p { margin: 2mm 0 }
ul { list-style: none; padding: 0 }
ol { font-size: 9pt; margin: 0; padding-left: 6mm }
ul li { padding-left: 7mm; position: relative; margin: 1.4mm 0 }
ul li::before, td.tick::before, tr.ticks > th::before {
  content: ""; display: inline-block; width: 4mm; height: 4mm; border: 0.3mm solid #555 }
ul li::before { position: absolute; left: 0; top: 0.3mm }
table { border-collapse: collapse; width: 100% }
th { background: #e6e6e6; font-size: 7.5pt; text-align: left; padding: 1.5mm }
.grid td { border-bottom: 0.2mm solid #999; border-right: 0.2mm solid #999; height: 11mm; padding: 1mm 1.5mm }
.grid td:last-child { border-right: 0 }
.grid th:last-child { min-width: 42mm }
.grid th:nth-child(3):nth-last-child(2) { min-width: 44mm }
tr { break-inside: avoid }
section.step > .words { width: calc(100% - 6mm) }
.words td { font-size: 8pt; padding: 0.5mm 1mm 0.5mm 0; white-space: nowrap }
.words th { background: none; padding: 0.5mm 2mm 0.5mm 0 }
.words sup { color: #555; font-size: 5.5pt; vertical-align: baseline; margin-right: 0.8mm }
.write { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3.5mm 3mm; margin-top: 3mm; margin-bottom: 2mm }
.write span { border-bottom: 0.2mm solid #777; font-size: 6.5pt; color: #555; height: 5mm }
.blanks { display: flex; gap: 2mm; margin-top: 1.5mm; margin-bottom: 2mm; flex-wrap: wrap }
.blanks span { flex: 1 1 36mm; border: 0.3mm solid #555; height: 12mm; padding: 0.7mm 1.5mm; font-size: 6.8pt;
  color: #555 }
.lines i { display: block; border-bottom: 0.2mm solid #999; height: 7.5mm }
.choice::before { content: ""; display: inline-block; width: 4.2mm; height: 4.2mm; border: 0.3mm solid #555;
  border-radius: 50%; vertical-align: -0.8mm; margin-right: 2mm }
.choice { font-weight: bold; margin-right: 8mm }
.grid .choice { font-weight: normal; font-size: 8pt; display: block; margin: 0.6mm 0 }
footer { display: flex; gap: 4mm; font-size: 8pt; border-top: 0.3mm solid #999; padding-top: 2mm; align-items: center;
  background: #fff }
footer svg { width: 15mm; height: 15mm; flex: none }
@media screen { body { padding: 8mm } h2 { margin-top: 10mm }
  footer { position: sticky; bottom: 0; padding-bottom: 2mm } }
"""


def script_html(paper: ScriptPaper) -> bytes:
    """Write the script as one HTML file, in UTF-8.

    Its content stands in the one cell of a table, because browsers repeat a table's foot on every printed page: that
    is how the plan's digest and QR code come to each of them.
    """
    body = "\n".join(
        [*_cover(paper), *_people(paper), *_materials(paper), *_steps(paper), *_exceptions(), *_end(paper)]
    )
    title = escape(f"Ceremony script - {paper.plan.title}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<table>\n<tfoot><tr><td>{_foot(paper)}</td></tr></tfoot>\n"
        f"<tbody><tr><td>\n{body}\n</td></tr></tbody>\n</table>\n</body>\n</html>\n"
    ).encode()


def _foot(paper: ScriptPaper) -> str:
    words = paper.plan_words
    said = escape(f"{' '.join(words[:4])} … {' '.join(words[-4:])}")
    label = escape(f"Plan, SHA-256; {paper.plan.title}; {paper.tool}")
    digest = paper.plan.digest.hex()
    return f"<footer>{_qr(paper.qr_payload)}<div><small>{label}</small><br>{digest}<br>{said}</div></footer>"


def _qr(payload: str) -> str:
    matrix = qr_matrix(payload)
    path = "".join(
        f"M{column} {row}h{length}v1h-{length}z" for row, line in enumerate(matrix) for column, length in runs(line)
    )
    side = len(matrix)
    return f'<svg viewBox="0 0 {side} {side}" role="img" aria-label="{escape(payload)}"><path d="{path}"/></svg>'


def _cover(paper: ScriptPaper) -> Iterator[str]:
    plan = paper.plan
    yield f"<p class=label>Ceremony script</p><h1>{escape(plan.title)}</h1>"
    yield f"<p>{escape(plan.organization)}: {escape(paper.root_name)}</p>"
    yield f"<p><small>Tick exactly one:</small> {_choice('Practice')}{_choice('Production')}</p>"
    yield _blanks(("Date", "Place", "Begin (UTC)", "End (UTC)"))
    yield _blanks(("Copy number, and for whom", "Directory of the ceremony (DIR)", "Digest of the machine's medium"))
    yield f"<p><b>The plan, as digest words</b></p>{_words(plan.digest)}<p>{plan.digest.hex()}</p>"
    yield f"<p>Printed by {escape(paper.tool)}. The program on the machine must have the same version.</p>"
    acts = (f"{number} {section.title}: {len(section.steps)} steps" for number, section in paper.sections())
    yield f"<p><b>What is done</b><br>{'<br>'.join(escape(each) for each in acts)}</p>"
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in RULES)
    yield f"<p><b>How this script is used</b></p><ol>{rules}</ol>"


def _people(paper: ScriptPaper) -> Iterator[str]:
    lines = "".join(
        f"<tr><td>{escape(each.role)}</td><td>{escape(each.name)}</td><td class=tick></td><td></td></tr>"
        for each in paper.people()
    )
    yield f"<h2>Roles</h2>{_table(('Role', 'Name', 'Document', 'Initials, as written today'), lines)}"
    rule = escape(paper.plan.shares.describe())
    yield f"<p>Shares: {rule} together unlock the key. Fewer learn nothing about it.<br>"
    yield "A witness is neither administrator nor auditor. The box is ticked when a document was seen.</p>"


def _materials(paper: ScriptPaper) -> Iterator[str]:
    lines = "".join(
        f"<tr><td class=tick></td><td>{each.count}</td><td>{escape(each.name)}</td>"
        f"<td><small>{escape(each.number or 'no number')}</small></td></tr>"
        for each in paper.script.materials
    )
    yield f"<h2>Materials</h2>{_table(('', 'Count', 'What', 'Number'), lines)}"
    yield _lines("Further materials, with their numbers", 4)


def _steps(paper: ScriptPaper) -> Iterator[str]:
    for number, section in paper.sections():
        yield f"<h2>{number} {escape(section.title)}</h2>"
        for place, step in enumerate(section.steps, start=1):
            yield _step(paper, step, f"{number}.{place}")


def _step(paper: ScriptPaper, step: Step, number: str) -> str:
    parts = [
        f"<h3><span>{number}</span><span>{escape(step.name.heading)}</span><code>[{escape(step.name)}]</code></h3>"
    ]
    if step.commits:
        parts.append(f"<div class=commits>{escape(COMMITS)}</div>")
    facts = f"<dt>Who</dt><dd>{escape(paper.who(step))}</dd>"
    facts += f"<dt>Read aloud</dt><dd class=says>“{escape(step.says)}”</dd>" if step.says else ""
    facts += f"<dt>Type</dt><dd class=type>{escape(step.command)}</dd>" if step.command else ""
    parts.append(f"<dl>{facts}</dl><ul>{''.join(f'<li>{escape(each)}</li>' for each in step.does)}</ul>")
    parts += [_expected(each) for each in step.expects]
    parts += [_blanks(step.blanks)] if step.blanks else []
    parts.append(_blanks(initials(paper)))
    return f'<section class="step" id="{escape(step.id)}">{"".join(parts)}</section>'


def _expected(expected: Expected) -> str:
    if expected.digest is not None:
        label = f"Expected: the {expected.what}. Tick each line whose words were read aloud and are the same."
        return f"<p class=label>{escape(label)}</p>{_words(expected.digest)}"
    which = "all words" if expected.whole else "the first two and the last two words"
    numbers: Sequence[int] = range(1, 33) if expected.whole else (1, 2, 31, 32)
    places = "".join(f"<span>{number}</span>" for number in numbers)
    return f"<p class=label>{escape(f'Write down {which}: {expected.what}')}</p><div class=write>{places}</div>"


def _words(digest: bytes) -> str:
    spoken = digest_words(digest)
    lines = []
    for start in range(0, len(spoken), 8):
        cells = "".join(
            f"<td><sup>{start + at + 1}</sup>{word}</td>" for at, word in enumerate(spoken[start : start + 8])
        )
        lines.append(f"<tr class=ticks><th></th>{cells}</tr>")
    return f"<table class=words>{''.join(lines)}</table>"


def _blanks(labels: Sequence[str]) -> str:
    return f"<div class=blanks>{''.join(f'<span>{escape(label)}</span>' for label in labels)}</div>"


def _head(number: str, heading: str, name: str) -> str:
    return f"<h3><span>{number}</span><span>{escape(heading)}</span><code>[{escape(name)}]</code></h3>"


def _choice(option: str) -> str:
    return f"<span class=choice>{escape(option)}</span>"


def _table(columns: Sequence[str], lines: str) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return f"<table class=grid><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _lines(label: str, count: int) -> str:
    return f"<div class=lines><span class=label>{escape(label)}</span>{'<i></i>' * count}</div>"


def _exceptions() -> Iterator[str]:
    yield "<h2>Exceptions</h2>"
    for number in range(1, EXCEPTION_SHEETS + 1):
        yield (
            "<section class=step>"
            + _head(f"E{number}", f"Exception sheet {number}", "ceremony exception")
            + _blanks(("Step", "Time noticed (UTC)", "Noticed by"))
            + _lines("What was expected", 2)
            + _lines("What happened", 3)
            + _lines("What was decided, and why it is safe", 3)
            + _blanks(("Decided by", "Signature, administrator", "Signature, witness", "Signature, auditor"))
            + "</section>"
        )


def _end(paper: ScriptPaper) -> Iterator[str]:
    yield "<h2>Signatures</h2><p>My signature and my tick beside “agree” mean:</p>"
    yield f"<blockquote>“{escape(MEANING)}”</blockquote>"
    yield "<p>Whoever cannot say all of it ticks “do not agree”, writes why on an exception sheet, and signs.</p>"
    lines = "".join(
        f"<tr><td><small>{escape(each.role)}</small><br>{escape(each.name)}</td>"
        f"<td>{_choice('agree')}{_choice('do not agree')}</td><td></td><td></td></tr>"
        for each in paper.people()
    )
    yield _table(("Name and role", "", "Signature", "Date, time (UTC)"), lines)
