"""HTML and SVG as a tree, which the standard library writes: texts can only become text, never markup."""

from xml.etree.ElementTree import Element, tostring

Child = Element | str | None


def el(tag: str, attributes: dict[str, object] | None = None, *children: Child | list[Element]) -> Element:
    """An element. Attributes that are None are left out; a list is as good as its members one by one."""
    made = Element(tag, {key: _text(str(value)) for key, value in (attributes or {}).items() if value is not None})
    last: Element | None = None
    for child in children:
        for each in child if isinstance(child, list) else [child]:
            if each is None:
                continue
            if isinstance(each, str):
                if last is None:
                    made.text = (made.text or "") + _text(each)
                else:
                    last.tail = (last.tail or "") + _text(each)
            else:
                made.append(each)
                last = each
    return made


def document(root: Element) -> str:
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _text(text: str) -> str:
    """Without what no document may hold and what would move a reader's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
