"""Pieces of work on several threads."""

import threading
import time

import pytest
import torch

from usermodel.cores import on_cores


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_piece_once_and_told_in_order(threads):
    done, told = [], []

    def work(piece):
        # The first ones take longest.
        time.sleep(0.002 * (5 - piece))
        done.append(piece)

    on_cores(work, range(5), told.append)
    assert sorted(done) == list(range(5))
    assert told == list(range(5))


def test_as_many_threads_as_torch_has_each_with_operations_of_one(threads):
    seen, together = {}, threading.Barrier(threads)

    def work(piece):
        # Nobody goes on before all are here.
        together.wait(timeout=20)
        seen[threading.get_ident()] = torch.get_num_threads()

    on_cores(work, range(2 * threads))
    assert list(seen.values()) == [1] * threads
    assert threading.get_ident() not in seen


def test_the_setting_of_others_stays_during_and_after(threads):
    outside, elsewhere = [], []

    def tell(piece):
        outside.append(torch.get_num_threads())
        other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        other.start()
        other.join()

    on_cores(lambda piece: None, range(4), tell)
    assert outside == elsewhere == [threads] * 4
    assert torch.get_num_threads() == threads


def test_the_first_error_in_order_ends_it_and_drops_what_has_not_begun(threads):
    begun = []

    def work(piece):
        begun.append(piece)
        time.sleep(0.005)
        if piece in {1, 2}:
            raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match="piece 1"):
        on_cores(work, range(200))
    assert len(begun) < 100
    assert torch.get_num_threads() == threads


def test_an_error_while_telling_ends_it_too(threads):
    def tell(piece):
        raise KeyboardInterrupt

    begun = []
    with pytest.raises(KeyboardInterrupt):
        on_cores(lambda piece: (begun.append(piece), time.sleep(0.005)), range(200), tell)
    assert len(begun) < 100


def test_nothing_to_do(threads):
    on_cores(lambda piece: pytest.fail("no piece"), [])
