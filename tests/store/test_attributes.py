"""Classes of users, from the users table or from a file."""

import labelled
import polars as pl
import pytest

from usermodel.errors import DataError, MissingError
from usermodel.store.attributes import read_attribute

IDS = [f"u{user:03d}" for user in range(30)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return labelled.make_store(tmp_path_factory.mktemp("attributes") / "store")


def table(values, dtype=None):
    return pl.DataFrame({"user_id": IDS, "x": pl.Series((values * 30)[:30], dtype=dtype)})


def test_the_users_table_of_the_store(store):
    found = read_attribute(store, "group")
    assert found.classes == ("cats", "dogs", "owls")
    wanted = {user: user % 3 for user in range(labelled.N_USERS) if user % 10 != 9}
    assert dict(zip(found.user.tolist(), found.code.tolist(), strict=True)) == wanted
    assert found.user.tolist() == sorted(found.user.tolist())
    assert found.n_strangers == 0


@pytest.mark.parametrize(
    ("values", "dtype", "classes"),
    [
        ([2, 10, -1], None, ("-1", "2", "10")),
        ([2.0, 10.0, None], None, ("2", "10")),
        ([2.0, 10.0, float("nan")], None, ("2", "10")),
        ([True, False, None], None, ("false", "true")),
        (["b", "a", ""], None, ("a", "b")),
        (["--5", "5", "-"], None, ("-", "--5", "5")),
        (["²", "2", "1"], None, ("1", "2", "²")),
        (["b", "a", "c"], pl.Categorical, ("a", "b", "c")),
    ],
)
def test_what_is_a_class(store, values, dtype, classes):
    found = read_attribute(store, "x", table(values, dtype))
    assert found.classes == classes
    assert len(found) == sum(str(value) in classes for value in found_names(found))


def found_names(found):
    return [found.classes[code] for code in found.code]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.5, 1.0], "found values of type Float64. Cut numbers into ranges"),
        ([1.0, float("inf")], "found values of type Float64"),
        ([[1], [2]], "found values of type List"),
        ([b"a", b"b"], "found values of type Binary"),
        ([None], "found 0 different values"),
        (["same"], "found 1 different values. Name another column"),
    ],
)
def test_what_is_none(store, values, words):
    with pytest.raises(DataError, match=words):
        read_attribute(store, "x", table(values))


def test_a_duration_is_no_class(store):
    with pytest.raises(DataError, match="Duration"):
        read_attribute(store, "x", table([1, 2]).with_columns(pl.col("x").cast(pl.Duration)))


def test_too_many_classes(store, monkeypatch):
    monkeypatch.setattr("usermodel.store.attributes.MOST_CLASSES", 29)
    with pytest.raises(DataError, match=r"2 to 29 classes; found 30 different values. Put values together"):
        read_attribute(store, "user", pl.DataFrame({"user_id": IDS, "user": IDS}))


def test_a_missing_column_names_the_nearest(store):
    with pytest.raises(DataError, match=r"a column 'grup'.*Did you mean 'group'"):
        read_attribute(store, "grup")
    with pytest.raises(DataError, match="no columns beside the ids"):
        read_attribute(store, "x", pl.DataFrame({"user_id": IDS}))
    with pytest.raises(DataError, match="a column 'user_id'"):
        read_attribute(store, "user_id")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_beside_the_store(store, tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    frame = pl.DataFrame({"user_id": ["u002", "stranger", "u000"], "x": ["b", "a", "a"]})
    frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    found = read_attribute(store, "x", path)
    assert (found.user.tolist(), found_names(found), found.n_strangers) == ([0, 2], ["a", "b"], 1)


def test_a_file_that_is_not_there_or_has_a_user_twice(store, tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_attribute(store, "x", tmp_path / "none.csv")
    twice = pl.DataFrame({"user_id": ["u001", "u001"], "x": ["a", "b"]})
    with pytest.raises(DataError, match="one row for each user_id; found several for 'u001'"):
        read_attribute(store, "x", twice)


def test_some_of_the_users(store):
    found = read_attribute(store, "group")
    some = found.take(found.code == 1)
    assert set(found_names(some)) == {"dogs"}
    assert some.classes == found.classes
