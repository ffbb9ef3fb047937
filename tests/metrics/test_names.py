import pytest

from usermodel.errors import ConfigError
from usermodel.metrics.names import LIST_KINDS, RANK_KINDS, Metric, parse


@pytest.mark.parametrize("kind", RANK_KINDS + LIST_KINDS)
def test_every_kind_has_a_name_that_is_read_back(kind):
    metric = parse(kind if kind in ("auc", "gauc") else f"{kind}@7")
    assert metric.kind == kind
    assert parse(str(metric)) == metric
    assert metric.of_lists == (kind in LIST_KINDS)


def test_any_cut_off():
    assert parse("ndcg@1") == Metric("ndcg", 1)
    assert parse("mrr@12345") == Metric("mrr", 12_345)
    assert parse("mrr") == Metric("mrr", None)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ndgc@20", "ndcg@20"),
        ("NDCG@10", "ndcg@10"),
        ("hit", "hit@10"),
        ("hit@0", "hit@10"),
        ("hit@-1", "hit@10"),
        ("hit@ten", "hit@10"),
        ("hit@10 ", "hit@10"),
        ("hitrate@5", "hit@5"),
        ("mmr", "mrr"),
        ("auc@5", "auc"),
        ("popularity-bias@10", "popularity_bias@10"),
        ("covrage@3", "coverage@3"),
    ],
)
def test_an_unknown_metric_names_the_nearest_one(name, nearest):
    with pytest.raises(ConfigError, match=f"Did you mean '{nearest}'"):
        parse(name)


def test_no_name_at_all():
    with pytest.raises(ConfigError, match="Choose one of"):
        parse("")


@pytest.mark.parametrize("k", ["10000001", "99999999999999999999", "9" * 5000])
def test_a_cut_off_beyond_any_catalogue_is_refused(k):
    assert parse("hit@10000000").k == 10_000_000
    with pytest.raises(ConfigError, match="expected a K of at most 10,000,000; found 'hit@") as caught:
        parse(f"hit@{k}")
    assert len(str(caught.value)) < 200
