"""The loss of the last item of each slice, against the formula slice by slice."""

import torch

from usermodel.encoders.transformer import TransformerConfig
from usermodel.negatives.uniform import Uniform
from usermodel.objectives.last_item import LastItemConfig
from usermodel.objectives.next_item import NextItemConfig

SLICES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]


def test_value_equals_the_formula_slice_by_slice(make_batch):
    for causal, readout in ((True, "last"), (False, "attention")):
        torch.manual_seed(0)
        config = TransformerConfig(
            dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0, causal=causal, readout=readout
        )
        encoder = config.build(9)
        output = LastItemConfig().build(encoder)(encoder, make_batch(*SLICES))
        losses = []
        for own in SLICES:
            if len(own) > 1:
                logits = encoder.item_vectors() @ encoder(make_batch(own[:-1])).users[0]
                losses.append(torch.logsumexp(logits, 0) - logits[own[-1] - 1])
        torch.testing.assert_close(output.loss, torch.stack(losses).mean())
        assert output.n_targets == 3
        assert output.parts["softmax"].item() == output.loss.item()


def test_on_slices_of_two_events_it_is_next_item(make_batch):
    torch.manual_seed(0)
    encoder = TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0).build(9)
    batch = make_batch([1, 2], [3, 4], [5], [9, 1])
    for loss in (NextItemConfig(), NextItemConfig(loss="gbce", n_negatives=5)):
        outputs = []
        for config in (LastItemConfig(next_item=loss), loss):
            objective = config.build(encoder, Uniform(9) if config.draws_negatives(9) else None)
            torch.manual_seed(1)
            outputs.append(objective(encoder, batch).loss)
        torch.testing.assert_close(*outputs)
