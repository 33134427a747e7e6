"""The demo as a page: the blend of tuned models over ten genres of MovieLens, and what was measured."""

from __future__ import annotations

from pathlib import Path

from landbridge import store
from landbridge.core.files import make_folder
from landbridge.data.dataset import MultiDomain
from landbridge.datasets.movielens import movielens_genres
from landbridge.demo.comparison import AUTO, Comparison, compared, options
from landbridge.demo.terminal import print_comparison


def run(port: int) -> None:
    """Fit into a run folder of the cache and serve it until stopped."""
    from platformdirs import user_cache_dir
    from rich.console import Console

    from landbridge.serving.runtime.server import serve
    from landbridge.serving.runtime.settings import serve_settings

    settings = serve_settings({"port": port})
    console, folder = Console(), Path(user_cache_dir("landbridge")) / "demo"
    console.print("[bold]MovieLens-1M, ten genres as domains, ratings of 4 and 5[/]")
    data = movielens_genres()
    comparison = compared(data)
    print_comparison(console, comparison)
    save(folder, comparison, data)
    console.print(f"The page: [bold]http://{settings.host}:{port}/[/]  (Ctrl+C ends it)")
    console.print(f"Another time: landbridge serve {folder}", soft_wrap=True)
    serve(folder, settings)


def save(folder: Path, comparison: Comparison, data: MultiDomain) -> None:
    """The blend fitted on all events as a run, with its evaluation and, attached as ``baseline``, that of the
    best single-domain models on the same test part."""
    make_folder(folder.parent)
    store.save(comparison.blend.fit_on(data, options().within("deploy")), folder, deployed=True)
    store.save_holdout(folder, comparison.split.test)
    for role, measured in (
        ("evaluation", comparison.evaluations[AUTO]),
        ("baseline", comparison.single_domain),
    ):
        store.attach(folder, role, "parquet", measured.write)
