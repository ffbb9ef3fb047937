import math
from itertools import pairwise

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from usermodel.nn.attention import SelfAttention
from usermodel.nn.positions import rotate, time_buckets
from usermodel.nn.ragged import Layout

LENGTHS = [3, 0, 7, 1, 8, 2]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)
DIM, HEADS = 12, 3


def attention(*, causal: bool, max_distance: int, dropout: float = 0.0) -> SelfAttention:
    torch.manual_seed(0)
    module = SelfAttention(DIM, HEADS, causal=causal, max_distance=max_distance, dropout=dropout)
    if module.bias is not None:
        torch.nn.init.normal_(module.bias)
    return module.eval()


def additive_mask(module: SelfAttention, n: int) -> torch.Tensor:
    """What is added to the scores, entry by entry."""
    mask = torch.zeros(HEADS, n, n)
    for query in range(n):
        for key in range(n):
            far = abs(query - key)
            if module.causal and key > query:
                mask[:, query, key] = -torch.inf
            elif module.bias is not None:
                entry = min(far, module.max_distance - 1) + (module.max_distance if key > query else 0)
                mask[:, query, key] = module.bias[:, entry]
    return mask


def reference(module: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    """torch's own attention, one user at a time, with explicit masks."""
    outs = []
    for start, stop in pairwise(OFFSETS.tolist()):
        if stop == start:
            continue
        part = x[start:stop, None]
        out, _ = F.multi_head_attention_forward(
            part, part, part, DIM, HEADS, module.qkv.weight, module.qkv.bias, None, None, False, 0.0,
            module.out.weight, module.out.bias, training=False, need_weights=False,
            attn_mask=additive_mask(module, stop - start),
        )  # fmt: skip
        outs.append(out[:, 0])
    return torch.cat(outs)


@pytest.mark.parametrize("max_distance", [0, 4, 8, 20])
@pytest.mark.parametrize("causal", [True, False])
def test_equals_torch_attention_and_its_gradients(causal, max_distance):
    module = attention(causal=causal, max_distance=max_distance)
    x = torch.randn(int(OFFSETS[-1]), DIM, requires_grad=True)
    ours, theirs = module(x, Layout.of(OFFSETS)), reference(module, x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(ours)
    wanted = [x, *module.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, wanted, weight), torch.autograd.grad(theirs, wanted, weight), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("max_distance", [0, 5])
@pytest.mark.parametrize("causal", [True, False])
def test_without_gradients_torchs_kernel_agrees(monkeypatch, causal, max_distance):
    module = attention(causal=causal, max_distance=max_distance)
    x, layout = torch.randn(int(OFFSETS[-1]), DIM), Layout.of(OFFSETS)
    with_gradients, wanted = module(x, layout), reference(module, x)
    monkeypatch.setattr("usermodel.nn.attention.attend", None)
    with torch.no_grad():
        found = module(x, layout)
    torch.testing.assert_close(found, with_gradients.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_without_a_bias_torchs_kernel_trains(monkeypatch, causal):
    """Whole score matrices would be kept for the gradient."""
    module = attention(causal=causal, max_distance=0).train()
    x, layout = torch.randn(int(OFFSETS[-1]), DIM, requires_grad=True), Layout.of(OFFSETS)
    wanted = torch.autograd.grad(reference(module, x).square().sum(), [x, *module.parameters()])
    monkeypatch.setattr("usermodel.nn.attention.attend", None)
    found = torch.autograd.grad(module(x, layout).square().sum(), [x, *module.parameters()])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_the_kernel_for_training_with_dropout_agrees_with_the_fast_one(causal):
    """A vanishing dropout takes the slow path and must not change the values."""
    module = attention(causal=causal, max_distance=0, dropout=1e-12)
    x = torch.randn(int(OFFSETS[-1]), DIM)
    layout = Layout.of(OFFSETS)
    torch.testing.assert_close(module.train()(x, layout), module.eval()(x, layout), atol=1e-6, rtol=1e-5)


def test_dropout_acts_on_the_probabilities_in_training_only():
    module = attention(causal=True, max_distance=0, dropout=0.5)
    copies, length = 2000, 5
    x = torch.randn(length, DIM).repeat(copies, 1)
    layout = Layout.of(torch.arange(0, (copies + 1) * length, length))
    wanted = module(x, layout)[:length]
    assert torch.equal(module(x, layout)[:length], wanted)
    torch.manual_seed(1)
    draws = module.train()(x, layout).view(copies, length, DIM)
    assert not torch.equal(draws[0], draws[1])
    # Scaled by 1/(1-p), dropout keeps the expectation: the output is linear in the probabilities.
    assert bool(((draws.mean(0) - wanted).abs() < 5 * draws.std(0) / copies**0.5 + 1e-6).all())


def test_no_events_at_all():
    module = attention(causal=True, max_distance=3)
    assert module(torch.zeros(0, DIM), Layout.of(torch.tensor([0, 0]))).shape == (0, DIM)


def test_shapes_are_checked_while_tests_run():
    module = attention(causal=True, max_distance=0)
    with pytest.raises(jaxtyping.TypeCheckError):
        module(torch.zeros(3, DIM, dtype=torch.int64), Layout.of(torch.tensor([0, 3])))
    with pytest.raises(jaxtyping.TypeCheckError):
        module(torch.zeros(3), Layout.of(torch.tensor([0, 3])))


def turned(x: torch.Tensor) -> torch.Tensor:
    """RoFormer's definition: pairs as complex numbers times ``exp(i m theta)``."""
    length, width = x.shape
    pairs = torch.complex(x[:, 0::2], x[:, 1::2])
    for place in range(length):
        for pair in range(width // 2):
            angle = torch.tensor(place * 10_000 ** (-2 * pair / width))
            pairs[place, pair] = pairs[place, pair] * torch.polar(torch.tensor(1.0), angle)
    return torch.view_as_real(pairs).flatten(1)


def by_hand(module: SelfAttention, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """One user, head and query at a time; rotary places and a time bias, as the papers write them."""
    outs, d = [], DIM // HEADS
    for start, stop in pairwise(OFFSETS.tolist()):
        n, own = stop - start, times[start:stop].tolist()
        parts = (x[start:stop] @ module.qkv.weight.T + module.qkv.bias).split(DIM, dim=1)
        mixed = torch.zeros(n, DIM)
        for head in range(HEADS):
            q, k, v = (part[:, head * d : (head + 1) * d] for part in parts)
            if module.rotary:
                q, k = turned(q), turned(k)
            for query in range(n):
                keys = range(query + 1) if module.causal else range(n)
                scores = []
                for key in keys:
                    score = q[query] @ k[key] / math.sqrt(d)
                    if module.time_bias is not None:
                        apart = own[query] - own[key]
                        size = len(module.time_bias) // (1 if module.causal else 2)
                        bucket = min(int(math.log(max(abs(apart), 1)) / 0.301), size - 1)
                        score = score + module.time_bias[bucket + (size if apart < 0 else 0), head]
                    if module.bias is not None:
                        score = score + additive_mask(module, n)[head, query, key]
                    scores.append(score)
                weights = torch.softmax(torch.stack(scores), 0)
                mixed[query, head * d : (head + 1) * d] = weights @ v[: len(scores)]
        outs.append(mixed @ module.out.weight.T + module.out.bias)
    return torch.cat(outs)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"rotary": True},
        {"n_time_buckets": 40},
        {"n_time_buckets": 6},
        {"n_time_buckets": 40, "max_distance": 4},
        {"n_time_buckets": 40, "rotary": True},
    ],
    ids=str,
)
def test_rotary_places_and_time_bias_equal_the_papers_formulas(causal, options):
    torch.manual_seed(0)
    module = SelfAttention(DIM, HEADS, causal=causal, **options)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    x = torch.randn(int(OFFSETS[-1]), DIM, requires_grad=True)
    # Ties, seconds, days and years between events of one user.
    times = torch.cat([torch.randint(0, 10 ** (3 * n % 9 + 1), (n,)).sort().values for n in LENGTHS])
    times[4] = times[3]
    layout = Layout.of(OFFSETS)
    n = options.get("n_time_buckets", 0)
    buckets = time_buckets(times, layout, n, causal=causal) if n else ()
    ours, theirs = module(x, layout, buckets), by_hand(module, x, times)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # another kernel
        torch.testing.assert_close(module(x, layout, buckets), theirs, atol=1e-5, rtol=1e-5)
    wanted, weight = [x, *module.parameters()], torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, wanted, weight), torch.autograd.grad(theirs, wanted, weight), strict=True
    ):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_rotary_products_depend_on_the_distance_only():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8).expand(1, 1, 30, 8), torch.randn(1, 1, 1, 8).expand(1, 1, 30, 8)
    products = (rotate(q) @ rotate(k).transpose(-1, -2))[0, 0]
    for distance in range(-29, 30):
        line = products.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), atol=1e-4, rtol=1e-4)
    assert products[0].std() > 0.1
    torch.testing.assert_close(rotate(q).norm(dim=-1), q.norm(dim=-1))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{"max_distance": 5}, {"n_time_buckets": 9}, {}], ids=str)
def test_every_kernel_gives_the_same_values(causal, options):
    """Without gradients, with them, and with a dropout that vanishes."""
    torch.manual_seed(0)
    module = SelfAttention(DIM, HEADS, causal=causal, dropout=1e-12, **options)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    x, layout = torch.randn(int(OFFSETS[-1]), DIM), Layout.of(OFFSETS)
    n, times = options.get("n_time_buckets", 0), torch.arange(len(x)) ** 3
    buckets = time_buckets(times, layout, n, causal=causal) if n else ()
    learning, dropping = module.eval()(x, layout, buckets), module.train()(x, layout, buckets)
    with torch.no_grad():
        fast = module.eval()(x, layout, buckets)
    torch.testing.assert_close(fast, learning, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dropping, learning, atol=1e-5, rtol=1e-5)
