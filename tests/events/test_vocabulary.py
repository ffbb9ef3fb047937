"""Vocabularies: byte-exact ids, indices that never move, prefixes that prove themselves."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError, IntegrityError, MismatchError
from usermodel.events.parquet import write_parquet
from usermodel.events.vocabulary import Vocabulary

TEXTS = st.lists(st.text(max_size=6), max_size=12)
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=12)
#: Ids that careless readers merge, drop or normalise.
AWKWARD = [
    "007", "7", "7.0", "+7", "NA", "null", "nan", "None", "N/A", "-", "é", "e\u0301", "a\x00", "a", " a", "\u200ba", "İ", "i̇", "💡", "\u2028",
]  # fmt: skip


def texts(values):
    return pl.Series("x", values, dtype=pl.String)


def integers(values):
    return pl.Series("x", values, dtype=pl.Int64)


@pytest.mark.parametrize(("ids", "make"), [(TEXTS, texts), (INTEGERS, integers)], ids=["text", "integers"])
def test_ids_are_coded_from_1_in_order_and_decoded_back(ids, make):
    @given(ids, ids)
    def check(values, others):
        vocabulary = Vocabulary.build(make(values))
        known = sorted(set(values))
        assert vocabulary.ids.to_list() == known
        assert (len(vocabulary), vocabulary.size) == (len(known), len(known) + 1)
        index = {one: number for number, one in enumerate(known, start=1)}
        coded = vocabulary.encode(make(others + values))
        assert coded.dtype == np.int32
        assert coded.tolist() == [index.get(one, 0) for one in others + values]
        assert vocabulary.decode(vocabulary.encode(make(values))).to_list() == values

    check()


@pytest.mark.parametrize(("ids", "make"), [(TEXTS, texts), (INTEGERS, integers)], ids=["text", "integers"])
def test_appending_keeps_indices_and_the_prefix_proves_it(ids, make):
    @given(ids, ids, ids)
    def check(old, new, newer):
        first = Vocabulary.build(make(old))
        second = first.extend(make(new))
        third = second.extend(make(newer))
        assert second.ids.to_list() == first.ids.to_list() + sorted(set(new) - set(old))
        assert third.encode(make(old + new)).tolist() == second.encode(make(old + new)).tolist()
        assert third.prefix_hash(len(first)) == first.hash
        assert third.prefix_hash(len(second)) == second.hash
        assert first.is_extended_by(second)
        assert first.is_extended_by(third)
        assert second.is_extended_by(first) == (len(second) == len(first))

    check()


@pytest.mark.parametrize(("ids", "make"), [(TEXTS, texts), (INTEGERS, integers)], ids=["text", "integers"])
def test_fitting_is_building_and_encoding(ids, make):
    @given(ids)
    def check(values):
        vocabulary, codes = Vocabulary.fit(make(values))
        assert vocabulary.ids.equals(Vocabulary.build(make(values)).ids, check_dtypes=True)
        assert (codes + 1).tolist() == vocabulary.encode(make(values)).tolist()
        assert codes.dtype == np.int32

    check()


@given(TEXTS, TEXTS)
def test_categories_are_text(values, others):
    plain, coded = texts(values), texts(values).cast(pl.Categorical(pl.Categories.random()))
    vocabulary = Vocabulary.build(coded)
    assert vocabulary.ids.equals(Vocabulary.build(plain).ids, check_dtypes=True)
    assert vocabulary.hash == Vocabulary.fit(coded)[0].hash == Vocabulary.build(plain).hash
    mixed = texts([*others, None, *values])
    assert vocabulary.encode(mixed.cast(pl.Categorical)).tolist() == vocabulary.encode(mixed).tolist()
    assert vocabulary.extend(texts(others).cast(pl.Categorical)).hash == vocabulary.extend(texts(others)).hash


def test_categories_are_no_integers():
    with pytest.raises(DataError, match="expected Int64 values; found Categorical values"):
        Vocabulary.build(integers([7])).encode(texts(["7"]).cast(pl.Categorical))


@given(st.permutations(AWKWARD))
def test_awkward_ids_are_all_different_and_keep_their_bytes(values):
    vocabulary = Vocabulary.build(texts(values))
    assert len(vocabulary) == len(AWKWARD)
    assert [one.encode() for one in vocabulary.ids] == sorted(one.encode() for one in AWKWARD)
    assert sorted(vocabulary.encode(texts(AWKWARD)).tolist()) == list(range(1, len(AWKWARD) + 1))


def test_integers_that_floats_cannot_tell_apart():
    vocabulary = Vocabulary.build(integers([2**53, 2**53 + 1, -1, 2**63 - 1]))
    assert vocabulary.kind == "int"
    assert vocabulary.encode(integers([2**53 + 1, 2**53, 2**63 - 1, -1])).tolist() == [3, 2, 4, 1]


@given(TEXTS, TEXTS)
def test_the_hash_is_equal_for_equal_ids_only(one, other):
    first, second = Vocabulary.build(texts(one)), Vocabulary.build(texts(other))
    assert (first.hash == second.hash) == (set(one) == set(other))


def test_the_hash_knows_where_an_id_ends_and_of_what_type_it_is():
    pairs = [(["ab", "c"], ["a", "bc"]), (["", "ab"], ["a", "b"]), ([], [""])]
    for one, other in pairs:
        assert Vocabulary(texts(one)).hash != Vocabulary(texts(other)).hash
    assert Vocabulary(texts([])).hash != Vocabulary(integers([])).hash
    assert Vocabulary(texts(["1"])).hash != Vocabulary(integers([1])).hash


def test_the_hash_does_not_depend_on_how_memory_is_cut():
    whole = texts(["x", "long enough to be stored elsewhere", "y", "z"])
    pieces = pl.concat([texts(["?"]), whole], rechunk=False)[1:]
    chunks = pl.concat([whole[:2], whole[2:]], rechunk=False)
    assert Vocabulary(pieces).hash == Vocabulary(chunks).hash == Vocabulary(whole).hash


def test_the_hash_is_frozen():
    """A saved encoder must find its vocabulary again in later versions."""
    assert (
        Vocabulary(texts(["a", "ü"])).hash
        == "ee80c083b6069708b717cc3f26799ca592a6625b89c8bf5f9b8a79fd7649b903"
    )
    assert (
        Vocabulary(integers([1, 2])).hash
        == "6268e0659c169acc3a179dc51b398478142369b0cc2605f8b0210eb5f62ef0dc"
    )


def test_another_vocabulary_is_an_error_that_names_both():
    ours, theirs = Vocabulary.build(texts(["a", "b"])), Vocabulary.build(texts(["a", "c", "d"]))
    ours.require_extended_by(ours.extend(texts(["z"])), "the run", "the store")
    with pytest.raises(MismatchError) as caught:
        ours.require_extended_by(theirs, "the run", "the store")
    assert str(caught.value) == (
        f"the store: expected a vocabulary that starts with the 2 ids of the run ({ours.hash[:12]}); "
        f"found 3 other ids ({theirs.hash[:12]}). Build the store from the same vocabulary, or pretrain on this store."
    )
    assert not ours.is_extended_by(Vocabulary(integers([1, 2, 3])))
    numbers, shorter = Vocabulary(integers([1, 2, 3])), Vocabulary.build(texts(["a"]))
    for theirs, found in ((numbers, "3 other int ids"), (shorter, "only the first 1 of them")):
        with pytest.raises(MismatchError) as caught:
            ours.require_extended_by(theirs, "the run", "the store")
        assert caught.value.found == f"{found} ({theirs.hash[:12]})"


def test_ids_that_a_caller_lists():
    words, numbers = Vocabulary.build(texts(["a"])), Vocabulary(integers([1]))
    assert words.ids_of(iter(["z", "a"])).to_list() == ["z", "a"]
    assert numbers.ids_of([]).dtype == pl.Int64
    for vocabulary, values, found in (
        (words, "a", "'a' of type str"),
        (words, ["a", 1], "1 of type int"),
        (numbers, ["1"], "'1' of type str"),
    ):
        with pytest.raises(DataError, match=f"users: expected a list of .* ids; found {found}"):
            vocabulary.ids_of(values)


def test_an_empty_id_is_unknown_and_cannot_be_added():
    vocabulary = Vocabulary.build(texts(["a"]))
    assert vocabulary.encode(texts([None, "a"])).tolist() == [0, 1]
    for attempt in (Vocabulary.build, Vocabulary.fit, vocabulary.extend):
        with pytest.raises(DataError, match="ids: expected text or 64-bit integers; found 2 empty ones"):
            attempt(texts(["x", None, None]))


@pytest.mark.parametrize("values", [pl.Series([1.0]), pl.Series([True]), pl.Series([1], dtype=pl.Int32)])
def test_other_types_of_ids_are_refused(values):
    with pytest.raises(DataError, match=f"expected text or 64-bit integers; found {values.dtype} values"):
        Vocabulary.build(values)


def test_ids_of_the_other_type_are_refused_not_converted():
    with pytest.raises(
        DataError, match=r"ids: expected String values; found Int64 values\. Convert the ids to String"
    ):
        Vocabulary.build(texts(["7"])).encode(integers([7]))
    with pytest.raises(DataError, match="expected Int64 values; found String values"):
        Vocabulary.build(integers([7])).extend(texts(["7"]))


def test_padding_and_unknown_indices_have_no_id():
    vocabulary = Vocabulary.build(texts(["a", "b"]))
    assert vocabulary.decode(np.array([2, 1, 1])).to_list() == ["b", "a", "a"]
    assert vocabulary.decode(np.array([], dtype=np.int64)).to_list() == []
    for wrong, found in [([0, 1], "0 to 1"), ([1, 3], "1 to 3"), ([-1], "-1 to -1")]:
        with pytest.raises(DataError, match=f"index: expected 1 to 2; found {found}. Padding has no id."):
            vocabulary.decode(np.array(wrong))


@pytest.mark.parametrize(("ids", "make"), [(TEXTS, texts), (INTEGERS, integers)], ids=["text", "integers"])
def test_a_file_keeps_every_byte(tmp_path_factory, ids, make):
    path = tmp_path_factory.mktemp("vocabulary") / "v.parquet"

    @given(ids)
    def check(values):
        vocabulary = Vocabulary.build(make(values))
        vocabulary.save(path)
        again = Vocabulary.load(path)
        assert again.ids.to_list() == vocabulary.ids.to_list()
        assert (again.kind, again.hash) == (vocabulary.kind, vocabulary.hash)

    check()


def test_awkward_ids_survive_a_file(tmp_path):
    Vocabulary.build(texts(AWKWARD)).save(tmp_path / "v.parquet")
    assert set(Vocabulary.load(tmp_path / "v.parquet").ids) == set(AWKWARD)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"other": ["a"]}), "expected one column of ids"),
        (pl.DataFrame({"id": ["a"], "more": ["b"]}), "expected one column of ids"),
        (pl.DataFrame({"id": [1.5]}), "expected one column of ids"),
        (pl.DataFrame({"id": ["a", "a"]}), "expected unique ids; found repeated or empty ones"),
        (pl.DataFrame({"id": ["a", None]}), "expected unique ids; found repeated or empty ones"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, frame, message):
    write_parquet(frame, tmp_path / "v.parquet")
    with pytest.raises(IntegrityError, match=message):
        Vocabulary.load(tmp_path / "v.parquet")


def test_every_flipped_bit_of_the_ids_is_found(tmp_path):
    path = tmp_path / "v.parquet"
    vocabulary = Vocabulary.build(texts([f"item-{n}" for n in range(200)]))
    vocabulary.save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    silent = 0
    for place in rng.integers(0, len(good), 150):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            silent += Vocabulary.load(path).hash != vocabulary.hash
        except IntegrityError:
            continue
    assert silent == 0
