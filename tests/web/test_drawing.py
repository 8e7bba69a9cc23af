"""The drawing of a cluster: what fits in a box."""

import pytest

from pgtandem.web.drawing import shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/postgres/archive", "/srv/postgres/archive"),
        ("/tmp/wommmogwvw81c2/archives", "/tmp/wommmogwvw81c2/archiv…"),
        ("i" * 48, "i" * 48),
        ("m" * 24, "m" * 17 + "…"),
    ],
)
def test_wide_letters_are_cut_sooner_than_narrow_ones(text: str, shown: str) -> None:
    assert shortened(text, 34) == shown
