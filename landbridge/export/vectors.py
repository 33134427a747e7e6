"""Vectors of users and items for vector indexes and databases, which list what the model lists.

A dot product model scores x·y + w p, with the popularity p of an item and its weight w for the user (cold
start). As one product,

    score = [x, w] · [y, p]                                                                            (1)

Indexes that compare by cosine or Euclidean distance need items of one norm: with the largest norm M of the
items' vectors z, and q of the user (Bachrach et al., "Speeding up the Xbox recommender system using a
Euclidean transformation for inner-product spaces", RecSys 2014),

    z' = [z, √(M² - |z|²)],  q' = [q, 0]:  q'·z' = q·z,  |z'| = M,  |q' - z'|² = |q|² + M² - 2 q·z         (2)

U users, I items, F dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from landbridge.core.errors import DataError, MissingExtraError, SettingsError, unknown
from landbridge.core.files import atomic_write, make_folder, write_json
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.vocabulary import IdArray
from landbridge.models.base import DotProducts, Fitted

if TYPE_CHECKING:
    import polars as pl

Metric = Literal["dot", "cosine", "l2"]
METRICS: tuple[Metric, ...] = get_args(Metric)
# metric -> what faiss, pgvector's index, pgvector's operator, Qdrant and usearch call it
_FAISS = {"dot": "IndexFlatIP", "cosine": "IndexFlatIP", "l2": "IndexFlatL2"}
_OPS = {"dot": "vector_ip_ops", "cosine": "vector_cosine_ops", "l2": "vector_l2_ops"}
_OPERATOR = {"dot": "<#>", "cosine": "<=>", "l2": "<->"}
_QDRANT = {"dot": "Dot", "cosine": "Cosine", "l2": "Euclid"}
_USEARCH = {"dot": "ip", "cosine": "cos", "l2": "l2sq"}
COPY_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors of a domain's users and listed items, in the order of their ids, for one metric of an index.

    ``model`` is ``fitted`` as products. Those of the users are computed at their first use.
    """

    fitted: Fitted
    model: DotProducts
    domain: str
    items: IdArray
    titles: IdArray | None
    item_IF: Float32
    metric: Metric

    @property
    def users(self) -> IdArray:
        """The raw ids of the users, (U,)."""
        return self.fitted.history.users.ids

    @cached_property
    def user_UF(self) -> Float32:
        """Eq. (1), with Eq. (2) for "cosine" and "l2"."""
        everyone = Queries.of_users(np.arange(self.fitted.history.n_users))
        user_UF, weight_U = self.model.query_embeddings(self.domain, everyone)
        parts = [user_UF, weight_U[:, None]]  # Eq. (1)
        if self.metric != "dot":
            parts.append(np.zeros_like(weight_U)[:, None])  # Eq. (2)
        return np.concatenate(parts, axis=1)


def vectors_of(fitted: Fitted, domain: str, metric: Metric = "dot") -> Vectors:
    """The vectors of a domain, Eq. (1), with Eq. (2) for "cosine" and "l2".

    DataError for a model whose score is no product of two vectors; SettingsError for another metric.
    """
    if metric not in METRICS:
        raise SettingsError(unknown("metric of an index", metric, METRICS))
    name = fitted.history.named(domain)
    model = fitted.as_dot_products()
    if model is None:
        raise DataError(
            f"The score of a {fitted.method.name} model is no product of a user's and an item's vector, so "
            "there are none to export; `landbridge recommend RUN --all FOLDER` writes its lists."
        )
    history = fitted.history
    events = history[name]
    share_I = events.item_counts / max(int((events.user_counts > 0).sum()), 1)
    listed_I = ~fitted.unlisted(name)
    items_IF = np.column_stack((model.item_IF[name], share_I.astype(np.float32)))[listed_I]  # Eq. (1)
    if metric != "dot":
        norm_I = np.linalg.norm(items_IF.astype(np.float64), axis=1)
        rest_I = np.sqrt(norm_I.max(initial=0) ** 2 - norm_I**2)
        items_IF = np.column_stack((items_IF, rest_I))  # Eq. (2)
    titles = history.titles.get(name)
    return Vectors(
        fitted,
        model,
        name,
        history.items[name].ids[listed_I],
        None if titles is None else titles[listed_I],
        np.ascontiguousarray(items_IF, np.float32),
        metric,
    )


