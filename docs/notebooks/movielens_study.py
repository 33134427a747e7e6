# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A cross-domain study on MovieLens
#
# Genres as catalogues: does what a user liked in other genres improve the list of one genre, and for whom?
# The first run fetches MovieLens-1M, whose terms allow research and no redistribution.

# %%
import landbridge as lb
from landbridge.datasets import catalog

data = catalog.movielens_genres(domains=("Horror", "Sci-Fi", "War"))
data

# %% [markdown]
# One time for all: each user's latest events are held out, so that no genre knows another one's future.

# %%
split = lb.leave_latest_out(data, seed=7)
history = split.test.history

# %% [markdown]
# Two models that differ in one thing: embeddings of users per genre, or one for all genres.

# %%
settings = {"factors": 16, "epochs": 5}
alone = lb.evaluate(lb.IALS(sharing="separate", **settings).fit(history), split.test)
joined = lb.evaluate(lb.IALS(sharing="joined", **settings).fit(history), split.test)
joined

# %%
lb.compare(joined, alone, "ndcg@10")

# %% [markdown]
# Who gains? Segments by the number of events that a user has in the genre:

# %%
joined.summary(["ndcg@10"], by="activity")

# %% [markdown]
# The settings were fixed here. A study that is to convince searches both with the same budget, repeats with
# other seeds, and says what it tried: `landbridge benchmark`.
