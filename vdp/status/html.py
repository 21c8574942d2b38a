"""HTML and SVG elements: trees of xml.etree, which escapes whatever is put into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

from vdp.log import printable

Child: TypeAlias = "Element | str | Iterable[Child] | None"


def e(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element; `class_` is class, `stroke_width` is stroke-width; None leaves out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), _shown(str(value)))
    _put(made, children)
    return made


def _shown(text: str) -> str:
    """What would move a cursor, turn the text round or is no character, as escapes: names and errors may
    come from anywhere."""
    if text.isprintable():
        return text
    return "".join(each if each in "\n\t" else printable(each) for each in text)


def _put(into: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            into.append(child)
        elif isinstance(child, str):
            text = _shown(child)
            if len(into):
                into[-1].tail = (into[-1].tail or "") + text
            else:
                into.text = (into.text or "") + text
        else:
            _put(into, child)


def text_of(document: Element) -> str:
    """The document's text, doctype and all."""
    return "<!doctype html>\n" + tostring(document, encoding="unicode", method="html")
