"""The shops of three countries: MovieLens users cut into three domains with all films shared.

    python -m experiments.shops_countries              MovieLens-1M, the page docs/results/shops-countries.md
    python -m experiments.shops_countries ALS --wrong  ALS alone, without wrong links
    python -m experiments.shops_countries --small      a tenth of the users, a look; no page

No user is of two countries, so a country learns from another by its items alone. The yardstick is one
table made by hand (:class:`OneTable`): the users of all countries as users of one shop, with the same test
events and candidates. Then a fifth of the links is wrong. Every fit is a cell of its own, kept in
runs/experiments, so that a killed call goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np
import polars as pl

from experiments.common import CELLS, SEEDS, chosen, digest, grid, markdown, page, refitted, settings_text
from landbridge.core.settings import setting
from landbridge.core.types import Arrays, Float32, Int32, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.products import Products
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_last_out
from landbridge.data.vocabulary import Vocabulary
from landbridge.datasets.movielens import fetch
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.significance import compare_over_domains
from landbridge.models import registry
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.popularity import Popularity
from landbridge.selection.guard import guarded
from landbridge.training.options import FitOptions
from landbridge.version import __version__

COUNTRIES = ("de", "fr", "uk")
WRONG = 0.2  # share of the links that are wrong
METRIC = "ndcg@10"
ALONE, HAND, GUARDED = "a country alone", "one table by hand", "joined, guarded"
FAMILIES, MISTAKEN = ("ALS", "EASE", "popularity", "item-kNN"), ("ALS", "EASE")
Variants: TypeAlias = Mapping[str, Method]  # label -> method


@dataclass(frozen=True, eq=False)
class OneTableModel(Fitted):
    """A model of one shop, and the column of each country's items in it, (I,)."""

    shop: Fitted
    columns: Mapping[str, Int32]
    kind: ClassVar[str] = "one table"

    def score(self, domain: str, queries: Queries) -> Float32:
        """The shop's scores of the country's items, (B, I)."""
        return self.shop.score("shop", Queries.of_users(queries.user_idx))[:, self.columns[domain]]

    def state(self) -> tuple[Arrays, Record]:
        """The shop's arrays; its table and columns follow from the countries' events."""
        arrays, about = self.shop.state()
        return arrays, {"kind": self.shop.kind, "about": about, "log": [dict(each) for each in self.shop.log]}

    @classmethod
    def from_state(cls, kept: StoredState) -> OneTableModel:
        """The inverse of ``state``."""
        method = cast(OneTable, kept.method)
        table, columns = as_one_shop(kept.history)
        log, about = tuple(kept.about["log"]), kept.about["about"]
        shop = registry.kind(kept.about["kind"]).from_state(
            StoredState(table, method.shop, log, kept.arrays, about)
        )
        return cls(kept.history, method, kept.log, shop, columns)


@dataclass(frozen=True)
class OneTable(Method):
    """What a shop without shared items does: the tables of all countries as one, by hand."""

    method: str = setting("ease", "The method that learns the table.")
    settings: Mapping[str, Any] = setting({}, "Its settings.")
    name: ClassVar[str] = HAND

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> OneTableModel:
        """Equal films of the countries are columns of one table."""
        table, columns = as_one_shop(train)
        return OneTableModel(train, self, (), self.shop.fit(table, options), columns)

    @property
    def shop(self) -> Method:
        """The method that learns the table."""
        return registry.method(self.method).from_settings(self.settings)


def as_one_shop(data: MultiDomain) -> tuple[MultiDomain, Mapping[str, Int32]]:
    """The tables of all countries as one, and the column of each country's items in it, (I,)."""
    table, columns = data.by_product()
    return MultiDomain(
        data.users, {"shop": Vocabulary.of(np.arange(table.n_items))}, {"shop": table}
    ), columns


def by_hand(methods: Iterable[Method]) -> list[OneTable]:
    """The same methods on one table."""
    return [OneTable(method.name, method.flat()) for method in methods]


def three_countries(small: bool) -> MultiDomain:
    """Likes (ratings of 4 and 5); every user is of one country, drawn once."""
    ratings = pl.read_parquet(fetch("1m") / "ratings.parquet").filter(pl.col("rating") >= 4)
    users = ratings["user"].unique().sort()
    users = users.gather_every(10) if small else users
    country_U = np.array(COUNTRIES)[np.random.default_rng(0).integers(len(COUNTRIES), size=len(users))]
    events = ratings.join(
        pl.DataFrame({"user": users, "country": country_U}), on="user", maintain_order="left"
    )
    tables = events.select("user", "item", "timestamp", "country").partition_by("country", as_dict=True)
    return read({name: tables[name,].drop("country") for name in COUNTRIES}, users="local", items="shared")