def export(fitted: Fitted, domain: str, to: str, out: str | Path, metric: Metric = "dot") -> list[Path]:
    """Write the vectors of a domain into the folder ``out`` in the form of ``to``; the written files.

    ``to``: parquet, numpy, faiss, usearch, pgvector, qdrant or onnx. Files of these names are replaced.
    SettingsError for another form, MissingExtraError where its package is not installed.
    """
    if to not in WRITERS:
        raise SettingsError(unknown("form of export", to, WRITERS))
    vectors, folder = vectors_of(fitted, domain, metric), Path(out)
    make_folder(folder)
    return WRITERS[to](vectors, folder)


def _frame(kind: str, ids: IdArray, vector_RF: Float32, titles: IdArray | None = None) -> pl.DataFrame:
    """Columns user or item, title (if any), vector."""
    import polars as pl

    columns: dict[str, Any] = {kind: ids.tolist()} | ({} if titles is None else {"title": titles.tolist()})
    vector = pl.Series("vector", vector_RF, pl.Array(pl.Float32, vector_RF.shape[1]))
    return pl.DataFrame(columns).with_columns(vector)


def _items(vectors: Vectors) -> pl.DataFrame:
    return _frame("item", vectors.items, vectors.item_IF, vectors.titles)


def _frames(vectors: Vectors) -> dict[str, pl.DataFrame]:
    return {
        "items": _items(vectors),
        "users": _frame("user", vectors.users, vectors.user_UF),
    }


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    with atomic_write(path) as temporary:
        write(temporary)
    return path


def _parquet(vectors: Vectors, folder: Path) -> list[Path]:
    return [
        _written(folder / f"{name}.parquet", frame.write_parquet) for name, frame in _frames(vectors).items()
    ]


def _numpy(vectors: Vectors, folder: Path) -> list[Path]:
    # fixed-width text and numbers only: such a file needs no pickle
    arrays = {
        "users": _plain(vectors.users),
        "items": _plain(vectors.items),
        "user_vectors": vectors.user_UF,
        "item_vectors": vectors.item_IF,
    }

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    return [_written(folder / "vectors.npz", write)]


def _plain(ids: IdArray) -> Any:
    return ids if ids.dtype == np.int64 else np.asarray(ids.tolist(), np.str_)


def _faiss(vectors: Vectors, folder: Path) -> list[Path]:
    try:
        import faiss
    except ModuleNotFoundError:
        raise MissingExtraError("A faiss index needs faiss: pip install 'landbridge[ann]'.") from None

    index = getattr(faiss, _FAISS[vectors.metric])(vectors.item_IF.shape[1])
    index.add(vectors.item_IF)
    index_file = _written(folder / "items.faiss", lambda path: faiss.write_index(index, str(path)))
    # its labels are the rows of items.parquet
    return [index_file, *_parquet(vectors, folder)]


def _usearch(vectors: Vectors, folder: Path) -> list[Path]:
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise MissingExtraError("A usearch index needs usearch: pip install 'landbridge[usearch]'.") from None

    index = Index(ndim=vectors.item_IF.shape[1], metric=_USEARCH[vectors.metric], dtype="f32")
    index.add(np.arange(len(vectors.items)), vectors.item_IF)
    index_file = _written(folder / "items.usearch", lambda path: index.save(str(path)))
    # its keys are the rows of items.parquet
    return [index_file, *_parquet(vectors, folder)]


def _pgvector(vectors: Vectors, folder: Path) -> list[Path]:
    return [
        _written(folder / f"{name}.sql", partial(_sql, name, frame, vectors.metric))
        for name, frame in _frames(vectors).items()
    ]


