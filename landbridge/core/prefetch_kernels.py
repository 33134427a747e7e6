"""A row of a table fetched from memory before it is needed, for kernels that read rows in no order.

A row of embeddings comes from memory in a few hundred nanoseconds, in which a processor could multiply
thousands of numbers; it finds at most a row or two of the next ones by itself. A kernel that knows which row
comes next fetches it early, and computes meanwhile. Nothing but time depends on it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LINE = 64  # bytes that come from memory at once
AHEAD = 8  # rows that a loop fetches early: the time they take is that of about as many products


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    """LLVM's prefetch of the line at an address: to be read, and kept in all caches."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.intp), code


@njit(nogil=True, cache=True)
def prefetch_row(rows_IF, row):
    """Fetch a row of a C-ordered table."""
    begin = rows_IF.ctypes.data + row * rows_IF.strides[0]
    for offset in range(0, rows_IF.shape[1] * rows_IF.itemsize, LINE):
        _prefetch(begin + offset)


@njit(nogil=True, cache=True)
def prefetch_first(rows_IF, index_N):
    """Before a loop over rows in the order of an index: fetch the first ``AHEAD`` of them."""
    for place in range(min(AHEAD, len(index_N))):
        prefetch_row(rows_IF, index_N[place])


@njit(nogil=True, cache=True)
def prefetch_later(rows_IF, index_N, place):
    """In a loop over rows in the order of an index: fetch the one that is ``AHEAD`` places later."""
    if place + AHEAD < len(index_N):
        prefetch_row(rows_IF, index_N[place + AHEAD])