def with_wrong_links(data: MultiDomain) -> MultiDomain:
    """Of the shared films of ``fr`` and ``uk`` a fifth, drawn in each, have each other's links."""
    rng, of = np.random.default_rng(1), {}
    assert data.products is not None
    for name, product_I in data.products.product_I.items():
        own_I = product_I.copy()
        shared = np.flatnonzero(data.products.domains_P[product_I] > 1)
        wrong = rng.choice(shared, int(WRONG * len(shared)), replace=False)
        if name != COUNTRIES[0]:
            own_I[wrong] = product_I[np.roll(wrong, 1)]
        of[name] = own_I
    return replace(data, products=Products(of, by_id=False))


def linked(split: Split, products: Products) -> Split:
    """The same pairs held out with other links."""
    return replace(
        split,
        valid=replace(split.valid, history=replace(split.valid.history, products=products)),
        test=replace(split.test, history=replace(split.test.history, products=products)),
    )


FADING = grid(Popularity(), half_life_days=(0.0, 30.0, 90.0, 365.0))
POOLED = grid(Popularity(), pooling=(1e3, 1e4, 1e5, 1e6))
EASES = grid(EASE(), reg=(30.0, 100.0, 300.0, 1000.0))
KNNS = grid(ItemKNN(), shrinkage=(5.0, 50.0), target_exponent=(0.3, 0.5))
ALS = grid(IALS(solver="auto"), alpha0=(0.1, 0.3), reg=(3.0, 10.0, 30.0))
EXPONENTS = (0.25, 0.4, 0.75, 1.0)  # of ALS without deviations, tuned after the rest as the joined one's γ
DEVIATIONS = (1.0, 10.0, 100.0, 1000.0)


def shared(methods: Iterable[Method], sharing: str) -> list[Method]:
    """The same methods with another sharing."""
    return [method.with_settings({"sharing": sharing}) for method in methods]


def tuned(family: str, split: Split) -> Variants:
    """A family's variants with the best settings on validation: four trials each, of ALS ten."""
    if family == "ALS":
        return {
            ALONE: chosen_als(split, "separate"),
            HAND: chosen_als_by_hand(split),
            "joined": chosen_als(split, "joined"),
        }
    if family == "popularity":
        return {
            ALONE: chosen(FADING, split)[0],
            HAND: chosen(by_hand(FADING), split)[0],
            "pooled": chosen(POOLED, split)[0],
        }
    methods = EASES if family == "EASE" else KNNS
    return {
        ALONE: chosen(shared(methods, "separate"), split)[0],
        HAND: chosen(by_hand(shared(methods, "separate")), split)[0],
        "joined": chosen(shared(methods, "joined"), split)[0],
    }


def chosen_als(split: Split, sharing: str) -> Method:
    """The best of six settings, then with the best of four penalties: of deviations where joined."""
    best, _ = chosen(shared(ALS, sharing), split)
    second = {"deviation_reg": DEVIATIONS} if sharing == "joined" else {"frequency_exponent": EXPONENTS}
    return chosen([best, *grid(best, **second)], split)[0]


def chosen_als_by_hand(split: Split) -> Method:
    """As a country alone, on one table."""
    best, _ = chosen(by_hand(shared(ALS, "separate")), split)
    assert isinstance(best, OneTable)
    return chosen([best, *by_hand(grid(best.shop, frequency_exponent=EXPONENTS))], split)[0]


def on_test(method: Method, split: Split, name: str, seeds: Sequence[int]) -> Evaluation:
    """Refitted and tested with every seed; a method without epochs starts at no random place."""
    if not (method.shop if isinstance(method, OneTable) else method).has_epochs:
        ((evaluation, _),) = refitted(method, split, seeds[:1])
        return replace(over_seeds(dict.fromkeys(seeds, evaluation)), name=name)
    evaluations = [evaluation for evaluation, _ in refitted(method, split, seeds)]
    return replace(over_seeds(dict(zip(seeds, evaluations, strict=True))), name=name)


