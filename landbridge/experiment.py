"""The whole way, and the only file that knows it: read -> split -> fit -> evaluate -> save."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge import store
from landbridge.data.holdout import Holdout, Split
from landbridge.data.multidomain import MultiDomain
from landbridge.errors import SettingsError, StoreError
from landbridge.files import claimed, is_temporary
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.progress import Progress, Silent
from landbridge.settings import Spec
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


Fit = Callable[[Spec, Split | MultiDomain, FitOptions], Fitted]


def run(
    spec: Spec,
    out: Path | None = None,
    *,
    fit: Fit | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run an experiment and keep it in the run folder ``out``.

    ``fit``: how the spec's model is fitted on the divided data (default: :func:`plain`). While it fits,
    ``out.checkpoint`` holds the way so far; ``resume`` goes on from what a killed run left.
    """
    progress = progress or Silent()
    if out is None:
        return _run(spec, None, fit or plain, progress)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    with _alone(checkpoint, out):
        if not resume:
            _empty(checkpoint)
        result = _run(spec, out, fit or plain, progress, checkpoint)
        _empty(checkpoint)
    return result


def _run(spec: Spec, out: Path | None, fit: Fit, progress: Progress, checkpoint: Path | None = None) -> Run:
    split = prepared(spec)
    fitted = fit(
        spec, split, FitOptions(spec.fit.seed, threads(spec), progress=progress, checkpoint=checkpoint)
    )
    holdout = split.test if isinstance(split, Split) else None
    if out is not None:
        _keep(out, spec, fitted, holdout)
    evaluation = None if holdout is None else judge(fitted, holdout, out, threads(spec), progress)
    return Run(fitted, holdout, evaluation)


@contextmanager
def _alone(checkpoint: Path, out: Path) -> Iterator[None]:
    """Only one fit at a time writes a run folder."""
    with ExitStack() as held:
        try:
            held.enter_context(claimed(checkpoint))
        except FileExistsError:
            raise StoreError(
                f"{checkpoint} is a file, but the way of a fit is kept there; move it away."
            ) from None
        except BlockingIOError:
            raise StoreError(f"Another fit is writing {out}; wait for it or give another folder.") from None
        try:
            yield
        finally:
            with suppress(OSError):  # it stays where there is something to go on from
                checkpoint.rmdir()


def plain(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """The spec's method with its settings, the number of epochs chosen on validation where asked for."""
    method = registry.method(spec.model.name).from_settings(spec.model.settings)
    if isinstance(split, MultiDomain):
        return method.fit(split, options.within("fit"))
    if spec.fit.patience is not None and method.has_epochs:
        method = _with_best_epochs(method, split, spec, options.within("choose"))
    return method.fit(split.test.known, options.within("fit"))


def prepared(spec: Spec) -> Split | MultiDomain:
    """The data an experiment is about: divided, or whole where nothing is held out."""
    from landbridge.data.splits import with_candidates

    data = _read(spec)
    if isinstance(data, MultiDomain) and spec.split.kind == "none":
        return data
    split = _held_out(data, spec) if isinstance(data, MultiDomain) else data
    candidates = spec.split.candidates
    split = with_candidates(split, candidates, seed=spec.split.seed) if candidates else split
    return split.across() if spec.split.across else split


def judge(
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


def judged(path: Path, progress: Progress | None = None) -> Evaluation:
    """The evaluation of a saved run on the test part kept with it."""
    fitted = store.load(path)
    return judge(fitted, store.load_holdout(path, fitted.known), path, progress=progress)


def _read(spec: Spec) -> MultiDomain | Split:
    """The data; a published data set may come with its split."""
    from landbridge.data import catalog
    from landbridge.data.readers import read, read_published

    if spec.data.dataset is None:
        return read(**{key: value for key, value in spec.data if key != "dataset"})
    plain = type(spec.data)(dataset=spec.data.dataset)
    given = {key: value for key, value in spec.data if value != getattr(plain, key)}
    if not Path(spec.data.dataset).is_dir():
        return catalog.load(spec.data.dataset, **given)
    if given:
        raise SettingsError(f"A published folder takes no {next(iter(given))}: it is read as it is.")
    return read_published(spec.data.dataset, seed=spec.split.seed)


def _held_out(data: MultiDomain, spec: Spec) -> Split:
    from landbridge.data import splits

    kind, seed = spec.split.kind, spec.split.seed
    if kind == "auto":
        timed = all(events.time is not None for events in data.domains.values())
        kind = "last" if timed else "random"
    ways = {
        "last": lambda: splits.leave_last_out(data, seed=seed),
        "latest": lambda: splits.leave_latest_out(data, seed=seed),
        "random": lambda: splits.leave_one_out(data, seed=seed),
        "temporal": lambda: splits.temporal(data),
        "cold": lambda: splits.cold_users(data, seed=seed),
    }
    return ways[kind]()


def _with_best_epochs(method: Method, split: Split, spec: Spec, options: FitOptions) -> Method:
    """Choose the number of epochs on validation data alone; the model reported is then fitted anew."""
    from landbridge.evaluation.evaluate import Validator

    validate = Validator(split.valid, spec.fit.validate_on, options.threads)
    options = replace(options, validate=validate, patience=spec.fit.patience)
    return method.stopped(method.fit(split.train, options).log)


def _keep(out: Path, spec: Spec, fitted: Fitted, holdout: Holdout | None) -> None:
    store.save(fitted, out)
    store.attach(out, "experiment", "toml", lambda file: file.write_bytes(spec.toml()))
    if holdout is not None:
        store.save_holdout(out, holdout)


def threads(spec: Spec) -> int:
    """The threads an experiment may use: as many as it says, else all."""
    return spec.fit.threads or len(os.sched_getaffinity(0))


def _empty(checkpoint: Path) -> None:
    """Remove what is in a checkpoint folder, unless it is something else."""
    inside = sorted(checkpoint.rglob("*"), reverse=True)
    if foreign := [path for path in inside if path.is_file() and not _is_checkpoint(path)]:
        raise StoreError(
            f"{checkpoint} is no checkpoint, it holds other files ({foreign[0].name}); move it away."
        )
    for path in inside:
        path.rmdir() if path.is_dir() else path.unlink()


def _is_checkpoint(path: Path) -> bool:
    return path.name in KEPT_WHILE_FITTING or is_temporary(path)
