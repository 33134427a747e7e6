"""Measure the constants of this machine: each kind of operation alone, for some hundredths of a second.

What is timed are the package's own kernels where a kind is one of them, on arrays of usual sizes. The time
of a kind is the median of several repetitions, on one thread, in seconds of the processor: where other work
takes the caches, a fit is slower, too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec

import numpy as np

from landbridge.core.threads import thread_limit
from landbridge.core.types import Ragged
from landbridge.data.counts import RowLengths, TableCounts
from landbridge.models.cost import Work
from landbridge.planning.machine import Machine, Process

REPETITIONS = 9
FACTORS = 64
ROW_FACTORS, ROW_LENGTHS = (32, 64, 128, 192), (0, 1, 2, 4, 8, 15, 24, 40, 64, 128, 512)
SHAPES = (
    (1500, 600, 40),
    (1000, 20_000, 20),
    (800, 4000, 30),
    (4000, 10_000, 5),
    (1500, 400, 100),  # many events of the same pairs: additions alone
)  # users, items, events each
LISTS = (20, 100)
LIST_KINDS = ("scatter", "offer", "list")
ROW_KINDS = ("tile", "cholesky", "triangle", "vector", "find", "row")
START = """
import sys, time
import numpy as np
import landbridge as lb
from landbridge.core.system import peak_bytes
from landbridge.models import registry
from landbridge.training.options import FitOptions
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
events = Interactions.from_events([0, 0, 1, 1, 2], [0, 1, 1, 2, 2], 3, 3, time=[1, 2, 3, 4, 5])
data = lb.MultiDomain(Vocabulary.of(range(3)), {"a": Vocabulary.of(range(3))}, {"a": events})
for name in sys.argv[1:]:
    registry.method(name)(epochs=1).fit(data, FitOptions(threads=1))
