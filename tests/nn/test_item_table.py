import pytest
import torch

from usermodel.config import validate
from usermodel.encoders.gru import GruConfig
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError, DataError
from usermodel.nn import item_table
from usermodel.nn.item_table import HashedItemsConfig, ItemTable, PlainItemsConfig, hashed_rows, splitmix64

WORD = 1 << 64


def rows_by_hand(item: int, config: HashedItemsConfig) -> list[int]:
    """The definition, on Python's whole numbers."""
    rows = []
    for lookup in range(config.lookups):
        x = (item + splitmix64(16 * config.seed + lookup)) % WORD
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % WORD
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % WORD
        rows.append(((x ^ (x >> 31)) % (1 << 63)) % config.table_rows)
    return rows


def test_splitmix64_is_the_published_one():
    """First outputs of Vigna's splitmix64.c for the seed 1234567: its state grows by the golden ratio."""
    golden, state = 0x9E3779B97F4A7C15, 1234567
    found = [splitmix64((state + step * golden) % WORD) for step in range(3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    "config", [HashedItemsConfig(table_rows=7), HashedItemsConfig(lookups=5, seed=2**32 - 1)]
)
def test_rows_equal_those_computed_by_hand(config):
    items = [1, 2, 3, 1000, 9_999_999, 2**40]
    wanted = [rows_by_hand(item, config) for item in items]
    assert hashed_rows(torch.tensor(items), config).tolist() == wanted


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_a_hashed_vector_by_hand(join):
    torch.manual_seed(0)
    config = HashedItemsConfig(table_rows=11, lookups=2, join=join)
    table = ItemTable(50, 6, config)
    index = torch.tensor([3, 0, 50, 3])
    found = table(index)
    for item, vector in zip(index.tolist(), found, strict=True):
        first, second = (table.weight[row] for row in rows_by_hand(item, config))
        wanted = torch.cat([first, second]) if join == "concat" else first + second
        assert torch.equal(vector, wanted if item else torch.zeros(6))
    assert table.weight.shape == ((11, 3) if join == "concat" else (11, 6))


def test_a_plain_table_is_an_embedding():
    torch.manual_seed(0)
    table = ItemTable(9, 4)
    assert torch.equal(table(torch.tensor([2, 0])), table.weight[[2, 0]])
    assert torch.equal(table.vectors(), table.weight[1:])
    assert not table.weight[0].any()
    table(torch.tensor([0, 3])).sum().backward()
    assert table.weight.grad[0].tolist() == [0.0] * 4
    assert table.weight.grad[3].tolist() == [1.0] * 4


@pytest.mark.parametrize("config", [PlainItemsConfig(), HashedItemsConfig(table_rows=20, join="sum")])
def test_the_vector_of_the_padding_is_learned_where_that_is_asked_for(config):
    """It begins at zero, takes its own gradient, and is no part of any item."""
    table = ItemTable(9, 4, config, learn_padding=True)
    assert not table.padding().any()
    before = table.vectors().detach().clone()
    index = torch.tensor([0, 3, 0])
    (table(index) * torch.tensor([1.0, 10.0, 100.0])[:, None]).sum().backward()
    row = table.own_padding if config.kind == "hashed" else table.weight
    assert row.grad.view(-1, 4)[0].tolist() == [101.0] * 4
    with torch.no_grad():
        row.view(-1, 4)[0] += 7.0
    assert table(index)[[0, 2]].tolist() == [[7.0] * 4] * 2
    assert table.padding().tolist() == [7.0] * 4
    assert torch.equal(table.vectors(), before)
    assert torch.equal(table(index)[1], before[2])


@pytest.mark.parametrize("config", [PlainItemsConfig(), HashedItemsConfig(table_rows=20)])
def test_chunks_change_nothing(config, monkeypatch):
    table = ItemTable(50, 6, config)
    whole, some = table.vectors(), table.vectors(torch.tensor([7] * 9 + [1]))
    whole.sum().backward()
    wanted, table.weight.grad = table.weight.grad, None
    monkeypatch.setattr(item_table, "CHUNK", 4)
    assert torch.equal(table.vectors(), whole)
    assert torch.equal(table.vectors(torch.tensor([7] * 9 + [1])), some)
    table.vectors().sum().backward()
    torch.testing.assert_close(table.weight.grad, wanted)


@pytest.mark.parametrize("kind", [TransformerConfig, GruConfig, MeanPoolConfig])
def test_ten_million_items_in_a_million_rows(kind):
    """64 numbers an item would be 640 million; the table has 32 million, whatever the catalogue."""
    encoder = kind(items=HashedItemsConfig(table_rows=1_000_000, lookups=2)).build(10_000_000)
    assert encoder.items.weight.numel() == 32_000_000
    others = sum(weight.numel() for name, weight in encoder.named_parameters() if name != "items.weight")
    small = kind().build(3)
    assert others == sum(w.numel() for name, w in small.named_parameters() if name != "items.weight")
    index = torch.tensor([10_000_000, 1])
    assert encoder.item_vectors(index).shape == (2, 64)
    assert encoder.item_vectors(index).any(1).all()


def test_rows_are_used_evenly_and_differ_between_lookups():
    rows = hashed_rows(torch.arange(1, 100_001), HashedItemsConfig(table_rows=100, lookups=2))
    for lookup in range(2):
        counts = torch.bincount(rows[:, lookup], minlength=100)
        # Poisson around 1,000: five standard deviations.
        assert counts.min() > 840
        assert counts.max() < 1160
    same = int((rows[:, 0] == rows[:, 1]).sum())
    assert 840 < same < 1160
    other = hashed_rows(torch.arange(1, 100_001), HashedItemsConfig(table_rows=100, lookups=2, seed=1))
    assert 1600 < int((rows == other).sum()) < 2400


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_vectors_have_the_spread_that_was_asked_for(join):
    torch.manual_seed(0)
    table = ItemTable(20_000, 16, HashedItemsConfig(table_rows=10_000, lookups=4, join=join))
    table.reset(0.3)
    assert table.vectors().std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("config", [PlainItemsConfig(), HashedItemsConfig(table_rows=20)])
@pytest.mark.parametrize("wrong", [-1, 51])
def test_an_unknown_item_is_an_error_and_never_hashed(config, wrong):
    with pytest.raises(DataError, match=f"items 1 to 50; found {wrong}"):
        ItemTable(50, 6, config).vectors(torch.tensor([1, wrong]))


def test_lookups_must_divide_dim_and_names_stand_for_defaults():
    with pytest.raises(ConfigError, match=r"encoder\.items\.lookups.*dim=64 and lookups=3"):
        TransformerConfig().override({"items": {"kind": "hashed", "lookups": 3}}).build(5)
    assert TransformerConfig().override({"items": "hashed"}).items == HashedItemsConfig()
    both = TransformerConfig().override({"items.table_rows": 10, "items.kind": "hashed"})
    assert both.items == HashedItemsConfig(table_rows=10)
    with pytest.raises(ConfigError, match="items"):
        validate(TransformerConfig, {"items": "hashd"})
