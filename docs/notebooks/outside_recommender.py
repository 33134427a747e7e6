# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Evaluate a recommender of your own
#
# Your recommender was made elsewhere. `lb.external` takes its scores or its lists, so that it is ranked on
# the same held-out events, with the same metrics and tests, as the methods of landbridge.

# %%
import numpy as np
import pandas as pd

import landbridge as lb

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


data = lb.read({"books": shop(1), "movies": shop(2)}, users="shared")
split = lb.leave_last_out(data, seed=7)
history = split.test.history  # what a recommender may learn from

# %% [markdown]
# The recommender of this notebook: a truncated singular value decomposition of each shop alone. Rows are the
# users of `history.users`, columns the items of `history.items[name]`.


# %%
def scores_of(events, factors=8):
    seen = np.zeros((len(history.users), events.n_items))
    seen[events.user_idx, events.item_idx] = 1
    left, sizes, right = np.linalg.svd(seen, full_matrices=False)
    return (left[:, :factors] * sizes[:factors]) @ right[:factors]


scores = {name: scores_of(events) for name, events in history.domains.items()}
mine = lb.evaluate(lb.external(scores, split.test, name="svd"), split.test)
mine

# %% [markdown]
# Lists do as well: a frame of user, item, domain and rank, such as a file from another program.

# %%
order = {name: np.argsort(-scores[name], axis=1)[:, :20] for name in scores}
lists = pd.concat(
    pd.DataFrame(
        {
            "user": np.repeat(history.users.ids, 20),
            "item": history.items[name].ids[order[name]].ravel(),
            "domain": name,
            "rank": np.tile(np.arange(1, 21), len(history.users)),
        }
    )
    for name in order
)
lb.evaluate(lb.external(lists, split.test, name="lists"), split.test)

# %% [markdown]
# Against a method that learns from both shops:

# %%
theirs = lb.evaluate(lb.EASE().fit(history), split.test)
lb.compare(theirs, mine, "ndcg@10")

# %%
mine.summary(["ndcg@10", "hr@10"], by="activity")
