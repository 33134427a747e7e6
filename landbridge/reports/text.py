"""A report as Markdown and as LaTeX; pictures are linked where they have been written."""

from __future__ import annotations

import re
from functools import partial
from pathlib import PurePosixPath

from landbridge.reports.document import Block, Code, Document, Fold, Gallery, Heading
from landbridge.reports.tables import Table, as_latex, as_markdown, latex, markdown
from landbridge.reports.words import Strong

VERBATIM_END = r"\end{verbatim}"
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=18mm]{geometry}
\usepackage{amssymb,booktabs,graphicx,longtable}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\setlength{\tabcolsep}{4pt}
\small
"""


def as_markdown_text(document: Document, pictures: PurePosixPath | None = None) -> str:
    """GitHub's Markdown; ``pictures``: the folder of the SVG files as seen from the text."""
    block = partial(_markdown, pictures)
    facts = " · ".join(f"{markdown(name)}: {markdown(value)}" for name, value in document.facts)
    parts = [f"# {markdown(document.title)}", facts]
    for section in document.sections:
        parts += [f"## {markdown(section.title)}", *map(block, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_latex_text(document: Document, pictures: PurePosixPath | None = None) -> str:
    """A whole LaTeX file; ``pictures``: the folder of the PNG files as seen from it."""
    block = partial(_latex, pictures)
    parts = [
        PREAMBLE + rf"\title{{{latex(document.title)}}}\author{{}}\date{{}}",
        r"\begin{document}\maketitle",
    ]
    for section in document.sections:
        parts += [rf"\section{{{latex(section.title)}}}", *map(block, section.blocks)]
    return "\n\n".join(part for part in [*parts, r"\end{document}"] if part) + "\n"


def _markdown(pictures: PurePosixPath | None, block: Block) -> str:
    if isinstance(block, Table):
        return as_markdown(block)
    if isinstance(block, Gallery):
        links = [
            f"![{markdown(each.alt)}]({pictures / each.name}.svg)" for each in block.pictures if pictures
        ]
        return "\n\n".join([*links, markdown(block.note)]) if links else ""
    if isinstance(block, Fold):
        return "\n\n".join([f"### {markdown(block.title)}", *map(partial(_markdown, pictures), block.blocks)])
    if isinstance(block, Code):
        # a fence longer than any within
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", block.text)), 3)
        return f"{fence}\n{block.text}\n{fence}"
    if isinstance(block, Heading):
        return f"### {markdown(block.text)}"
    return "".join(_bold(words) if isinstance(words, Strong) else markdown(words) for words in block).strip()


def _bold(words: str) -> str:
    """Markdown wants the space outside the stars."""
    return f"**{markdown(words.rstrip())}**{' ' * words.endswith(' ')}"


def _latex(pictures: PurePosixPath | None, block: Block) -> str:
    if isinstance(block, Table):
        return as_latex(block)
    if isinstance(block, Gallery):
        shown = [_graphics(pictures / f"{each.name}.png", each.title) for each in block.pictures if pictures]
        return "\n\n".join([*shown, latex(block.note)]) if shown else ""
    if isinstance(block, Fold):
        inner = map(partial(_latex, pictures), block.blocks)
        return "\n\n".join([rf"\subsection*{{{latex(block.title)}}}", *inner])
    if isinstance(block, Code):
        code = block.text.replace(VERBATIM_END, VERBATIM_END.replace("{", " {"))  # it would end here
        return f"\\begin{{verbatim}}\n{code}\n{VERBATIM_END}"
    if isinstance(block, Heading):
        return rf"\subsection*{{{latex(block.text)}}}"
    return "".join(
        rf"\textbf{{{latex(words)}}}" if isinstance(words, Strong) else latex(words) for words in block
    )


def _graphics(path: PurePosixPath, title: str) -> str:
    return (
        "\\begin{figure}[htbp]\n\\centering\n"
        f"\\includegraphics[width=0.5\\linewidth]{{{path}}}\n\\caption{{{latex(title)}}}\n\\end{{figure}}"
    )
