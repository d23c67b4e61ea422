"""Which encoding a text is in that is not UTF-8: strict decoding, then how plausible the decoded text is.

Many bytes are valid in several encodings: nearly every text in GBK can be decoded as Big5, and every one as CP1252.
The standards for Chinese, Japanese and Korean put common characters into one range and rare ones into another, so a
text that is decoded with the wrong one consists of rare characters; in a Western or Cyrillic text, letters outside
ASCII stand in words with others of their kind. Where that does not decide, charset-normalizer does, and what else fits
is reported.
"""

import codecs
import re
from collections import Counter
from dataclasses import dataclass
from typing import get_args

from charset_normalizer import from_bytes

from epochd.core.columns import Encoding

CODECS: dict[Encoding, tuple[str, ...]] = {
    **{name: (name,) for name in get_args(Encoding)},
    "gbk": ("gb18030",),
    "big5": ("cp950", "big5hkscs"),
    "shift_jis": ("cp932",),
    "euc-kr": ("cp949",),
}
"""Python's names of an encoding, with the extensions that Windows and its programs write; they are tried in turn."""
LABELS: dict[Encoding, str] = {"shift_jis": "Shift-JIS", "big5": "Big5", "latin-1": "Latin-1"}
DETECTED: tuple[Encoding, ...] = ("gb18030", "big5", "shift_jis", "euc-kr", "cp1252", "cp1251", "cp1250")
"""Encodings that can be detected; of several that fit equally well, the first."""
LEAST_PLAUSIBLE = 0.5
TIE, AMBIGUOUS = 0.02, 0.15
"""Differences of plausibility: up to the first, charset-normalizer decides; up to the second, the other is reported."""
HANGUL = (*range(0xB0, 0xC9), 0xA1, 0xA3)
"""The lead bytes of Hangul and signs in EUC-KR. In GBK about half of the common characters have them."""
DISTINCT = 10
"""Different letters outside ASCII from which on charset-normalizer is asked: statistics of fewer say nothing."""
ISOLATED = 0.2
"""By how much less plausible an East Asian encoding is where no two bytes outside ASCII are adjacent."""
WORD = re.compile(r"[^\W\d_]+")
CYRILLIC = ("абвгдежзийклмнопрстуфхцчшщъыьэюяё", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюяўё")
WESTERN = ("àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúü", "áâãàçéêíóôõú", "àèéìíîòóù", "åäöæøéü", "áðéíóúýþæö", "ëïéèöü")
CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "äöüß")
ALPHABETS: dict[Encoding, tuple[str, ...]] = {"cp1252": WESTERN, "cp1251": CYRILLIC, "cp1250": CENTRAL}
"""Letters outside ASCII, by language."""
SIGNS = set("€£¥§°©®«»–—‘’“”„…²³µ½¼¾ªº¡¿·×±№\xa0•‰™")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An encoding that decodes a sample, by Python's name ``codec``. ``alternatives`` fit nearly as well."""

    encoding: Encoding
    codec: str
    text: str
    plausibility: float
    alternatives: tuple[Encoding, ...] = ()


def label(encoding: Encoding) -> str:
    """The name of an encoding in messages."""
    return LABELS.get(encoding, encoding.upper())


def named(charset: str) -> Encoding | None:
    """The encoding that a charset of HTTP means, which has many names; None if it cannot be read."""
    try:
        name = codecs.lookup(charset.strip().strip("\"'")).name
    except LookupError:
        return None
    if name == "iso8859-1":  # which browsers take for CP1252
        return "cp1252"
    if name in ("utf-8", "ascii", "utf-8-sig"):
        return "utf-8"
    if name in ("gbk", "gb2312"):
        return "gbk"
    others: dict[str, Encoding] = {"utf-16-le": "utf-16", "utf-16-be": "utf-16", "euc_kr": "euc-kr"}
    by_codec = {codec: encoding for encoding, found in CODECS.items() for codec in (encoding, *found)}
    return others.get(name) or by_codec.get(name)


def is_broken_utf8(sample: bytes) -> bool:
    """Whether most of the lines outside ASCII are UTF-8, so that the sample is in UTF-8 with an error."""
    lines = [line for line in sample.split(b"\n") if not line.isascii()]
    return sum(decoded(line, "utf-8") is not None for line in lines) * 2 > len(lines)


