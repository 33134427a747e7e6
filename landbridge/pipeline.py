"""The pipeline of an experiment: read -> split -> fit -> save -> evaluate. No other file runs all of it."""

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
from landbridge.evaluation.metrics import Metric
from landbridge.models.base import Fitted
from landbridge.selection.fitting import check, fit_spec
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from landbridge.evaluation.evaluate import Evaluation

KEPT_WHILE_FITTING = ("checkpoint.safetensors", "trials.log", "identity.json")


@dataclass(frozen=True, eq=False)
class Run:
    """The result of an experiment. Without a split there is no holdout and no evaluation."""

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
    """Run an experiment and save it in the run folder ``out`` (None: save nothing).

    The folder ``OUT.checkpoint`` beside it is the work_dir of the fit; with ``resume`` a killed run continues
    from it. Raises StoreError if another fit is writing the same run.
    """
    check(spec.model)
    for name in (*spec.evaluate.metrics, spec.fit.validate_on):
        Metric.parse(name)  # a wrong name is an error before anything is fitted
    progress = progress or Silent()
    if out is None:
        return _run(spec, None, progress)
    work_dir = out.with_name(f"{out.name}.checkpoint")
    with _exclusive(work_dir, out):
        if not resume:
            # else a checkpoint of an earlier fit with other settings would be an error
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
        # saved before the evaluation: a failure there does not lose the fit
        _save(out, spec, fitted, holdout)
    evaluation = None if holdout is None else evaluate_run(fitted, holdout, out, threads(spec), progress)
    return Run(fitted, holdout, evaluation)


@contextmanager
def _exclusive(work_dir: Path, out: Path) -> Iterator[None]:
    """Lock the work_dir, so that only one fit at a time writes a run folder."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(work_dir))
        except FileExistsError:
            raise StoreError(
                f"{work_dir} must be a folder, but it is a file. Move it or choose another --out."
            ) from None
        except BlockingIOError:
            raise StoreError(f"Another fit is writing {out}. Wait for it or choose another folder.") from None
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: a killed or failed fit can be resumed
                work_dir.rmdir()


def evaluate_run(
    fitted: Fitted,
    holdout: Holdout,
    out: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate on the holdout and attach the rows to the run folder as ``evaluation``."""
    from landbridge.evaluation.evaluate import evaluate

    evaluation = evaluate(fitted, holdout, threads=threads, progress=progress or Silent())
    if out is not None:
        store.attach(out, "evaluation", "parquet", evaluation.write)
    return evaluation


def evaluate_saved(path: Path, progress: Progress | None = None) -> Evaluation:
    """Evaluate a saved run on the test data stored with it."""
    fitted = store.load(path)
    return evaluate_run(fitted, store.load_holdout(path, fitted.history), path, progress=progress)


def _save(out: Path, spec: Spec, fitted: Fitted, holdout: Holdout | None) -> None:
    store.save(fitted, out)
    store.attach(out, "experiment", "toml", lambda file: file.write_bytes(spec.toml()))
    if holdout is not None:
        store.save_holdout(out, holdout)


def _empty(work_dir: Path) -> None:
    """Remove the files of a fit from its work_dir; refuse if the folder holds any other file."""
    # reversed: files before the folders that hold them
    inside = sorted(work_dir.rglob("*"), reverse=True)
    if foreign := [path for path in inside if path.is_file() and not _is_work_file(path)]:
        raise StoreError(
            f"{work_dir} holds files that no fit wrote ({foreign[0].name}). Move the folder away."
        )
    for path in inside:
        path.rmdir() if path.is_dir() else path.unlink()


def _is_work_file(path: Path) -> bool:
    return path.name in KEPT_WHILE_FITTING or is_temporary(path)