def _sql(name: str, frame: pl.DataFrame, metric: Metric, path: Path) -> None:
    """One table as SQL for psql: its definition, its rows by COPY, and for items the index."""
    import polars as pl

    kind, texts, size = frame.columns[0], frame.columns[:-1], frame["vector"].to_numpy().shape[1]
    types = {
        column: "bigint PRIMARY KEY" if frame.schema[column] == pl.Int64 else "text" for column in texts
    } | ({kind: "text PRIMARY KEY"} if frame.schema[kind] == pl.String else {})
    defined = ", ".join([*(f'"{column}" {types[column]}' for column in texts), f"vector vector({size})"])
    head = (
        "-- psql -f this file; the database needs the extension pgvector\n"
        "CREATE EXTENSION IF NOT EXISTS vector;\n"
        f"DROP TABLE IF EXISTS {name};\nCREATE TABLE {name} ({defined});\n"
        f"COPY {name} FROM stdin;\n"
    )
    rows = frame.with_columns(
        *(_escaped(column) for column in texts if frame.schema[column] == pl.String),
        pl.format("[{}]", pl.col("vector").arr.to_list().cast(pl.List(pl.String)).list.join(",")),
    )
    tail = "\\.\n"
    if name == "items":
        tail += (
            f"CREATE INDEX ON items USING hnsw (vector {_OPS[metric]});\n"
            f"-- the best items of a user: SELECT item FROM items ORDER BY vector {_OPERATOR[metric]} "
            '(SELECT vector FROM users WHERE "user" = ...) LIMIT 10;\n'
        )
    with path.open("wb") as file:
        file.write(head.encode())
        rows.write_csv(file, include_header=False, separator="\t", quote_style="never")
        file.write(tail.encode())


def _escaped(column: str) -> pl.Expr:
    import polars as pl

    text = pl.col(column)
    for plain, escape in COPY_ESCAPES:
        text = text.str.replace_all(plain, escape, literal=True)
    return text


def _qdrant(vectors: Vectors, folder: Path) -> list[Path]:
    """Points as JSON lines, their ids the row numbers, and the body that creates the collection."""
    import polars as pl

    frames = _frames(vectors)
    written = [
        _written(
            folder / f"{name}.jsonl",
            frame.select(
                pl.int_range(pl.len()).alias("id"),
                pl.col("vector").arr.to_list(),
                pl.struct(frame.columns[:-1]).alias("payload"),
            ).write_ndjson,
        )
        for name, frame in frames.items()
    ]
    body = {"vectors": {"size": vectors.item_IF.shape[1], "distance": _QDRANT[vectors.metric]}}
    write_json(folder / "collection.json", body)
    return [folder / "collection.json", *written]


def _onnx(vectors: Vectors, folder: Path) -> list[Path]:
    """The network, the items that it is to be multiplied with, and the numbers of the items that it reads."""
    from landbridge.export.network import write_network

    fitted = vectors.fitted
    network = fitted.query_network(vectors.domain)
    if network is None:
        raise DataError(
            f"A {fitted.method.name} model computes no user's vector from events by a network; export its "
            "vectors, for instance --to parquet."
        )
    extra = vectors.item_IF.shape[1] - vectors.model.item_IF[vectors.domain].shape[1] - 1
    return [
        _written(folder / "network.onnx", lambda path: write_network(network, extra, path)),
        _written(folder / "items.parquet", _items(vectors).write_parquet),
        _written(folder / "numbers.parquet", _numbers(fitted.history).write_parquet),
    ]


def _numbers(history: MultiDomain) -> pl.DataFrame:
    """The number of each item of each domain in the joined catalogue: domain, item, number."""
    import polars as pl

    # ids of the domains may differ in their kind
    ids = [history.items[name].ids.tolist() for name in history.domain_names]
    mixed = len({type(each[0]) for each in ids if each}) > 1
    return pl.concat(
        pl.DataFrame({"domain": name, "item": list(map(str, each)) if mixed else each})
        for name, each in zip(history.domain_names, ids, strict=True)
        if each
    ).with_row_index("number")


WRITERS: dict[str, Callable[[Vectors, Path], list[Path]]] = {
    "faiss": _faiss,
    "numpy": _numpy,
    "onnx": _onnx,
    "parquet": _parquet,
    "pgvector": _pgvector,
    "qdrant": _qdrant,
    "usearch": _usearch,
}
