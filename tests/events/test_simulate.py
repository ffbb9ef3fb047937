"""The simulator: same bytes, sound tables, and a truth that the log agrees with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from usermodel import manifest, schema
from usermodel.config import Config, validate
from usermodel.errors import ConfigError, OutputExistsError
from usermodel.events.parquet import read_parquet
from usermodel.events.simulate import KIND, SimulateConfig, simulate
from usermodel.events.simulate_users import DEVICES, REGIONS

TINY: dict[str, Any] = {"n_users": 40, "n_items": 80, "n_events": 500, "n_intents": 4, "user_intents": 2}


@dataclass
class Logs:
    """A simulated log with ids as indices."""

    path: Path
    meta: dict[str, Any]

    def __getattr__(self, name: str) -> pl.DataFrame:
        return (
            read_parquet(self.path / f"{name.removeprefix('truth_')}.parquet")
            if "truth_" not in name
            else self.truth(name)
        )

    def truth(self, name: str) -> pl.DataFrame:
        return read_parquet(self.path / "truth" / f"{name.removeprefix('truth_')}.parquet")


def load(path: Path) -> Logs:
    return Logs(path, manifest.read(path, KIND, verify=True).meta)


def index(ids: pl.Series) -> np.ndarray:
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return load(simulate(SimulateConfig(), tmp_path_factory.mktemp("default") / "logs"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return load(simulate(SimulateConfig(**TINY), tmp_path_factory.mktemp("tiny") / "logs"))


def test_same_seed_same_bytes(tiny: Logs, tmp_path: Path) -> None:
    again = manifest.read(simulate(SimulateConfig(**TINY), tmp_path / "again"))
    other = manifest.read(simulate(SimulateConfig(**TINY, seed=1), tmp_path / "other"))
    first = manifest.read(tiny.path)
    assert again.to_json() == first.to_json()
    unchanged = {name for name in first.files if other.files[name]["sha256"] == first.files[name]["sha256"]}
    assert not unchanged


def test_config_round_trip() -> None:
    config = SimulateConfig(**TINY)
    assert Config.from_dict(config.to_dict()) == config


def test_progress_and_overwrite(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    out = simulate(
        SimulateConfig(**TINY), tmp_path / "logs", on_progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (500, 500)
    assert len(calls) > 2
    assert calls == sorted(calls)
    with pytest.raises(OutputExistsError):
        simulate(SimulateConfig(**TINY), out)
    assert simulate(SimulateConfig(**TINY), out, overwrite=True) == out


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"n_events": 199}, "n_events"),
        ({"n_events": 801}, "n_events"),
        ({"n_users": 0}, "n_users"),
        ({"drift": 1.5}, "drift"),
        ({"zipf_exponent": float("nan")}, "zipf_exponent"),
        ({"nitems": 5}, "nitems"),
        ({"user_intents": 5}, "user_intents"),
        ({"n_intents": 21}, "n_items"),
        ({"min_user_events": 21}, "min_user_events"),
        ({"related_share": 0.6, "taste_share": 0.6}, "explore_share"),
    ],
)
def test_bad_config(fields: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(validate(SimulateConfig, TINY | fields), tmp_path / "logs")
    assert caught.value.where == where
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n_users": 1, "n_events": 20},
        {"n_users": 1, "n_events": 5, "user_intents": 1},
        {"n_events": 800},
        {"n_events": 200, "history_spread": 0.0},
        {"n_events": 80, "min_user_events": 2, "history_spread": 2.0},
        {"n_items": 20, "n_events": 200, "category_noise": 1.0},
        {"explore_share": 0.4, "related_share": 0.2, "taste_share": 0.2, "next_share": 0.2},
        {
            "explore_share": 1.0,
            "related_share": 0.0,
            "taste_share": 0.0,
            "next_share": 0.0,
            "zipf_exponent": 0.0,
        },
        {"user_intents": 4, "session_events": 1.0, "directed": 1.0, "drift": 1.0, "session_drift": 0.0},
        {"series_length": 1.0, "appeal_spread": 0.0, "n_days": 1, "attribute_strength": 0.0},
    ],
)
def test_invariants(fields: dict[str, Any], tmp_path: Path) -> None:
    config = SimulateConfig(**(TINY | fields))
    check_invariants(load(simulate(config, tmp_path / "logs")), config)


def test_invariants_of_the_default(logs: Logs) -> None:
    check_invariants(logs, SimulateConfig())


def check_invariants(logs: Logs, config: SimulateConfig) -> None:
    events, shown, truth = logs.events, logs.impressions, logs.truth_impressions
    features = ("event_type", "watch_time_ms", "duration_ms")
    assert pq.read_schema(logs.path / "events.parquet").equals(schema.events_schema(features=features))
    assert pq.read_schema(logs.path / "impressions.parquet").equals(schema.impressions_schema())
    assert (logs.users.height, logs.items.height) == (config.n_users, config.n_items)
    assert events.height == config.n_events == logs.truth_events.height
    assert shown.height == truth.height == logs.meta["n_impressions"]
    lengths = events.group_by("user_id").len()["len"].to_numpy()
    assert len(lengths) == config.n_users
    assert config.min_user_events <= lengths.min() <= lengths.max() <= config.max_user_events
    assert events.select("user_id", "item_id").is_unique().all()
    assert (
        shown.filter("clicked")
        .select("user_id", "item_id", "timestamp")
        .equals(events.select("user_id", "item_id", "timestamp"))
    )
    for table in (events, shown):
        user, times = index(table["user_id"]), table["timestamp"].to_numpy()
        assert (np.diff(user) >= 0).all()
        assert (np.diff(times)[np.diff(user) == 0] > 0).all()
    assert shown["propensity"].is_between(0, 1, closed="right").all()
    assert truth["p_click"].is_between(0, 1, closed="none").all()
    assert (events["watch_time_ms"] >= 0).all()
    assert (events["watch_time_ms"] <= events["duration_ms"]).all()
    for name in (
        "events",
        "impressions",
        "users",
        "items",
        "truth_impressions",
        "truth_users",
        "truth_next_item",
    ):
        frame = getattr(logs, name)
        assert not any(frame.null_count().row(0)), name
        assert not any(
            frame[column].is_nan().any() for column in frame.columns if frame[column].dtype.is_float()
        ), name


def test_times_span_the_days_and_form_sessions(logs: Logs) -> None:
    events = logs.events
    days = (events["timestamp"].max() - events["timestamp"].min()) / 86_400e6
    assert 59 < days < 66
    gaps = (
        events.select(pl.col("timestamp").diff().over("user_id")).to_series().drop_nulls().to_numpy() / 60e6
    )
    assert 0.15 < (gaps > 30).mean() < 0.25  # a fifth of the events ends a session
    hours = events["timestamp"].to_numpy() // 3_600_000_000 % 24
    by_hour = np.bincount(hours, minlength=24)
    assert by_hour[20] > 5 * by_hour[3]


def test_lengths_have_a_heavy_tail(logs: Logs) -> None:
    lengths = logs.events.group_by("user_id").len()["len"].to_numpy()
    assert lengths.max() > 8 * np.median(lengths)


def test_stated_probabilities_are_calibrated(logs: Logs) -> None:
    """Propensity against exposure, p_click against clicks, the best scores against the held-out events."""
    shown, truth, best = logs.impressions, logs.truth_impressions, logs.truth_next_item
    clicked, chance = shown["clicked"].to_numpy(), truth["p_click"].to_numpy()
    bins = np.digitize(chance, np.linspace(0, 1, 11))
    for number in np.unique(bins):
        rows = bins == number
        error = 3.5 * np.sqrt(np.sum(chance[rows] * (1 - chance[rows])))
        assert abs(clicked[rows].sum() - chance[rows].sum()) < error + 1
    # Whatever an item's share: 1 / propensity over its impressions adds up to the impressions at which it was open.
    user, item = index(shown["user_id"]), index(shown["item_id"])
    weights = np.bincount(item, 1 / shown["propensity"].to_numpy(), minlength=2_000)
    rows_of = np.bincount(user)
    order = np.arange(len(user)) - (np.cumsum(rows_of) - rows_of)[user]
    hidden = np.bincount(item[clicked], rows_of[user[clicked]] - 1 - order[clicked], minlength=2_000)
    assert weights / (len(user) - hidden) == pytest.approx(1, abs=0.6)
    assert (weights / (len(user) - hidden)).mean() == pytest.approx(1, abs=0.01)
    top = np.array(best["top_probabilities"].to_list())[:, 0]
    assert top.mean() == pytest.approx((best["rank"] == 1).mean(), abs=0.02)
    assert (best["rank"] <= 20).mean() == pytest.approx(
        np.array(best["top_probabilities"].to_list()).sum(1).mean(), abs=0.025
    )


def test_naive_relevance_is_off_and_weighted_relevance_is_on(logs: Logs) -> None:
    shown, truth = logs.impressions, logs.meta["truth"]
    clicked = shown["clicked"].to_numpy()
    before = shown.select(
        pl.col("clicked").cast(pl.Int64).cum_sum().over("user_id") - pl.col("clicked").cast(pl.Int64)
    )
    weight = 1 / (shown["propensity"].to_numpy() * (2_000 - before["clicked"].to_numpy()))
    assert clicked.mean() == pytest.approx(truth["click_rate"], abs=1e-8)
    assert clicked.mean() > 2 * truth["mean_relevance"]
    assert (clicked * weight).mean() == pytest.approx(truth["mean_relevance"], rel=0.03)
    assert (clicked * weight).sum() / weight.sum() == pytest.approx(truth["mean_relevance"], rel=0.03)


def test_watch_time_has_a_spike_and_depends_on_match_and_duration(logs: Logs) -> None:
    events = logs.events
    truth = logs.truth_impressions.filter(logs.impressions["clicked"])
    share = (events["watch_time_ms"] / events["duration_ms"]).to_numpy()
    full = share == 1
    assert 0.3 < full.mean() < 0.8
    assert full.mean() > 20 * ((share > 0.95) & (share < 0.99)).mean()
    intents = logs.truth_items["intent"].to_numpy()[index(events["item_id"])]
    match = intents == logs.truth_events["intent"].to_numpy()
    assert share[match].mean() > share[~match].mean() + 0.2
    assert (
        (events["event_type"].to_numpy() == "like")[match].mean()
        > 0.15
        > (events["event_type"].to_numpy() == "like")[~match].mean()
    )
    long = events["duration_ms"].to_numpy() > 120_000
    assert full[match & ~long].mean() > full[match & long].mean() + 0.1
    expected, watched = truth["expected_watch_time_ms"].to_numpy(), events["watch_time_ms"].to_numpy()
    for rows in (match, ~match, long, ~long):
        assert watched[rows].mean() == pytest.approx(expected[rows].mean(), rel=0.03)


def probe(x: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a ridge classifier on the second half, over that of the most frequent value of the first."""
    half, classes = len(x) // 2, np.eye(labels.max() + 1)[labels]
    x = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.solve(x[:half].T @ x[:half] + 1e-3 * np.eye(x.shape[1]), x[:half].T @ classes[:half])
    constant = (labels[half:] == np.bincount(labels[:half]).argmax()).mean()
    return float(((x[half:] @ weights).argmax(1) == labels[half:]).mean() - constant)


