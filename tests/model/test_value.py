"""Values: what the standard dataclass would do, from fewer compiled methods."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from pgtandem.model.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and one that does not count."""

    left: str
    right: str = "r"
    remark: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Other:
    """As a Pair, and none."""

    left: str
    right: str = "r"


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing at all."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """One that shows itself in its own way."""

    text: str

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Counted:
    """Texts, and how many there are."""

    texts: list[str] = field(default_factory=list)
    count: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", len(self.texts))


def test_what_is_made_anew_is_never_shared_and_what_is_computed_follows() -> None:
    first, second = Counted(), Counted()
    first.texts.append("a")
    assert (second.texts, first.count, Counted(["a", "b"]).count) == ([], 0, 2)
    assert replace(second, texts=["c"]).count == 1


def test_missing_and_unknown_words_are_refused_as_by_any_function() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'left'"):
        Pair()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'middle'"):
        Pair("a", middle="m")  # type: ignore[call-arg]


def test_equal_fields_make_equal_values() -> None:
    assert Pair("a") == Pair("a", "r")
    assert Pair("a") != Pair("b")
    assert Pair("a") != Other("a")
    assert Empty() == Empty()


def test_a_field_that_is_not_compared_does_not_count() -> None:
    assert Pair("a", remark="x") == Pair("a", remark="y")
    assert len({Pair("a", remark="x"), Pair("a", remark="y"), Pair("b")}) == 2


def test_a_value_with_one_field_that_counts_is_no_other_value_of_the_same_content() -> None:
    assert Hidden("a") == Hidden("a")
    assert Hidden("a") != Hidden("b")
    assert len({Hidden("a"), Hidden("a"), Hidden("b")}) == 2


def test_it_is_shown_with_the_fields_that_are_to_be_shown_or_in_its_own_way() -> None:
    assert repr(Pair("a")) == "Pair(left='a', right='r')"
    assert repr(Empty()) == "Empty()"
    assert repr(Hidden("secret")) == "***"


def test_it_is_a_dataclass_that_can_be_replaced_and_has_no_other_attributes() -> None:
    pair = replace(Pair("a"), right="z")
    assert (pair.left, pair.right) == ("a", "z")
    assert is_dataclass(pair)
    assert [each.name for each in fields(pair)] == ["left", "right", "remark"]
    with pytest.raises((AttributeError, FrozenInstanceError)):
        pair.nothing = 1  # type: ignore[attr-defined]
