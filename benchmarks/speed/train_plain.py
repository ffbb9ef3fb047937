"""SASRec as one would write it without a library. SEQUENCES EPOCHS JSON [KEY=VALUE...]

Padded rectangles, learned positions, softmax over the catalogue at every position, Adam. The same width, layers, heads,
window, targets and events a batch as the recipe beside it.
"""

import gzip
import json
import random
import sys
import time
from pathlib import Path

import torch
from torch import nn

source, epochs, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
window = next(
    (int(one.partition("=")[2]) for one in sys.argv[4:] if one.startswith("encoder.max_history=")), 50
)
opener = gzip.open if source.suffix == ".gz" else open
with opener(source, "rt") as file:
    # The last two events of a user are held out.
    histories = [[int(item) for item in line.split()[1:-2]] for line in file]
rows = [
    history[max(0, stop - window - 1) : stop]
    for history in histories
    for stop in range(len(history), 1, -window)
]
n_items = max(max(row) for row in rows)
size = max(1, round(4096 * len(rows) / sum(len(row) - 1 for row in rows)))


class SASRec(nn.Module):
    """Two post-norm blocks."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.places = nn.Embedding(window, dim)
        layer = nn.TransformerEncoderLayer(dim, 2, 4 * dim, 0.2, "gelu", batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(0.2)
        nn.init.normal_(self.items.weight, std=0.02)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of every position."""
        x = self.dropout(self.norm(self.items(items) + self.places.weight[: items.shape[1]]))
        mask = nn.Transformer.generate_square_subsequent_mask(items.shape[1])
        return self.blocks(x, mask=mask, is_causal=True)


torch.manual_seed(0)
model = SASRec()
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
seconds = []
for _ in range(epochs):
    started = time.perf_counter()
    random.shuffle(rows)
    for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in batch], batch_first=True)
        inputs, targets = padded[:, :-1], padded[:, 1:]
        real = targets > 0
        loss = nn.functional.cross_entropy(model(inputs)[real] @ model.items.weight.T, targets[real])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    seconds.append(time.perf_counter() - started)
out.write_text(
    json.dumps({"seconds": seconds, "targets": sum(len(row) - 1 for row in rows), "classes": n_items})
)