def attributes(logs: Logs) -> dict[str, np.ndarray]:
    users = logs.users
    return {
        name: users[name].rank("dense").cast(pl.Int64).to_numpy() - 1
        for name in ("device", "region", "age_band")
    }


def test_attributes_depend_on_intents_and_on_nothing_else(logs: Logs, tmp_path: Path) -> None:
    preferences = np.array(logs.truth_users["preferences"].to_list())
    noise = np.random.default_rng(0).permutation(preferences)
    events = np.zeros((5_000, 12))
    category = logs.items["category"].rank("dense").cast(pl.Int64).to_numpy() - 1
    np.add.at(events, (index(logs.events["user_id"]), category[index(logs.events["item_id"])]), 1)
    for name, values in attributes(logs).items():
        assert probe(preferences, values) > 0.1, name
        assert probe(events / events.sum(1, keepdims=True), values) > 0.1, name
        assert probe(noise, values) < 0.03, name
    config = SimulateConfig(n_users=2_000, n_events=10_000, n_items=100, attribute_strength=0.0)
    free = load(simulate(config, tmp_path / "free"))
    for name, values in attributes(free).items():
        assert probe(np.array(free.truth_users["preferences"].to_list()), values) < 0.05, name


def test_laws_are_what_attributes_were_drawn_from(logs: Logs) -> None:
    """In ten parts by probability, values happen as often as the law says; the age score orders the bands."""
    for name, values in (("device", DEVICES), ("region", REGIONS)):
        law = np.array(logs.truth_users[f"p_{name}"].to_list())
        assert np.allclose(law.sum(1), 1)
        happened = logs.users[name].to_numpy()[:, None] == np.array(values)
        order = np.argsort(law.ravel())
        for part in np.array_split(order, 10):
            p = law.ravel()[part]
            off = happened.ravel()[part].mean() - p.mean()
            assert abs(off) < 4 * np.sqrt((p * (1 - p)).sum()) / len(part)
    means = (
        logs.users.with_columns(score=logs.truth_users["age_score"])
        .group_by("age_band")
        .agg(pl.col("score").mean())
    )
    assert means.sort("age_band")["score"].is_sorted()


