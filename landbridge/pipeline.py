"""The whole way, and the only file that knows it: read -> split -> fit -> evaluate -> save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge import store
from landbridge.config import Spec
from landbridge.core.errors import StoreError
from landbridge.core.files import exclusive_lock, is_temporary
from landbridge.core.progress import Progress, Silent
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.datasets.prepare import prepare_data, threads
from landbridge.models.base import Fitted
from landbridge.selection.fitting import check, fit_spec
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from landbridge.evaluation.evaluate import Evaluation

KEPT_WHILE_FITTING = ("checkpoint.safetensors", "trials.log", "identity.json")


@dataclass(frozen=True, eq=False)
class Run:
    """What an experiment gave; without a split there is nothing to judge on."""

    fitted: Fitted
    holdout: Holdout | None
    evaluation: Evaluation | None


def run(
    spec: Spec,
    out: Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run an experiment and keep it in the run folder ``out``.

    While it fits, ``out.checkpoint`` holds its progress; ``resume`` continues what a killed run left there.
    """
    check(spec.model)
    progress = progress or Silent()
    if out is None:
        return _run(spec, None, progress)
    work_dir = out.with_name(f"{out.name}.checkpoint")
    with _alone(work_dir, out):
        if not resume:
            _empty(work_dir)
        result = _run(spec, out, progress, work_dir)
        _empty(work_dir)
    return result


def _run(spec: Spec, out: Path | None, progress: Progress, work_dir: Path | None = None) -> Run:
    split = prepare_data(spec)
    options = FitOptions(spec.fit.seed, threads(spec), progress=progress, work_dir=work_dir)
    fitted = fit_spec(spec, split, options)
    holdout = split.test if isinstance(split, Split) else None
    if out is not None:
        _keep(out, spec, fitted, holdout)
    evaluation = None if holdout is None else evaluate_run(fitted, holdout, out, threads(spec), progress)
    return Run(fitted, holdout, evaluation)


@contextmanager
def _alone(work_dir: Path, out: Path) -> Iterator[None]:
    """Only one fit at a time writes a run folder."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(work_dir))
        except FileExistsError:
            raise StoreError(
                f"{work_dir} is a file, but the way of a fit is kept there; move it away."
            ) from None
        except BlockingIOError:
            raise StoreError(f"Another fit is writing {out}; wait for it or give another folder.") from None
        try:
            yield
        finally:
            with suppress(OSError):  # it stays where there is something to go on from
                work_dir.rmdir()


def evaluate_run(
    fitted: Fitted,
    holdout: Holdout,
    out: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate on the holdout and keep the rows in the run folder as ``evaluation``."""
    from landbridge.evaluation.evaluate import evaluate

    evaluation = evaluate(fitted, holdout, threads=threads, progress=progress or Silent())
    if out is not None:
        store.attach(out, "evaluation", "parquet", evaluation.write)
    return evaluation


def evaluate_saved(path: Path, progress: Progress | None = None) -> Evaluation:
    """The evaluation of a saved run on the test part kept with it."""
    fitted = store.load(path)
    return evaluate_run(fitted, store.load_holdout(path, fitted.history), path, progress=progress)


def _keep(out: Path, spec: Spec, fitted: Fitted, holdout: Holdout | None) -> None:
    store.save(fitted, out)
    store.attach(out, "experiment", "toml", lambda file: file.write_bytes(spec.toml()))
    if holdout is not None:
        store.save_holdout(out, holdout)


def _empty(work_dir: Path) -> None:
    """Remove what is in a work_dir folder, unless it is something else."""
    inside = sorted(work_dir.rglob("*"), reverse=True)
    if foreign := [path for path in inside if path.is_file() and not _is_checkpoint(path)]:
        raise StoreError(
            f"{work_dir} is no work_dir, it holds other files ({foreign[0].name}); move it away."
        )
    for path in inside:
        path.rmdir() if path.is_dir() else path.unlink()


def _is_checkpoint(path: Path) -> bool:
    return path.name in KEPT_WHILE_FITTING or is_temporary(path)
