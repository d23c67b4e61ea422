"""The files of a report, and the language that it shows first. The server and the command line need no more of it."""

from typing import Literal

FILE = "report.html"
VALUES = "report.json"
PAGE_DATA = "page.json"
"""All that the page shows: ``report.html`` is drawn from it, and from ``model.json``."""
"""The names of the report in the folder of its model, and of the values of its figures."""
Language = Literal["zh", "en"]

ENGLISH, CHINESE = '<html lang="en">', '<html lang="zh">'
CHOICE = '<input type="radio" name="language" id="language-{}"{}>'
CHOICES = {
    "en": CHOICE.format("en", " checked") + CHOICE.format("zh", ""),
    "zh": CHOICE.format("en", "") + CHOICE.format("zh", " checked"),
}
"""The switch of the language by the language that is shown first; the page's style shows one language of the two."""


def in_language(page: bytes, language: Language) -> bytes:
    """The page of a report, which contains both languages, with this one shown first."""
    other: Language = "en" if language == "zh" else "zh"
    tags = {"en": ENGLISH, "zh": CHINESE}
    page = page.replace(tags[other].encode(), tags[language].encode(), 1)
    return page.replace(CHOICES[other].encode(), CHOICES[language].encode(), 1)
