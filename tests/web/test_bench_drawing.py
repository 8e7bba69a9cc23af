"""The benchmark's picture."""

from xml.etree.ElementTree import fromstring

from cli import values
from pgtandem.model.topology import Durability
from pgtandem.web.bench_drawing import MARK, bench_drawing

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_what_they_show_and_what_was_not_run_has_none() -> None:
    root = fromstring(bench_drawing("a <title>", "how", values.BENCH, Durability.ON))
    bars = [bar for bar in root.iter(f"{NAMESPACE}rect") if "bar" in (bar.get("class") or "")]
    lengths = [float(bar.get("width") or 0) for bar in bars]
    rates = [each.run.tps for each in values.BENCH if each.run]
    assert [round(length / lengths[0], 2) for length in lengths] == [round(rate / rates[0], 2) for rate in rates]
    assert [bar.get("class") for bar in bars].count("bar chosen") == 1
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert "a <title>" in texts
    loose = bench_drawing("t", "how", values.BENCH_ASYNCHRONOUS, Durability.ON)
    assert loose.count('class="bar"') == 2
    assert "the same as local" in loose


def test_the_mark_by_which_it_may_be_replaced_is_in_its_beginning() -> None:
    assert MARK in bench_drawing("t", "how", values.BENCH, Durability.ON)[:600]
