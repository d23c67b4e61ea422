"""One figure as inline SVG: Matplotlib draws it, and what it wrote is made part of the page.

Matplotlib never sees a text from outside. It gets short marks, which are replaced by the texts afterwards, in both
languages: so no text is parsed as a formula, no font has to have its characters, and escaping is that of the XML
library. Likewise colours are stand-ins for the variables of the page's style, which depend on light and dark.
"""

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from epochd.report.texts import Both, fitting, number

WIDTH, HEIGHT = 400.0, 240.0
"""The size of a figure in points, which are the units of the SVG."""
LABEL = 12.0
"""The distance of the vertical axis' title from the left edge, in points: its middle, or the top of its letters."""
INK, GRID = "#000001", "#000002"
COLOURS = ("#000011", "#000012", "#000013", "#000014", "#000015")
"""Stand-ins for the colours of lines, in the order of their use."""
VARIABLES = {INK: "var(--muted)", GRID: "var(--line)"} | {c: f"var(--c{i})" for i, c in enumerate(COLOURS, 1)}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 2)))
"""Lines differ in their dashes, too, for readers and printers without colours."""
RULES: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "grid.color": GRID,
}
METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
MARK = re.compile(r"@(\d+)@")
DECIMALS = re.compile(r"(\d+\.\d\d)\d+")
COLOUR = re.compile("|".join(VARIABLES))


class Canvas:
    """One figure with the given ``name``, which is unique on the page. Use it in a ``with`` block, whose rules for
    colours and fonts apply to what is drawn."""

    def __init__(self, name: str, width: float = WIDTH, height: float = HEIGHT) -> None:
        self.name = name
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), facecolor="none", edgecolor="none")
        self._texts: list[Both] = []
        self._rules = rc_context(RULES | {"svg.hashsalt": name})  # type: ignore[arg-type]

    def __enter__(self) -> "Canvas":
        self._rules.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._rules.__exit__(*problem)

    def axes(self, left: float = 62, bottom: float = 40, right: float = 14, top: float = 12) -> Axes:
        """Axes with these margins, in points."""
        width, height = self.width - left - right, self.height - top - bottom
        axes = self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))
        axes.tick_params(length=0)
        axes.yaxis.set_label_coords(-(left - LABEL) / width, 0.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        return axes

    def plot(self, x: Both, y: Both | None, left: float = 62, right: float = 14) -> Axes:
        """Axes with a horizontal grid and these titles."""
        axes = self.axes(left, right=right)
        axes.grid(axis="y", linewidth=0.6)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(self.text(x))
        if y is not None:
            axes.set_ylabel(self.text(y))
        return axes

    def text(self, both: Both) -> str:
        """The mark that stands for a text."""
        self._texts.append(both)
        return f"@{len(self._texts) - 1}@"

    def labels(self, names: Sequence[str], most: int) -> list[str]:
        """Marks for texts from outside, each cut to ``most`` columns of a terminal."""
        return [self.text(Both(cut, cut)) for cut in (fitting(name, most) for name in names)]

    def svg(self, title: Both, description: Both) -> Markup:
        """The figure as an ``svg`` element; the two texts are for screen readers."""
        buffer = StringIO()
        FigureCanvasSVG(self.figure).print_svg(buffer, metadata=METADATA)  # type: ignore[no-untyped-call]
        root = ElementTree.fromstring(buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2])
        for child in root.findall(f"{SVG}metadata"):
            root.remove(child)
        for element in root.iter():
            self._clean(element)
        names = f"{self.name}-title", f"{self.name}-text"
        attributes = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": " ".join(names)}
        root.attrib.clear()
        root.attrib.update(attributes)
        for position, (tag, name, both) in enumerate(zip(("title", "desc"), names, (title, description), strict=True)):
            element = ElementTree.Element(tag, {"id": name})
            element.text = both.joined
            root.insert(position, element)
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    def _clean(self, element: ElementTree.Element) -> None:
        """Use short names, variables for colours, and the texts for their marks."""
        element.tag = element.tag.removeprefix(SVG)
        element.tail = None
        if element.tag not in ("text", "tspan", "style"):
            element.text = None
        attributes = element.attrib
        if element.tag in ("g", "text", "image"):  # unique in a figure, but not on the page
            attributes.pop("id", None)
        if LINK in attributes:
            attributes["href"] = attributes.pop(LINK)
        if "style" in attributes:
            attributes["style"] = COLOUR.sub(lambda found: VARIABLES[found[0]], attributes["style"])
        for name in ("d", "x", "y", "transform", "points"):
            if name in attributes:
                attributes[name] = DECIMALS.sub(r"\1", attributes[name].replace("\n", ""))
        if element.tag == "text":
            self._set_text(element)

    def _set_text(self, element: ElementTree.Element) -> None:
        """Numbers stay; a mark becomes its text. The font is that of the page."""
        style = [rule for rule in element.attrib.get("style", "").split(";") if "font-family" not in rule]
        element.attrib["style"] = ";".join(style)
        if (mark := MARK.fullmatch(element.text or "")) is None:
            return
        both = self._texts[int(mark[1])]
        if both.en == both.zh:
            element.text = both.en
            return
        element.text = None
        for language in ("en", "zh"):
            part = ElementTree.SubElement(element, "tspan", {"lang": language})
            part.text = getattr(both, language)
