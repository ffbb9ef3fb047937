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