print(time.process_time(), peak_bytes())
"""


def measured() -> Machine:
    """The constants of this machine."""
    return Machine(unit(), _process(), True)


def unit() -> Work:
    """Seconds of one operation of each kind; 0 for those of torch where it is not there."""
    with thread_limit(1):
        return _work() + _torch_work()


def _process() -> Process:
    """Twice each: the first start compiles what is not in the cache."""
    seconds, size = np.min([_started("ials") for _ in range(2)], axis=0).tolist()
    if find_spec("torch") is None:
        return Process(seconds, size, 0.0, 0.0)
    torch_seconds, torch_size = np.min([_started("ials", "sasrec") for _ in range(2)], axis=0).tolist()
    return Process(seconds, size, max(torch_seconds - seconds, 0.0), max(torch_size - size, 0.0))


def _started(*methods: str) -> tuple[float, float]:
    command = [sys.executable, "-c", START, *methods]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(answer[-2]), float(answer[-1])


def _typical(work: Callable[[], object]) -> float:
    """Seconds of the middle one of the repetitions; the first call compiles."""
    work()
    seconds = []
    for _ in range(REPETITIONS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return max(float(np.median(seconds)), 1e-9)


def _work() -> Work:
    rng = np.random.default_rng(0)
    return Work(
        **_rows(rng),
        product=_product(rng),
        factorisation=_factorisation(rng),
        eigen=_eigen(rng),
        adam=_adam(rng),
        normal=_normal(rng),
        stream=_stream(),
        step=_step(rng),
        lookup=_lookup(rng),
        meet=_meet(rng),
        **_lists(rng),
        sort=_sort(rng),
        draw=_draw(rng),
    )


def _product(rng: np.random.Generator) -> float:
    """Rows turned into another basis, and their Gramian."""
    from landbridge.models.als.solver import gramian, rotate

    rows_RF, turn_FF = (rng.random((n, FACTORS), np.float32) for n in (8192, FACTORS))
    seconds = _typical(lambda: (rotate(rows_RF, turn_FF, 1, rows_RF.copy()), gramian(rows_RF, 1)))
    return seconds / (4 * len(rows_RF) * FACTORS**2)


def _factorisation(rng: np.random.Generator) -> float:
    from landbridge.models.linear.ridge import inverted

    square = rng.random((1200, 1200))
    square = square @ square.T + 1200 * np.eye(1200)
    return _typical(lambda: inverted(square.copy())) / 1200**3


def _eigen(rng: np.random.Generator) -> float:
    rows = rng.random((500, 96))
    square = rows.T @ rows
    return _typical(lambda: [np.linalg.eigh(square) for _ in range(2)]) / (2 * 96**3)


def _rows(rng: np.random.Generator) -> dict[str, float]:
    """The kinds of work of a row of ALS: those that fit the times of rows of several lengths, relative to
    these, with no amount below 0."""
    from scipy.optimize import nnls

    from landbridge.models.als.cost import rows_work
    from landbridge.models.als.solver import Basis, solve

    parts = []
    for factors in ROW_FACTORS:
        items_IF = rng.standard_normal((15_000, factors), np.float32)
        items = Basis(np.eye(factors, dtype=np.float32), np.ones(factors), items_IF)
        for length in ROW_LENGTHS:
            each = (length + 8) * factors + 4 * min(length, factors) ** 2  # about the work of one
            size = int(np.clip(1e6 / each, 50, 4000))
            column_N = np.sort(rng.integers(0, len(items_IF), (size, length)), axis=1).astype(np.int32)
            rows = Ragged(np.arange(size + 1) * length, column_N.ravel())
            ridge_R = np.ones(size, np.float32)
            seconds = _typical(partial(solve, rows, items, 0.1, ridge_R)) / size
            work = asdict(rows_work(RowLengths(np.array([length]), np.array([1.0]), 1.0), factors))
            parts.append([work[kind] / seconds for kind in ROW_KINDS])
    unit_K, _ = nnls(np.array(parts), np.ones(len(parts)))
    return dict(zip(ROW_KINDS, unit_K.tolist(), strict=True))


def _adam(rng: np.random.Generator) -> float:
    from landbridge.training.optimizers import Optimizer

    table_RF = rng.random((50_000, FACTORS), np.float32)
    optimizer = Optimizer("adam", 1e-3)
    slots = optimizer.slots(table_RF)
    rows_T = rng.permutation(len(table_RF))[:3000].astype(np.int32)
    grad_TF = rng.random((len(rows_T), FACTORS), np.float32)
    return _typical(lambda: optimizer.step(table_RF, slots, rows_T, grad_TF)) / grad_TF.size


def _normal(rng: np.random.Generator) -> float:
    return _typical(lambda: rng.standard_normal(300_000, np.float32)) / 300_000


def _stream() -> float:
    """A copy into fresh memory."""
    block = np.ones(16 << 20, np.float32)
    return _typical(block.copy) / (2 * block.nbytes)


def _table(rng: np.random.Generator, users: int, items: int, each: int) -> tuple[Ragged, Ragged]:
    """Events by user and by item, the items by popularity."""
    item_N = (items * rng.random(users * each) ** 2).astype(np.int32)
    user_N = np.repeat(np.arange(users, dtype=np.int32), each)
    ones_N = np.ones(len(user_N), np.float32)
    return Ragged.from_index(user_N, item_N, users, ones_N), Ragged.from_index(item_N, user_N, items, ones_N)


def _step(rng: np.random.Generator) -> float:
    """A product of conjugate gradients."""
    from landbridge.models.als.kernels import _multiply

    items_IF, one_F = rng.random((15_000, FACTORS), np.float32), np.ones(FACTORS, np.float32)
    column_N, none_N, out_F = rng.integers(0, 15_000, 200), np.empty(0, np.float32), np.empty_like(one_F)
    column_N = column_N.astype(np.int32)

    def steps() -> None:
        for _ in range(200):
            _multiply(column_N, none_N, items_IF, one_F, one_F, out_F)

    return _typical(steps) / (200 * 2 * len(column_N) * FACTORS)


def _lists(rng: np.random.Generator) -> dict[str, float]:
    """Powers alone; then additions, offers and lists, which fit the times of lists of neighbours on tables of
    several shapes, relative to these, with no amount below 0."""
    from scipy.optimize import nnls

    from landbridge.models.linear import cost as linear_cost
    from landbridge.models.linear import kernels, ridge

    power, parts, right = _power(rng), [], []
    for users, items, each in SHAPES:
        rows, columns = _table(rng, users, items, each)
        pair = [(table.offsets, table.columns, table.weights) for table in (rows, columns)]
        ones_J, counts = (
            np.ones(items, np.float32),
            TableCounts(*map(RowLengths.of, (rows.lengths, columns.lengths))),
        )
        item_I, bounds = np.arange(items, dtype=np.int32), np.array([0, items])
        for most in LISTS:
            out = ridge.neighbour_lists(items, most)
            settings = np.float32(5), np.float32(1)
            seconds = _typical(
                partial(kernels.nearest, 1, *pair, ones_J, ones_J, ones_J, settings, item_I, bounds, out)
            )
            found = linear_cost.neighbours(counts, counts.items, most)
            work = linear_cost.listing_work(found) + Work(scatter=counts.users.squares)
            parts.append([getattr(work, kind) / seconds for kind in LIST_KINDS])
            right.append(1 - power * found.total(found.touched_KQ) / seconds)
    unit_K, _ = nnls(np.array(parts), np.array(right))
    return {"power": power, **dict(zip(LIST_KINDS, unit_K.tolist(), strict=True))}


def _lookup(rng: np.random.Generator) -> float:
    from landbridge.planning.calibration_kernels import looked_up

    table_JJ = np.zeros((5000, 5000), np.float32)
    chosen = [np.sort(rng.integers(0, 5000, 100)) for _ in range(20)]
    return _typical(lambda: [looked_up(table_JJ, index_N) for index_N in chosen]) / (20 * 100 * 101 / 2)


def _meet(rng: np.random.Generator) -> float:
    """The events of neighbours, and the pairs of them that share a user."""
    from landbridge.models.linear.kernels import _small_gram

    users, items = SHAPES[0][:2]
    columns = _table(rng, *SHAPES[0])[1]
    by_item, last_U = (columns.offsets, columns.columns, columns.weights), np.full(users, -1, np.int32)
    chosen = [rng.choice(items, LISTS[1], replace=False).astype(np.int32) for _ in range(5)]
    amount = 0.0
    for chosen_N in chosen:
        count_U = np.bincount(columns.take(chosen_N).columns, minlength=users)
        amount += float((count_U + count_U * (count_U + 1) / 2).sum())
    system_NN = np.zeros((LISTS[1], LISTS[1]), np.float32)
    return _typical(lambda: [_small_gram(by_item, each, last_U, system_NN) for each in chosen]) / amount


def _power(rng: np.random.Generator) -> float:
    from landbridge.planning.calibration_kernels import powers

    value_N = rng.random(200_000, np.float32)
    out_N = np.empty_like(value_N)
    return _typical(lambda: powers(value_N, np.float32(1.0), out_N)) / len(value_N)


def _sort(rng: np.random.Generator) -> float:
    item_N = (30_000 * rng.random(100_000) ** 2).astype(np.int32)
    user_N = np.arange(len(item_N), dtype=np.int32)
    return _typical(lambda: Ragged.from_index(item_N, user_N, 30_000)) / len(item_N)


def _draw(rng: np.random.Generator) -> float:
    """A pair with rows of few numbers: drawn, grouped, its loss."""
    from landbridge.data.interactions import Interactions
    from landbridge.data.sampling.pairwise import Pairwise
    from landbridge.models.pairwise.table import PairwiseTable
    from landbridge.training.optimizers import Optimizer

    users, items = rng.integers(0, 5000, 40_000), (10_000 * rng.random(40_000) ** 2).astype(np.int64)
    events = Interactions.from_events(users, items, 5000, 10_000)
    pairs = Pairwise(events, {"a": slice(0, 10_000)})
    table = PairwiseTable(pairs, Optimizer("sgd", 1e-3), 0.0, 2048)
    state = table.start(1, 0.1)
    return _typical(lambda: table.epoch(state, 0)) / len(events)


def _torch_work() -> Work:
    """Without torch, nothing: no method that needs it can be fitted."""
    if find_spec("torch") is None:
        return Work()
    from landbridge.training.loop import threads
    from landbridge.training.torch_backend import torch

    gelu = torch.nn.functional.gelu

    with threads(1):
        below, weight = torch.randn(3200, FACTORS), torch.randn(256, FACTORS)
        small = torch.randn(4)
        above = below @ weight.T
        network = _typical(lambda: [below @ weight.T for _ in range(5)]) / 5
        pointwise = _typical(lambda: [gelu(above) for _ in range(5)]) / 5
        exponential = _softmax(512, 8192)
        call = _typical(lambda: [small + 1 for _ in range(1000)]) / 1000
    return Work(
        network=network / (2 * below.numel() * 256),
        pointwise=pointwise / above.numel(),
        exponential=exponential,
        call=call,
    )


def _softmax(targets: int, items: int) -> float:
    """A score of a softmax on rows of one number, forward and backward."""
    from landbridge.models.sequential.losses import all_items, cross_entropy
    from landbridge.training.torch_backend import torch

    query_TF, item_CF, weight_T = torch.randn(targets, 1), torch.randn(items, 1), torch.ones(targets)
    among = all_items(range(items), torch.arange(targets))
    return _typical(lambda: cross_entropy(query_TF, item_CF, among, weight_T)) / (targets * items)
