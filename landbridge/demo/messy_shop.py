"""Four files as two shops have them, each with faults of its own: the data of docs/tutorial.md.

``python -m landbridge.demo.messy_shop FOLDER`` writes them. The events are planted: a customer rates articles
of one category well and a few of others badly. Both shops sell a third of all products, under numbers of
their own, and have a third of their customers in common.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

CATEGORIES = ("tea", "tools", "toys", "garden")
BRANDS = ("Acme", "Birch", "Cobalt", "Dune & Co", "Elm")
CUSTOMERS = {"north": range(300), "south": range(200, 500)}
ARTICLES = {"north": range(120), "south": range(60, 180)}  # products; 60 to 119 are sold in both
LIKED, DISLIKED = 9, 3  # ratings of a customer in a shop


def events_of(shop: str, rng: np.random.Generator) -> pl.DataFrame:
    """Planted events: customer, product, stars, day since 2025 began."""
    import polars as pl

    products = np.array(ARTICLES[shop])
    rows: list[tuple[int, int, float]] = []
    for customer in CUSTOMERS[shop]:
        own = products % len(CATEGORIES) == customer % len(CATEGORIES)
        liked, other = rng.permutation(products[own])[:LIKED], rng.permutation(products[~own])[:DISLIKED]
        rows += [(customer, int(product), float(rng.choice([4, 4.5, 5]))) for product in liked]
        rows += [(customer, int(product), float(rng.choice([1, 1.5, 2]))) for product in other]
    table = pl.DataFrame(rows, ["customer", "product", "stars"], orient="row")
    # the first twelve days of every month: no date says which of its numbers is the day
    return table.with_columns(
        month=pl.Series(rng.integers(1, 13, len(rows))), day=pl.Series(rng.integers(1, 13, len(rows)))
    )


def write_files(folder: Path) -> None:
    """Write north.csv, south.dat, links.csv and items.csv."""
    rng = np.random.default_rng(2025)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "north.csv": _north(events_of("north", rng)),
        "south.dat": _south(events_of("south", rng)),
        "links.csv": _links(),
        "items.csv": _items(rng),
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _north(events: pl.DataFrame) -> list[str]:
    """Semicolons, decimal commas, dates that can be read in two ways, and a sale without its customer."""
    head = "Customer No;Article;Sold on;Stars"
    rows = [
        f"C{customer:03};{_number('north', product)};{day:02}/{month:02}/2025;{stars:.1f}".replace(".", ",")
        for customer, product, stars, month, day in events.rows()
    ]
    return [head, *rows[:400], f";{_number('north', 3)};05/02/2025;4,0", *rows[400:]]


def _south(events: pl.DataFrame) -> list[str]:
    """No header, another separator, whole stars, seconds, and customers in lower case."""
    import polars as pl

    time = pl.datetime(2025, pl.col("month"), pl.col("day")).dt.epoch("s")
    rows = events.with_columns(time).select("customer", "product", "stars", time.alias("time")).rows()
    return [
        f"c{customer:03}::{_number('south', product)}::{int(stars)}::{seconds}"
        for customer, product, stars, seconds in rows
    ]


def _links() -> list[str]:
    """Which articles are one product, and a wrong pair that its maker was not sure of."""
    pairs = [(product, product, 0.95) for product in sorted({*ARTICLES["north"]} & {*ARTICLES["south"]})]
    return [
        "domain_a,item_a,domain_b,item_b,confidence",
        *(
            f"north,{_number('north', one)},south,{_number('south', other)},{confidence}"
            for one, other, confidence in [*pairs, (5, 60, 0.4)]
        ),
    ]


def _items(rng: np.random.Generator) -> list[str]:
    """What is known of the articles, prices with decimal commas; and an article that was never sold."""
    rows = [
        f"{shop};{_number(shop, product)};{_title(product)};{CATEGORIES[product % len(CATEGORIES)]};"
        f"{BRANDS[product % len(BRANDS)]};{_price(rng)};{int(rng.integers(0, 5))}"
        for shop, products in ARTICLES.items()
        for product in products
    ]
    return ["domain;item;title;category;brand;price;stock", *rows, "north;N-999;Lamp;light;Acme;9,90;1"]


def _price(rng: np.random.Generator) -> str:
    return f"{rng.integers(200, 6000) / 100:.2f}".replace(".", ",")


def _number(shop: str, product: int) -> str:
    return f"N-{product:03}" if shop == "north" else str(4000 + product)


def _title(product: int) -> str:
    return f"{CATEGORIES[product % len(CATEGORIES)].capitalize()} {product}"


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
