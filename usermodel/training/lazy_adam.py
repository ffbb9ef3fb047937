"""Adam for item tables of which a step reads a few rows: the other rows are left alone until they are read again.

Adam (Kingma & Ba 2015, algorithm 1) changes every row in every step, because moments outlive the gradient. A row without a
gradient since step s has m_t = b1^(t-s) m_s and v_t = b2^(t-s) v_s, and with c1 = 1 - b1^t, c2 = 1 - b2^t and the decoupled
decay of AdamW (Loshchilov & Hutter 2019) its steps t = s+1, s+2, ... are

    w_t = (1 - lr_t decay) w_(t-1) - lr_t / c1 * m_t / (sqrt(v_t / c2) + eps)

They have a sum, because m / sqrt(v) shrinks by q = b1 / sqrt(b2) in each. With K_t = the product of (1 - lr decay) up to t and

    owed_s = sum over t = s+1 to T of a_t,   a_t = lr_t sqrt(c2) / c1 * q^(t-s) * K_s / K_t

a row that is next read after step T is

    w_T = K_T / K_s * (w_s - owed_s * m_s / (sqrt(v_s) + eps_s))
    eps_s = mean over t, with weights a_t, of eps sqrt(c2) b2^(-(t-s)/2)

``owed`` is one number for each step s, and a new step adds to the last `HORIZON` of them only. So rows cost nothing while
nobody reads them, and whoever reads one finds what dense Adam would have there, under any schedule, up to rounding.
Deviation: the mean of eps stands for its values, which is exact to first order in eps / sqrt(v). Weights whose gradients are
1e-5 and less, where eps counts, were up to 0.5 % of the way they went away from dense Adam; others by rounding.

`torch.optim.SparseAdam` costs the same and is another rule: it drops these steps, so that a row that is rarely read moves
about a tenth as far for a gradient (the sum of q^j over j >= 0 is 10), and its moments do not fade meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from usermodel.nn.item_table import ItemTable
from usermodel.training.row_gradients import rows_of_grad

BETAS: Final = (0.9, 0.999)
EPS: Final = 1e-8
#: Steps after which q^j is below the precision of a weight.
HORIZON: Final = 200
#: Steps after which all rows are brought up to date, so that the numbers kept for each step stay few.
PERIOD: Final = 1 << 14
#: Rows that are brought up to date at a time.
CHUNK: Final = 1 << 16
#: What a row is owed that is up to date: so little that nothing moves, but something to divide by.
_NOTHING: Final = 1e-30
_OWED, _KEPT, _EPS = range(3)


class LazyAdam(torch.optim.Adam):
    """Adam or AdamW: row by row for item tables, fused and dense for all other weights.

    The state of a table has, beside the moments: ``step`` and ``settled``, the steps done and those done when all rows
    were last up to date; ``last``, the step after which each row is as it stands, from ``settled`` on; ``past``, the three
    numbers of each step since then: owed, K, and owed times eps.

    Args:
        tables: Item tables. While gradients are recorded they call back before rows are read, and get sparse gradients.
        others: All other weights.
        lr: Largest learning rate; each step takes that of the parameter groups, as in any optimiser.
        decay: Decoupled weight decay, less than ``1 / lr``.
    """

    def __init__(
        self, tables: Sequence[ItemTable], others: Iterable[nn.Parameter], *, lr: float, decay: float = 0.0
    ) -> None:
        self.tables = [table.weight for table in tables]
        groups = [{"params": self.tables}, {"params": list(others)}]
        super().__init__(
            groups, lr=lr, betas=BETAS, eps=EPS, weight_decay=decay, fused=True, decoupled_weight_decay=True
        )
        self.period = _period(lr * decay)
        device = self.tables[0].device
        ages = torch.arange(max(self.period, HORIZON) + 1, dtype=torch.float64, device=device)
        # Powers are looked up: computed for some rows at a time, the last bits could depend on which rows those are.
        self._fade = tuple((beta**ages).float() for beta in BETAS)
        recent = ages[1 : HORIZON + 1].flip(0)
        self._root = math.sqrt(BETAS[1]) ** recent
        self._q = BETAS[0] ** recent / self._root
        for table in tables:
            self.state[table.weight] = _fresh(table.weight, self.period)
            table.before_read = partial(self.bring_up, table.weight)

    @torch.no_grad()
    def bring_up(self, weight: Tensor, rows: Tensor | slice) -> None:
        """Take the steps that rows of a table are behind; a row may be named more than once."""
        state = self.state[weight]
        now = int(state["step"] - state["settled"])
        if not now:
            return
        last = _take(state["last"], rows)
        if isinstance(rows, Tensor):
            # Many are up to date: those of frequent items are read in every step.
            behind = last != now
            rows, last = rows[behind], last[behind]
        last = last.long()
        owed, kept, eps = state["past"].index_select(1, last)
        m, v = _take(state["exp_avg"], rows), _take(state["exp_avg_sq"], rows)
        left = state["past"][_KEPT, now] / kept
        move = v.sqrt().add_(_column(eps / owed))
        torch.div(m, move, out=move).mul_(_column(owed * left))
        _put(weight, rows, (_take(weight, rows) * _column(left)).sub_(move))
        _put(state["exp_avg"], rows, m * _column(self._fade[0][now - last]))
        _put(state["exp_avg_sq"], rows, v * _column(self._fade[1][now - last]))
        state["last"][rows] = now

    @torch.no_grad()
    def settle(self) -> None:
        """Bring all rows of all tables up to date, for whoever reads them without recording gradients."""
        for weight in self.tables:
            state = self.state[weight]
            for start in range(0, len(weight), CHUNK):
                self.bring_up(weight, slice(start, start + CHUNK))
            state["last"].zero_()
            state["past"].copy_(_no_past(weight, self.period))
            state["settled"].copy_(state["step"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of Adam.

        Raises:
            ConfigError: The encoder reads a table in a way that gives a gradient of all its rows.
        """
        for weight in self.tables:
            self._step_rows(weight)
            # What has no gradient is passed over by the dense step.
            weight.grad = None
        out: Any = super().step(closure)
        if int(self.state[self.tables[0]]["step"] - self.state[self.tables[0]]["settled"]) == self.period:
            self.settle()
        return out

    def _step_rows(self, weight: Tensor) -> None:
        state, group = self.state[weight], self.param_groups[0]
        rows, g = rows_of_grad(weight)
        # Rows that only another process has read.
        self.bring_up(weight, rows)
        state["step"] += 1
        t, now = int(state["step"]), int(state["step"] - state["settled"])
        c1, c2 = (1 - beta**t for beta in BETAS)
        rate, kept = group["lr"], 1 - group["lr"] * group["weight_decay"]
        past = state["past"]
        past[_KEPT, now] = past[_KEPT, now - 1] * kept
        recent = slice(max(now - HORIZON, 0), now)
        n = recent.stop - recent.start
        more = rate * math.sqrt(c2) / c1 * self._q[-n:] * (past[_KEPT, recent] / past[_KEPT, now])
        past[_OWED, recent] += more
        past[_EPS, recent] += EPS * math.sqrt(c2) * more / self._root[-n:]
        m = _take(state["exp_avg"], rows).lerp_(g, 1 - BETAS[0])
        v = _take(state["exp_avg_sq"], rows).mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        _put(state["exp_avg"], rows, m)
        _put(state["exp_avg_sq"], rows, v)
        state["last"][rows] = now
        denominator = v.sqrt_().div_(math.sqrt(c2)).add_(EPS)
        _put(weight, rows, _take(weight, rows).mul_(kept).addcdiv_(m, denominator, value=-rate / c1))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; unlike the base class, leave the numbers of the tables in their types."""
        own = [self.state[weight] for weight in self.tables]
        for number, state in enumerate(own):
            for name, value in state.items():
                value.copy_(state_dict["state"][number][name])
        super().load_state_dict(state_dict)
        self.state.update(zip(self.tables, own, strict=True))


def _fresh(weight: Tensor, period: int) -> dict[str, Tensor]:
    """The state of a table before its first step."""
    return {
        "step": torch.zeros((), dtype=torch.int64),
        "settled": torch.zeros((), dtype=torch.int64),
        "exp_avg": torch.zeros_like(weight, requires_grad=False),
        "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
        "last": torch.zeros(len(weight), dtype=torch.int16, device=weight.device),
        "past": _no_past(weight, period),
    }


def _no_past(weight: Tensor, period: int) -> Tensor:
    past = torch.zeros(3, period + 1, dtype=torch.float64, device=weight.device)
    past[_KEPT], past[_OWED], past[_EPS] = 1.0, _NOTHING, _NOTHING * EPS
    return past


def _period(decay: float) -> int:
    """Steps that the product of so many ``1 - decay`` stays far from the smallest float64, but at most `PERIOD`."""
    return PERIOD if decay == 0.0 else max(1, min(PERIOD, int(-400.0 / math.log1p(-decay))))


def _take(table: Tensor, rows: Tensor | slice) -> Tensor:
    """A copy of some rows; with `_put` faster than ``table[rows]`` (make bench-ctr)."""
    return table[rows].clone() if isinstance(rows, slice) else table.index_select(0, rows)


def _put(table: Tensor, rows: Tensor | slice, values: Tensor) -> None:
    if isinstance(rows, slice):
        table[rows] = values
    else:
        table.index_copy_(0, rows, values)


def _column(values: Tensor) -> Tensor:
    """A number per row, to be multiplied with rows."""
    return values.float()[:, None]
