"""Names that a plot has no room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn.core.console import shortened, told_apart

TEXTS = st.text(alphabet=st.sampled_from("ab…12 \t\x00"), max_size=16) | st.text(max_size=40)


@given(st.lists(TEXTS, max_size=12), st.integers(6, 22))
def test_different_names_never_look_the_same(texts: list[str], length: int) -> None:
    short = told_apart(texts, length)
    assert len(set(short)) == len(set(texts))
    assert all(len(one) <= length for one in short)
    assert len(set(zip(texts, short, strict=True))) == len(set(texts))


@pytest.mark.parametrize(
    ("texts", "short"),
    [
        (["short", "a name that is far too long"], ["short", "a name that is far to…"]),
        (
            ["golden retriever of the north", "golden retriever of the south"],
            ["golden retr… the north", "golden retr… the south"],
        ),
        (
            [f"all-experiments-of-may-{which}-with-all-of-the-data" for which in "ab"],
            ["…-may-a-with-all-of-t…", "…-may-b-with-all-of-t…"],
        ),
        (["a" * 40, "a" * 41], ["a" * 19 + "… 1", "a" * 19 + "… 2"]),
        (["a\tb", "a b"], ["a b 1", "a b 2"]),
        (["b", "b", "c"], ["b", "b", "c"]),
    ],
)
def test_names_keep_what_tells_them_apart(texts: list[str], short: list[str]) -> None:
    assert told_apart(texts) == short


def test_a_name_alone_is_cut_at_its_end() -> None:
    assert told_apart(["x" * 30]) == [shortened("x" * 30)] == ["x" * 21 + "…"]
