"""Sets of labelled rows as rows of the CTR task: all their columns, and the parts that come with them."""

import numpy as np
import pytest

from usermodel.events.data_sets import read_data_set
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.heads.logistic_regression import LogisticRegressionConfig
from usermodel.store.build import build_store
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.row_columns import known_before
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.rows import RandomParts, label_rows
from usermodel.training.fit_rows import FitRowsConfig

FIT = FitRowsConfig(epochs=2, learning_rate=0.01)
SPLIT = Ctr().split


def stored(prepared, folder):
    return build_store(prepared.log, folder, labels=prepared.tables.labels)


def criteo(raw_folder, tmp_path, n=400):
    """Rows in Criteo's format, in which the third number and the first category tell the label."""
    rng, lines = np.random.default_rng(0), []
    for _ in range(n):
        label = int(rng.random() < 0.4)
        numbers = [str(int(rng.integers(-2, 3000))) if rng.random() < 0.8 else "" for _ in range(13)]
        numbers[2] = str(int(rng.integers(0, 60)) + 40 * label)
        text = [f"{rng.integers(0, 5):08x}" for _ in range(26)]
        text[0] = f"{int(rng.integers(0, 3)) + label:08x}"
        lines.append("\t".join([str(label), *numbers, *text]))
    return stored(
        read_data_set("criteo", raw_folder("criteo", {"train.txt": "\n".join(lines) + "\n"})), tmp_path / "s"
    )


def test_criteo_with_all_its_columns_and_parts_at_random(raw_folder, tmp_path):
    store = criteo(raw_folder, tmp_path)
    parts = RandomParts()
    rows, _ = label_rows(store, SPLIT, parts)
    assert [len(rows.of(part)) for part in ("train", "valid", "test")] == [320, 40, 40]
    names = known_before(store, rows)
    assert names == [*(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27))]
    features = tuple(f"bucket({name})" if name[0] == "I" else name for name in names)
    for kind in (features, tuple(names)):
        task = Ctr(model=DeepfmConfig(dim=4, hidden=(8,)), fit=FIT, label="value", parts=parts, features=kind)
        found = {one.metric: one for one in task.score(None, store)}
        assert found["auc"].n == 40
        assert found["auc"].value > 0.7
    shape = RowFeatures(tuple(names)).fit(store, rows).shape
    assert (len(shape.fields), len(shape.numbers)) == (26, 13)


def test_equal_seeds_draw_equal_parts_and_others_others():
    one, other = RandomParts(seed=3).draw(1000), RandomParts(seed=4).draw(1000)
    assert np.array_equal(one, RandomParts(seed=3).draw(1000))
    assert not np.array_equal(one, other)
    assert np.bincount(one).tolist() == [800, 100, 100]


@pytest.mark.parametrize("name", ["frappe", "movielens-tag"])
def test_parts_that_come_with_a_set(raw_folder, tmp_path, name):
    rng = np.random.default_rng(0)
    head = {"frappe": "label,user_id,item_id,daytime", "movielens-tag": "label,user_id,item_id,tag_id"}[name]
    files = {
        f"{part}.csv": head
        + "\n"
        + "".join(
            f"{rng.integers(0, 2)},{rng.integers(0, 9)},{rng.integers(0, 9)},{rng.integers(0, 3)}\n"
            for _ in range(n)
        )
        for part, n in (("train", 200), ("valid", 50), ("test", 40))
    }
    store = stored(read_data_set(name, raw_folder(name, files)), tmp_path / "s")
    rows, _ = label_rows(store, SPLIT, "part")
    # Items and users of negatives alone are in no event.
    assert len(rows.of("train")) > 150
    extra = [one for one in known_before(store, rows) if one != "part"]
    task = Ctr(
        model=LogisticRegressionConfig(),
        fit=FIT,
        label="value",
        parts="part",
        features=("user_id", "item_id", *extra),
    )
    assert 0 <= task.score(None, store)[0].value <= 1


def test_avazu_by_the_hour(raw_folder, samples, tmp_path):
    rng = np.random.default_rng(0)
    header = samples["avazu"]["train.csv.gz"].splitlines()[0]
    names = header.split(",")
    lines = [header]
    for number in range(400):
        row = dict.fromkeys(names, "1") | {
            "id": str(number),
            "click": str(int(rng.random() < 0.3)),
            "hour": f"1410{21 + number // 40}{number % 24:02d}",
            "device_ip": f"ip{rng.integers(0, 20)}",
            "C14": str(rng.integers(0, 9)),
            "site_id": f"s{rng.integers(0, 4)}",
        }
        lines.append(",".join(row[one] for one in names))
    prepared = read_data_set("avazu", raw_folder("avazu", {"train.csv.gz": "\n".join(lines) + "\n"}))
    store = stored(prepared, tmp_path / "s")
    task = Ctr(
        model=LogisticRegressionConfig(),
        fit=FIT,
        label="value",
        features=("user_id", "item_id", "site_id", "hour"),
    )
    rows, _ = task.rows(store)
    assert rows.time[rows.of("train")].max() < rows.time[rows.of("test")].min()
    assert {one.metric for one in task.score(None, store)} >= {"auc", "logloss"}
