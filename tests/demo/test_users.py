"""Who a token stands for."""

from hypothesis import given
from hypothesis import strategies as st

from balancer.demo.users import NAMES, User, token_of


def test_known_users_have_names():
    assert [User.of(token_of(name)).name for name in NAMES] == list(NAMES)


@given(st.text(alphabet=st.characters(max_codepoint=255)), st.text(alphabet=st.characters(max_codepoint=255)))
def test_a_digest_stands_for_one_token(one, other):
    assert (User.of(one).digest == User.of(other).digest) == (one == other)
    assert User.of(one).name.startswith("user-")
