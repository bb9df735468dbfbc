"""Rows in chunks: order, memory that runs out, reading ahead, and errors on either side."""

import threading
import time
import weakref

import numpy as np
import pytest
import torch

from skfairlatent.encoders._chunks import map_chunks

# Messages of torch on each device, with the details cut.
SHORT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
]


def _rows(chunk):
    return np.arange(chunk.start, chunk.stop)


class _Machine:
    """Computes the double of each row, in chunks of up to `room` rows."""

    def __init__(self, room, error=SHORT_OF_MEMORY[0]):
        self.room = room
        self.error = error
        self.tried = []

    def __call__(self, rows):
        self.tried.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        return np.stack([rows, 2 * rows], axis=1).astype(np.float32)


@pytest.mark.parametrize("read", [None, _rows])
@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 1), (7, 3), (6, 3), (5, 100)])
def test__map_chunks__keeps_order_shape_and_dtype(n_rows, batch_size, read):
    machine = _Machine(room=batch_size)
    call = machine if read else lambda chunk: machine(_rows(chunk))
    out = map_chunks(n_rows, batch_size, call, read=read)
    np.testing.assert_array_equal(out, np.stack([np.arange(n_rows), 2 * np.arange(n_rows)], 1))
    assert out.dtype == np.float32
    assert sum(machine.tried) == n_rows
    assert max(machine.tried) <= batch_size


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=range(len(SHORT_OF_MEMORY)))
def test__map_chunks__halves_until_it_fits_and_stays_there(error):
    machine = _Machine(room=3, error=error)
    out = map_chunks(11, 8, machine, read=_rows)
    np.testing.assert_array_equal(out[:, 0], np.arange(11))
    assert machine.tried == [8, 4, 2, 2, 2, 2, 2, 1]


def test__map_chunks__halves_when_reading_needs_too_much():
    asked = []

    def read(chunk):
        asked.append(chunk.stop - chunk.start)
        if asked[-1] > 4:
            raise MemoryError
        return _rows(chunk)

    out = map_chunks(9, 9, _Machine(room=9), read=read)
    np.testing.assert_array_equal(out[:, 0], np.arange(9))
    assert asked == [9, 4, 4, 1]


def test__map_chunks__survives_a_real_failure_to_allocate():
    def call(chunk):
        n_rows = chunk.stop - chunk.start
        torch.empty(2**60 if n_rows > 2 else 1, dtype=torch.uint8)
        np.empty(2**60 if n_rows > 1 else 1, dtype=np.uint8)
        return _rows(chunk)

    np.testing.assert_array_equal(map_chunks(5, 4, call), np.arange(5))


def test__map_chunks__lets_go_of_what_filled_the_memory_before_it_tries_again():
    held = []

    def call(chunk):
        assert all(each() is None for each in held)
        activations = np.empty(10)
        held.append(weakref.ref(activations))
        if chunk.stop - chunk.start > 1:
            raise RuntimeError("CUDA out of memory")
        return _rows(chunk)

    assert len(map_chunks(3, 4, call)) == 3
    assert len(held) == 4


def test__map_chunks__says_what_to_do_when_one_row_does_not_fit():
    with pytest.raises(MemoryError, match=r"Encoding: not even one row .*2.00 GiB.*device='cpu'"):
        map_chunks(5, 4, _Machine(room=0), read=_rows, desc="Encoding")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("shapes differ"), OSError()])
@pytest.mark.parametrize("side", ["read", "call"])
def test__map_chunks__other_errors_surface_as_they_are(error, side):
    def fail(chunk):
        if chunk.start >= 4:
            raise error
        return _rows(chunk)

    computed = []

    def keep(rows):
        computed.extend(rows)
        return rows

    sides = {"read": _rows, "call": keep}
    if side == "read":
        sides["read"] = fail
    else:
        sides = {"call": lambda chunk: keep(fail(chunk))}
    with pytest.raises(type(error)) as caught:
        map_chunks(8, 2, **sides)
    assert caught.value is error
    assert computed == [0, 1, 2, 3]
    assert not _readers()


def test__map_chunks__reads_the_next_chunk_while_it_computes():
    reading = {start: threading.Event() for start in (0, 2, 4)}

    def read(chunk):
        reading[chunk.start].set()
        return _rows(chunk)

    def call(rows):
        # Reading only on request would never set the event of the next chunk.
        assert reading[min(rows[0] + 2, 4)].wait(10)
        assert rows[0] > 0 or not reading[4].is_set()
        return rows

    np.testing.assert_array_equal(map_chunks(5, 2, call, read=read), np.arange(5))
    assert not _readers()


def test__map_chunks__an_error_does_not_wait_for_rows_that_nobody_wants():
    n_read = []

    def read(chunk):
        n_read.append(chunk.start)
        time.sleep(0.05)
        return _rows(chunk)

    with pytest.raises(ValueError, match="no"):
        map_chunks(100, 1, _raise_value_error, read=read)
    assert len(n_read) <= 2
    assert not _readers()


def _raise_value_error(_rows):
    raise ValueError("no")


def _readers():
    return [each for each in threading.enumerate() if each.name.startswith("skfairlatent-read")]


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "message"),
    [
        (0, 4, "There are no rows"),
        (4, 0, "batch_size=0 is not valid: pass an integer >= 1"),
        (4, 2.0, "batch_size=2.0 is not valid"),
        (4, True, "batch_size=True is not valid"),
    ],
)
def test__map_chunks__says_what_to_pass(n_rows, batch_size, message):
    with pytest.raises(ValueError, match=message):
        map_chunks(n_rows, batch_size, _rows)


@pytest.mark.parametrize(
    "call",
    [
        lambda _: np.zeros((1, 3)),  # would be broadcast to all the rows
        lambda rows: np.zeros((len(rows) + 1, 3)),
        lambda rows: np.zeros((len(rows), 3 + rows[0])),
        lambda _: np.float32(1),
    ],
)
def test__map_chunks__refuses_a_result_of_another_shape(call):
    with pytest.raises(ValueError, match=r"Rows \d to \d gave an array of shape .* one row for"):
        map_chunks(4, 2, call, read=_rows)


def test__map_chunks__shows_progress_only_when_asked(capsys):
    map_chunks(4, 2, _rows, desc="Encoding")
    assert capsys.readouterr().err == ""
    map_chunks(4, 2, _rows, desc="Encoding", verbose=True)
    shown = capsys.readouterr().err
    assert "Encoding" in shown
    assert "4/4" in shown
