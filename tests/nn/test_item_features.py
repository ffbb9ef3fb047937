import torch

from usermodel.nn.item_features import ItemFeature, ItemFeatures


def test_the_mean_of_category_vectors_plus_a_linear_map_of_numbers():
    torch.manual_seed(0)
    codes = torch.tensor([[0, 0], [2, 0], [1, 3], [0, 0]], dtype=torch.int32)
    numbers = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    columns = ItemFeature("genres", "codes", 3, 2, codes), ItemFeature("vector", "numbers", 3, 3, numbers)
    module = ItemFeatures(columns, 3, 4)
    table, matrix = module.parts[0].weights.weight, module.parts[1].weights.weight
    wanted = torch.stack(
        [
            table[2] + matrix @ torch.tensor([1.0, -2.0, 3.0]),
            (table[1] + table[3]) / 2 + matrix[:, 0] / 2,
            torch.zeros(4),
            torch.zeros(4),
        ]
    )
    torch.testing.assert_close(module(torch.tensor([1, 2, 3, 0])), wanted, atol=1e-6, rtol=1e-5)


def test_values_travel_with_the_weights():
    values = torch.tensor([[0], [1], [2]], dtype=torch.int32)
    one = ItemFeatures([ItemFeature("a", "codes", 2, 1, values)], 2, 4)
    two = ItemFeatures([ItemFeature("a", "codes", 2, 1)], 2, 4)
    two.load_state_dict(one.state_dict())
    index = torch.tensor([2, 1])
    assert torch.equal(one(index), two(index))
    assert two(index).any()


def test_what_each_feature_adds():
    torch.manual_seed(0)
    codes = torch.tensor([[0, 0], [2, 0], [1, 3]], dtype=torch.int32)
    numbers = torch.tensor([[0.0], [2.0], [-1.0]])
    columns = ItemFeature("genres", "codes", 3, 2, codes), ItemFeature("length", "numbers", 1, 1, numbers)
    module, index = ItemFeatures(columns, 2, 4), torch.tensor([2, 1])
    each = module.each(index)
    assert each.shape == (2, 2, 4)
    assert torch.equal(each[0], module.parts[0](index))
    assert torch.equal(each[1], module.parts[1](index))
    assert [table.tolist() for table in module.tables()] == [codes.tolist(), numbers.tolist()]


def test_values_are_left_out_of_features_that_have_several():
    torch.manual_seed(0)
    codes = torch.tensor([[0, 0, 0], [2, 0, 0], [1, 3, 0]], dtype=torch.int32)
    columns = ItemFeature("genres", "codes", 3, 3, codes), ItemFeature("kind", "codes", 3, 1, codes[:, :1])
    module, n = ItemFeatures(columns, 2, 4), 40_000
    with torch.no_grad():
        genres, kind = module.each(torch.tensor([1, 2]).repeat(n), value_dropout=0.3)
    table = module.parts[0].weights.weight.detach()
    # One value is never left out, nor is that of a feature that has one at most.
    assert torch.equal(genres[::2], table[2].expand(n, 4))
    assert torch.equal(kind, module.parts[1](torch.tensor([1, 2]).repeat(n)))
    wanted = {0.49: (table[1] + table[3]) / 2, 0.21: table[1], 0.2100001: table[3], 0.09: torch.zeros(4)}
    for share, vector in wanted.items():
        found = (genres[1::2] - vector).abs().amax(1).lt(1e-6).float().mean().item()
        assert abs(found - share) < 4 * (share * (1 - share) / n) ** 0.5
