"""Errors: three parts in every message, exit codes, built-in parents, and survival across processes."""

import copy
import pickle

import pytest

from usermodel import errors
from usermodel.errors import UserModelError, nearest, shorten

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UserModelError)
]

EXIT_CODES = {
    "UserModelError": 2,
    "DataError": 2,
    "ConfigError": 2,
    "MissingError": 2,
    "OutputExistsError": 2,
    "MismatchError": 2,
    "IntegrityError": 4,
    "StorageError": 5,
    "NumericError": 6,
    "InterruptedRunError": 7,
    "LostProcessError": 7,
}
PARENTS = {
    "DataError": ValueError,
    "ConfigError": ValueError,
    "MissingError": FileNotFoundError,
    "OutputExistsError": FileExistsError,
    "MismatchError": ValueError,
    "IntegrityError": ValueError,
    "StorageError": OSError,
    "NumericError": ArithmeticError,
    "InterruptedRunError": RuntimeError,
    "LostProcessError": RuntimeError,
}


def test_exit_codes_are_those_the_command_line_promises():
    assert {kind.__name__: kind.exit_code for kind in KINDS} == EXIT_CODES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_message_names_place_expectation_finding_and_mend(kind):
    error = kind("a.csv", expected="an id", found="nothing", do="Fill it.")
    assert str(error) == "a.csv: expected an id; found nothing. Fill it."
    assert isinstance(error, PARENTS.get(kind.__name__, Exception))


def test_a_quoted_sentence_brings_no_second_full_stop():
    error = errors.DataError("a", expected="b", found="Too bad.", do="Mend it.")
    assert str(error) == "a: expected b; found Too bad. Mend it."


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("clone", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_errors_cross_process_borders(kind, clone):
    error = kind("a.csv", expected="an id", found="nothing", do="Fill it.")
    again = clone(error)
    assert type(again) is kind
    assert (again.where, again.expected, again.found, again.do, str(again)) == (
        "a.csv",
        "an id",
        "nothing",
        "Fill it.",
        str(error),
    )


@pytest.mark.parametrize(
    ("word", "words", "sentence"),
    [
        ("dimm", ["dim", "heads"], "Did you mean 'dim'?"),
        ("UserID", ["USER_ID", "item_id"], "Did you mean 'USER_ID'?"),
        ("x", ["dim", "heads"], "Choose one of: dim, heads."),
        ("x", [], "There is none to choose from."),
        ("3", [0, 1], "Choose one of: 0, 1."),
    ],
)
def test_nearest_names_one_close_word_or_all(word, words, sentence):
    assert nearest(word, words) == sentence


def test_long_lists_are_cut():
    assert shorten(list(range(5)), most=3) == "0, 1, 2 and 2 more"
    assert shorten(["a", "b"], most=2) == "a, b"
    assert nearest("zzz", [f"column{i}" for i in range(100)]).endswith("and 80 more.")