def under_guard(joined: Method, alone: Method, split: Split, seeds: Sequence[int]) -> Evaluation:
    """The joined method beside that of each country alone and popularity, as the guard blends them."""
    members: dict[str, Method] = {"popularity": Popularity(), ALONE: alone, "joined": joined}
    evaluations = {}
    for seed in seeds:
        settings = {label: [each.name, each.flat()] for label, each in members.items()}
        key = digest([settings, split.valid.fingerprint, split.test.fingerprint, seed, __version__])
        path = CELLS / "guard" / f"{key}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fitted = guarded(members, split, FitOptions(seed=seed), METRIC, ("popularity", ALONE))
            evaluate(fitted, split.test).write(path)
        evaluations[seed] = Evaluation.read(path)
    return replace(over_seeds(evaluations), name=GUARDED)


def table(family: str, methods: Variants, split: Split, seeds: Sequence[int], guard: bool) -> list[Record]:
    """A row per variant: the countries' means, and the differences from two of them."""
    found = {label: on_test(method, split, label, seeds) for label, method in methods.items()}
    if guard:
        found[GUARDED] = under_guard(methods["joined"], methods[ALONE], split, seeds)
    rows = []
    for label, own in found.items():
        means = own.means(METRIC)
        mean = float(np.mean(list(means.values())))
        against = {
            f"against {other}": difference(own, found[other]) for other in (HAND, ALONE) if other in found
        }
        rows.append({"model": f"{family}, {label}", **means, "mean": mean, **against})
        print(rows[-1], flush=True)
    return rows


def difference(own: Evaluation, other: Evaluation) -> str:
    """The difference of the means over countries with its interval over users and seeds."""
    if own.name == other.name:
        return ""
    found = compare_over_domains(own, other, METRIC)
    return f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def tuned_again(family: str, right: Variants, split: Split) -> Variants:
    """What uses links, tuned on wrong ones; of ALS the penalty of deviations."""
    if family == "ALS":
        again = grid(right["joined"], deviation_reg=(10.0, 100.0, 1000.0))
    else:
        again = shared(EASES, "joined")
    return {ALONE: right[ALONE], "joined": chosen(again, split)[0]}


def main() -> None:
    """Both tables, a family after the other; the page for all users."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the users, without a page")
    parser.add_argument("families", nargs="*", default=[*FAMILIES], help="all by default")
    parser.add_argument("--wrong", nargs="*", default=[*MISTAKEN], help="families that also get wrong links")
    given = parser.parse_args()
    small = given.small
    data = three_countries(small)
    wrong = with_wrong_links(data).products
    assert wrong is not None
    split = leave_last_out(data, seed=SEEDS[0])
    mistaken = linked(split, wrong)
    rows, wrong_rows, settings = [], [], []
    for family in given.families:
        right = tuned(family, split)
        rows += table(family, right, split, SEEDS, guard=False)
        settings += [
            f"{family}, {label}: {settings_text(method.shop if isinstance(method, OneTable) else method)}"
            for label, method in right.items()
        ]
        if family in given.wrong:
            again = tuned_again(family, right, mistaken)
            wrong_rows += table(family, again, mistaken, SEEDS[:1], guard=True)
            settings.append(f"{family}, joined by wrong links: {settings_text(again['joined'])}")
    if small:
        return
    page(
        "shops-countries",
        "The shops of three countries",
        [
            "MovieLens-1M, ratings of 4 and 5. Every user is of one of three countries, drawn once: "
            f"{data}. No user is shared; films are shared where two countries have them. "
            "The last event of every user is held out; full ranking of a country's films. "
            f"{METRIC}, of ALS the mean over three seeds, as the others have no random start; "
            "differences of the mean over countries with 95 % intervals over users and seeds. "
            "Settings by validation, four trials for every row, of ALS ten; tested once.",
            f"*{HAND.capitalize()}*: all countries are one shop, with the same test events and candidates.",
            markdown(rows),
            f"## A fifth of the links is wrong\n\nIn fr and uk {WRONG:.0%} of the shared films have another "
            "film's links. What uses links is tuned again on them, of ALS the penalty of deviations. The "
            f"guard chooses between popularity, *{ALONE}* and *joined*, per country and "
            "activity group. One seed.",
            markdown(wrong_rows),
            "## Settings\n\n" + "\n".join(f"- {each}" for each in settings),
        ],
        " ".join(["shops_countries", *given.families, "--wrong", *given.wrong]),
    )


if __name__ == "__main__":
    main()
