"""The text of an API key: it can be read again, and nothing else passes for one."""

from hypothesis import given
from hypothesis import strategies as st

from convergence.model.key import assemble, parse_key

ids = st.binary(min_size=9, max_size=9)
secrets = st.binary(min_size=32, max_size=32)


@given(ids, secrets)
def test_a_made_key_reads_back_and_differs_by_its_bytes(id_bytes: bytes, secret: bytes) -> None:
    text = assemble("production", id_bytes=id_bytes, secret_bytes=secret)
    parsed = parse_key(text)
    assert parsed is not None
    assert text.startswith(f"cdp_live_{parsed.key_id}_{parsed.secret}_")
    assert (len(parsed.key_id), len(parsed.secret), len(text)) == (12, 43, 72)


@given(secrets, secrets)
def test_two_secrets_never_look_the_same(one: bytes, other: bytes) -> None:
    texts = {assemble("test", id_bytes=bytes(9), secret_bytes=each) for each in (one, other)}
    assert len(texts) == len({one, other})


@given(ids, secrets, st.integers(9, 71), st.sampled_from("0Aaz9_-\n"))
def test_one_wrong_character_is_noticed(
    id_bytes: bytes, secret: bytes, place: int, wrong: str
) -> None:
    text = assemble("development", id_bytes=id_bytes, secret_bytes=secret)
    changed = text[:place] + wrong + text[place + 1 :]
    assert (parse_key(changed) is None) == (changed != text)


@given(st.text())
def test_junk_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_ends_and_other_alphabets_are_no_key() -> None:
    text = assemble("staging", id_bytes=b"123456789", secret_bytes=bytes(32))
    assert text.startswith("cdp_test_")
    wrong = [f"{text}\n", f" {text}", text.upper(), text.replace("0", "\u0660"), f"{text}\0", ""]
    assert [parse_key(each) for each in wrong] == [None] * len(wrong)


def test_the_secret_is_not_in_the_repr() -> None:
    parsed = parse_key(assemble("test", id_bytes=bytes(9), secret_bytes=b"s" * 32))
    assert parsed is not None
    assert parsed.secret not in repr(parsed)