def ndcg(scores: np.ndarray, seen: np.ndarray, target: np.ndarray) -> float:
    """NDCG@10 with the history masked; ties count half."""
    own = scores[np.arange(len(target)), target][:, None]
    scores = np.where(seen > 0, -np.inf, scores)
    rank = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean())


def test_methods_can_be_told_apart(logs: Logs) -> None:
    """Popularity < order-blind neighbours < last-item counts < the truth, each by a wide margin."""
    user, item = index(logs.events["user_id"]), index(logs.events["item_id"])
    last = np.append(user[1:] != user[:-1], True)
    seen = np.zeros((5_000, 2_000), np.float32)
    seen[user[~last], item[~last]] = 1
    target, previous = item[last], item[np.flatnonzero(last) - 1]
    popularity = seen.sum(0)
    cosine = seen.T @ seen / np.sqrt(np.outer(popularity, popularity) + 1e-9)
    np.fill_diagonal(cosine, 0)
    counts = np.zeros((2_000, 2_000), np.float32)
    pairs = ~last[:-1] & ~last[1:]
    np.add.at(counts, (item[:-1][pairs], item[1:][pairs]), 1)
    by_popularity = ndcg(np.tile(popularity, (5_000, 1)), seen, target)
    by_neighbours = ndcg(seen @ cosine, seen, target)
    by_last_item = ndcg(counts[previous] + 1e-3 * popularity / popularity.max(), seen, target)
    rank = logs.truth_next_item["rank"].to_numpy()
    best = np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean()
    assert best == pytest.approx(logs.meta["truth"]["bayes_ndcg@10"], abs=1e-8)
    assert 0.01 < by_popularity < 0.03
    assert by_neighbours > 2.5 * by_popularity
    assert by_last_item > 1.5 * by_neighbours
    assert best > 1.15 * by_last_item