def candidates(sample: bytes) -> list[Candidate]:
    """The encodings that a sample, which is whole lines, can be in, the most plausible first."""
    found = []
    is_isolated = not re.search(rb"[\x80-\xff]{2}", sample)
    for encoding in DETECTED:
        texts = ((codec, decoded(sample, codec)) for codec in CODECS[encoding])
        for codec, text in [(codec, text) for codec, text in texts if text is not None][:1]:
            unlikely = ISOLATED if is_isolated and encoding not in ALPHABETS else 0.0
            found.append(Candidate(encoding, codec, text, plausibility(text, encoding) - unlikely))
    found = [one for one in found if one.plausibility >= LEAST_PLAUSIBLE]
    best = max((one.plausibility for one in found), default=0.0)
    tied = [one for one in found if one.plausibility > best - TIE]
    preferred = _preferred(sample, tied) if len(tied) > 1 else tied
    ordered = preferred + sorted((one for one in found if one not in tied), key=lambda one: -one.plausibility)
    return [_with_alternatives(one, ordered[place + 1 :]) for place, one in enumerate(ordered)]


def decoded(content: bytes, codec: str) -> str | None:
    try:
        return content.decode(codec)
    except UnicodeDecodeError:
        return None


def plausibility(text: str, encoding: Encoding) -> float:
    """How common the characters of a text outside ASCII are, from 0 to 1, if the text was written in this encoding."""
    if encoding in ALPHABETS:
        return _plausibility_of_words(text, encoding)
    counts = Counter(char for char in text if not char.isascii())
    return sum(_commonness(char, encoding) * count for char, count in counts.items()) / max(1, counts.total())


def _commonness(char: str, encoding: Encoding) -> float:
    """How common a character is in texts of an East Asian encoding, by its place in the standard."""
    codec = "gb2312" if encoding == "gb18030" else CODECS[encoding][0]
    try:
        code = char.encode(codec)
    except UnicodeEncodeError:
        if encoding == "gb18030" and char in SIGNS:  # four bytes, which hardly anything else has by chance
            return 0.8
        return 0.2 if char in "€￥·—" else 0.0
    lead = code[0]
    match encoding:
        case "gb18030":  # GB 2312: hanzi of level 1 from row 16, of level 2 from row 56
            return 1.0 if 0xB0 <= lead <= 0xD7 or lead in (0xA1, 0xA3) else 0.6 if 0xD8 <= lead <= 0xF7 else 0.1
        case "big5":
            return 1.0 if lead <= 0xC6 else 0.5
        case "euc-kr":  # KS X 1001: Hangul, then hanja
            return 1.0 if lead in HANGUL and code[1] >= 0xA1 else 0.2
        case _:  # JIS X 0208: signs and kana, kanji of level 1, then of level 2; half-width katakana have one byte
            return 0.55 if len(code) == 1 else 1.0 if lead in range(0x81, 0x84) or 0x88 <= lead <= 0x98 else 0.4


def _plausibility_of_words(text: str, encoding: Encoding) -> float:
    """As ``plausibility``, for letters: in Cyrillic words all are outside ASCII, in Latin words only some are."""
    weights = [0.9 if char in SIGNS else 0.0 for char in text if not (char.isascii() or char.isalpha())]
    for word in WORD.findall(text):
        foreign = [char for char in word.lower() if not char.isascii()]
        is_cased = word.islower() or word.isupper() or word[1:].islower()
        if encoding == "cp1251":
            fits = len(foreign) == len(word) and (1.0 if len(word) > 2 else 0.7)
        else:
            share = len(foreign) / len(word)
            fits = 1.0 if share < 0.5 else 0.8 if share < 1 else 0.7 if len(word) <= 2 else 0.0
        weights += [fits if is_cased else fits * 0.3] * len(foreign)
    letters = [char for char in text.lower() if char.isalpha() and not char.isascii()]
    known = max(sum(char in alphabet for char in letters) for alphabet in ALPHABETS[encoding]) / max(1, len(letters))
    in_any = sum(char in "".join(ALPHABETS[encoding]) for char in letters) / max(1, len(letters))
    return sum(weights) / max(1, len(weights)) * (0.9 * in_any + 0.1 * known if letters else 1.0)


def _preferred(sample: bytes, tied: list[Candidate]) -> list[Candidate]:
    """Encodings that fit equally well, in the order of charset-normalizer; of few characters, in that of DETECTED."""
    if len({char for char in tied[0].text if char.isalpha() and not char.isascii()}) < DISTINCT:
        return tied
    ranked = [match.encoding for match in from_bytes(sample, cp_isolation=[one.codec for one in tied])]
    return sorted(tied, key=lambda one: ranked.index(one.codec) if one.codec in ranked else len(ranked))


def _with_alternatives(chosen: Candidate, others: list[Candidate]) -> Candidate:
    near = [one for one in others if chosen.plausibility - one.plausibility <= AMBIGUOUS and one.text != chosen.text]
    return Candidate(chosen.encoding, chosen.codec, chosen.text, chosen.plausibility, tuple(o.encoding for o in near))
