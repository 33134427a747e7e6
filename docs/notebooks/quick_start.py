# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Quick start with pandas
#
# Two shops with the same customers, as data frames. A model is fitted on both, evaluated on events that it
# has not seen, and lists what a customer may want in each shop.

# %%
import numpy as np
import pandas as pd

import landbridge as lb

# %% [markdown]
# Made-up purchases. Put your own frames in their place: a column of users, one of items, and one of times if
# you have it.

# %%
users = np.repeat(np.arange(300), 12)
likes = np.random.default_rng(0).integers(3, size=300)  # each user likes one of three genres


def shop(seed):
    """Twelve purchases of each user among 60 items; two of three from the genre they like."""
    rng = np.random.default_rng(seed)
    genre = np.where(rng.random(users.size) < 2 / 3, likes[users], rng.integers(3, size=users.size))
    return pd.DataFrame(
        {
            "user": users,
            "item": 20 * genre + rng.integers(20, size=users.size),
            "time": rng.permutation(users.size),
        }
    )


books, movies = shop(1), shop(2)
books.head()

# %%
data = lb.read({"books": books, "movies": movies}, users="shared")
data

# %% [markdown]
# Each user's last purchase in each shop is held out; the model learns from the rest.

# %%
split = lb.leave_last_out(data, seed=7)
model = lb.EASE().fit(split.test.history)
evaluation = lb.evaluate(model, split.test)
evaluation

# %% [markdown]
# Is that good? A list of the most popular items is the least that it must beat.

# %%
popular = lb.evaluate(lb.Popularity().fit(split.test.history), split.test)
lb.compare(evaluation, popular, "ndcg@10")

# %%
listed = lb.recommend(model, "books", users=[0, 1], k=5)
listed.to_pandas()

# %% [markdown]
# Which purchases made the first item rank first?

# %%
lb.explain(model, "books", 0, listed["item"][0])
