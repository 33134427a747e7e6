"""A run of films and books that share themes, with odd ids and odd titles, and a table of their items.

User n likes one theme: three films and three books of it, and now and then something else. Works with odd ids
and odd titles are as popular as the others, so that they are listed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from landbridge import store
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.base import Method
from landbridge.training.options import FitOptions

USERS = 60
THEMES = ("sea", "space", "crime")
ODD_IDS = (
    "it's", "a'\"'b", "$HOME $(date) ${PATH}", "`date`", "two\nlines", "🎬 film", "back\\slash\\n", "!! !$",
    "-rf *", "%41%", "ü\u202eabc", "a b", "{[1]}", "tab\there", "<b>&amp;", "@file", "~",
)  # fmt: skip
ODD_TITLES = (
    "x" * 300, "   ", "\u200b\u200b", "שלום עולם — ספר", "مدن الملح", "a\u0301" * 150, "\u202eturned",
    "<b>bold</b><script>", "日本語のとても長い題名" * 6, "👩‍👩‍👧‍👦 family", "A title\nof two lines",
)  # fmt: skip
FILMS, BOOKS = 60, 60


def shop_data() -> MultiDomain:
    """Films with odd ids, books with whole numbers."""
    rng = np.random.default_rng(5)
    film_ids = sorted([*ODD_IDS, *(f"film {n:02d}" for n in range(FILMS - len(ODD_IDS)))])
    tables = {}
    for name, size in (("films", FILMS), ("books", BOOKS)):
        pairs = set()
        for user in range(USERS):
            own = np.arange(user % len(THEMES), size, len(THEMES))
            pairs |= {(user, int(item)) for item in rng.choice(own, 6, replace=False)}
            pairs |= {(user, int(rng.integers(size))), (user, user % len(ODD_TITLES))}
        user_N, item_N = np.array(sorted(pairs)).T
        tables[name] = Interactions.from_events(user_N, item_N, USERS, size)
    titles = {
        "films": [f"Film {n} of the {THEMES[n % 3]} (19{n:02d})" for n in range(FILMS)],
        "books": [f"Book {n} of the {THEMES[n % 3]}" for n in range(BOOKS)],
    }
    titles["books"][: len(ODD_TITLES)] = ODD_TITLES
    return MultiDomain(
        Vocabulary.of([f"u{n:02d}" for n in range(USERS)]),
        {"films": Vocabulary.of(film_ids), "books": Vocabulary.of(np.arange(BOOKS))},
        tables,
        {name: np.array(own, np.dtypes.StringDType()) for name, own in titles.items()},
    )


def save_shop(folder: Path, method: Method) -> Path:
    """A run of the data; the folder itself."""
    store.save(method.fit(shop_data(), FitOptions(seed=1, threads=1)), folder)
    return folder


def items_table(path: Path) -> Path:
    """genre: the theme; year: a number; language: some have none, and one holds signs of the shell."""
    data = shop_data()
    rows = [
        {
            "domain": domain,
            "item": item,
            "genre": THEMES[place % 3],
            "year": 1900 + place,
            "language": (None, "en", "de", "it's $HOME")[place % 4],
        }
        for domain, vocabulary in data.items.items()
        for place, item in enumerate(vocabulary.ids.tolist())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
