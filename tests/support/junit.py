"""What readers of JUnit's XML take: there is no standard, and the schema of Jenkins' plugin is the strictest of those
that are in use. Which elements may be where, and which attributes they may and must have."""

from xml.etree.ElementTree import Element

_COUNTS = ("tests", "failures", "errors", "time")
#: Element: what may be in it, its attributes, those that must be.
_ELEMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "testsuites": (("testsuite",), ("name", "disabled", *_COUNTS), ()),
    "testsuite": (
        ("properties", "testcase", "system-out", "system-err"),
        ("name", "skipped", "disabled", "timestamp", "hostname", "id", "package", *_COUNTS),
        ("name", "tests"),
    ),
    "testcase": (
        ("skipped", "error", "failure", "system-out", "system-err"),
        ("name", "classname", "time", "status", "assertions"),
        ("name", "classname"),
    ),
    "failure": ((), ("message", "type"), ()),
    "error": ((), ("message", "type"), ()),
    "skipped": ((), ("message", "type"), ()),
    "system-out": ((), (), ()),
    "system-err": ((), (), ()),
}


def check_junit(top: Element) -> None:
    """Fails with what a reader would not take."""
    assert top.tag == "testsuites"
    _element(top)
    for suite in top:
        cases = suite.findall("testcase")
        for name, count in (
            ("tests", len(cases)),
            ("failures", len(suite.findall("testcase/failure"))),
            ("errors", len(suite.findall("testcase/error"))),
            ("skipped", len(suite.findall("testcase/skipped"))),
        ):
            assert int(suite.attrib[name]) == count, f"{name} of {suite.attrib['name']}"


def _element(element: Element) -> None:
    inside, attributes, needed = _ELEMENTS[element.tag]
    assert set(element.attrib) <= set(attributes), f"{element.tag} has {set(element.attrib) - set(attributes)}"
    assert set(needed) <= set(element.attrib), f"{element.tag} lacks {set(needed) - set(element.attrib)}"
    for name in ("tests", "failures", "errors", "skipped", "disabled"):
        assert element.attrib.get(name, "0").isdigit()
    float(element.attrib.get("time", "0"))
    for each in element:
        assert each.tag in inside, f"{each.tag} in {element.tag}"
        _element(each)
