"""Which known names a name that is not known resembles: what every hint of the kind "did you mean …?" asks."""

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.6
"""How much of two names is the same, from 0 to 1, if one may be meant by the other; as ``difflib`` measures it."""


def nearest(name: str, known: Iterable[str], most: int) -> list[str]:
    """Up to ``most`` known names that resemble this one, whatever their case, the most similar first; only those that
    differ in nothing but case, if there are any."""
    folded: dict[str, list[str]] = {}
    for one in known:
        folded.setdefault(one.casefold(), []).append(one)
    same = folded.get(name.casefold())
    close = [] if same else get_close_matches(name.casefold(), list(folded), n=most, cutoff=ALIKE)
    return (same or [one for fold in close for one in folded[fold]])[:most]
