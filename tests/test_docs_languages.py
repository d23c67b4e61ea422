"""The documentation says the same in both languages: each page of ``docs`` has a Chinese one in ``docs/zh`` with the
same headings, tables, code and lists, that names the same fields and options and leads to the same places."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
DOCS, CHINESE = ROOT / "docs", ROOT / "docs" / "zh"
NAMES = sorted(path.name for path in DOCS.glob("*.md"))
PAIRS = [(ROOT / "README.md", ROOT / "README.zh-CN.md"), *((DOCS / name, CHINESE / name) for name in NAMES)]
PAGES = sorted({*(page for pair in PAIRS for page in pair), *DOCS.glob("*.md")})
MARKDOWN = MarkdownIt("commonmark").enable("table")
COMMENT = re.compile(r"(^|\s+)#\s.*$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
ENGLISH = re.compile(r"(?:\b[A-Za-z]+,? ){3}[A-Za-z]+")


@dataclass
class Section:
    """What one heading leads, until the next one."""

    skeleton: list[str] = field(default_factory=list)
    """Heading, tables, blocks of code and items of lists, in order."""
    code: set[str] = field(default_factory=set)
    """Names in the text: fields, options, values, commands."""
    links: set[str] = field(default_factory=set)
    prose: list[str] = field(default_factory=list)
    """Lines of text, without code."""


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(fence: Token) -> str:
    """A block of code without comments; of a tree or a drawing the first word of each line."""
    if fence.info in ("text", ""):
        return "\n".join(" ".join(line.split()[:1]) for line in fence.content.splitlines())
    return COMMENT.sub("", fence.content)


def table(tokens: list[Token]) -> str:
    """The code in the first cell of each row, and the number of its cells."""
    rows: list[list[Token]] = []
    for token, after in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(after)
    return "\n".join(f"{len(row)} {re.findall('`[^`]+`', row[0].content)}" for row in rows)


def target(page: Path, link: str) -> str:
    """What a link leads to, the same for both languages."""
    if link.startswith("http"):
        return link
    path, hash_, anchor = link.partition("#")
    found = (page.parent / path).resolve() if path else page
    name = found.relative_to(ROOT).as_posix().replace("docs/zh/", "docs/").replace(".zh-CN.", ".")
    return f"{name}{hash_}{anchor}"


def lines(inline: Token) -> list[str]:
    """The lines of a text without its code."""
    shown = [part for part in inline.children or () if part.type in ("text", "softbreak")]
    return "".join(part.content or "\n" for part in shown).splitlines()


def sections(page: Path) -> list[Section]:
    found = [Section()]
    tokens = MARKDOWN.parse(read(page))
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            found.append(Section([token.tag]))
        elif token.type == "table_open":
            end = next(n for n in range(place, len(tokens)) if tokens[n].type == "table_close")
            found[-1].skeleton.append(table(tokens[place:end]))
        elif token.type == "fence":
            found[-1].skeleton.append(commands(token))
        elif token.type == "list_item_open":
            found[-1].skeleton.append(token.info or token.markup)
        for part in token.children or ():
            if part.type == "code_inline":
                found[-1].code.add(part.content)
            elif part.type == "link_open":
                found[-1].links.add(target(page, str(part.attrGet("href"))))
        found[-1].prose += lines(token)
    return found


def slugs(page: Path) -> Iterator[str]:
    """The anchors that GitHub gives to the headings below the title."""
    tokens = MARKDOWN.parse(read(page))
    for token, after in pairwise(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            yield re.sub(r"[^\w\- ]", "", after.content.lower()).replace(" ", "-")


def anchors(page: Path) -> list[str]:
    """The anchors that links may lead to: of a Chinese page those that are set, of any other one its headings."""
    return ANCHOR.findall(read(page)) if page.parent == CHINESE else list(slugs(page))


def name(page: object) -> str:
    return page.relative_to(ROOT).as_posix() if isinstance(page, Path) else str(page)


def test_each_page_has_a_chinese_one_and_no_other_exists() -> None:
    assert sorted(path.name for path in CHINESE.glob("*.md")) == NAMES


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=name)
def test_both_languages_have_the_same_headings_tables_code_and_lists(english: Path, chinese: Path) -> None:
    assert [part.skeleton for part in sections(chinese)] == [part.skeleton for part in sections(english)]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=name)
def test_each_section_names_the_same_fields_and_options(english: Path, chinese: Path) -> None:
    for one, other in zip(sections(english), sections(chinese), strict=True):
        assert one.code == other.code, one.prose[0]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=name)
def test_each_section_leads_to_the_same_places(english: Path, chinese: Path) -> None:
    for one, other in zip(sections(english), sections(chinese), strict=True):
        assert one.links == other.links, one.prose[:1]


@pytest.mark.parametrize(("english", "chinese"), PAIRS[1:], ids=name)
def test_the_headings_of_a_chinese_page_have_the_anchors_of_the_english_one(english: Path, chinese: Path) -> None:
    written = [line for line in read(chinese).splitlines() if line]
    set_before = [ANCHOR.findall(before) for before, line in pairwise(written) if line[:2] == "##"]
    assert [slug for found in set_before for slug in found] == list(slugs(english))


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=name)
def test_a_chinese_page_has_no_english_sentence(english: Path, chinese: Path) -> None:
    for part in sections(chinese):
        for text in part.prose:
            assert not ENGLISH.search(text), text


@pytest.mark.parametrize("page", [chinese for _, chinese in PAIRS], ids=name)
def test_no_line_of_a_chinese_page_ends_within_a_clause(page: Path) -> None:
    """A reader would see the end of the line as a space between two characters."""
    for token in MARKDOWN.parse(read(page)):
        assert not re.search(r"[一-鿿]\n[一-鿿]", token.content), token.content


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_relative_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path, _, anchor = link.partition("#")
        if not path.startswith("http"):
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), link
            assert not anchor or anchor in anchors(file), link
