"""Which split ``fit`` takes where none is named."""

from pathlib import Path

import pytest

from landbridge.config import validated_spec
from landbridge.datasets.prepare import prepare


def table(path: Path, events_each: int, timed: bool) -> Path:
    rows = [(user, item, 10 * user + item) for user in range(8) for item in range(events_each)]
    columns = "user,item,time" if timed else "user,item"
    path.write_text("\n".join([columns, *(",".join(map(str, row[: 2 + timed])) for row in rows)]))
    return path


@pytest.mark.parametrize(
    ("events_each", "timed", "train", "left_out"),
    [
        (4, True, 2, False),  # the latest event and the one before it
        (2, True, 0, True),  # the last of each domain, which may leave events out
        (4, False, 2, False),  # a random one, and another
    ],
)
def test_the_usual_split(tmp_path: Path, events_each: int, timed: bool, train: int, left_out: bool) -> None:
    source = str(table(tmp_path / "books.csv", events_each, timed))
    split = prepare(validated_spec({"data": {"source": source}})).split
    assert split is not None
    assert len(split.test.targets["books"]) == len(split.valid.targets["books"]) == 8
    assert split.train.n_events == 8 * train
    assert (split.test.left_out is not None) == left_out
