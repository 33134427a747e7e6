# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Serve a model
#
# From a fit to lists over HTTP: save a run, start the server, request lists, send an event, and see the list
# change.

# %%
import re
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

import landbridge as lb
from landbridge.client import Client, Event

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
folder = Path(mkdtemp())
lb.save(lb.EASE().fit(data), folder / "run")

# %% [markdown]
# In a terminal this is `landbridge serve run --events events.sqlite`. With port 0 the system chooses a free
# one, and the log says which.

# %%
program = Path(sys.executable).with_name("landbridge")
words = ["serve", folder / "run", "--events", folder / "events.sqlite", "--port", "0"]
server = subprocess.Popen([program, *words], stderr=subprocess.PIPE, text=True)
port = next(
    found[1] for line in server.stderr if (found := re.search(r"running on http://[^ ]*:(\d+)", line))
)

# %%
client = Client(f"http://127.0.0.1:{port}")
before = client.recommend(domains=["books"], user=0, k=5)
pd.DataFrame(before["items"])[["item", "score"]]

# %% [markdown]
# The user buys the first item. It is stored, and left out of their next list; what is like it moves up.

# %%
bought = before["items"][0]["item"]
client.add_events(user=0, events=[Event(domain="books", item=bought)])
after = client.recommend(domains=["books"], user=0, k=5)
pd.DataFrame(after["items"])[["item", "score"]]

# %% [markdown]
# A visitor without an account: what they liked in one shop is enough for a list in the other.

# %%
visitor = client.recommend(domains=["books"], events=[Event(domain="movies", item=3)], k=3)
visitor["items"]

# %%
client.close()
server.terminate()
server.communicate()
