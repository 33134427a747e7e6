"""What is wrong in a benchmark file is said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benches import small_spec

from landbridge.core.errors import LandbridgeError, SettingsError
from landbridge.evaluation.segments import USUAL
from landbridge.studies.benchmark.spec import benchmark_spec, spec_of_names

METHOD = {"label": "a", "name": "ials"}
DATA = {"name": "d", "dataset": "ciao"}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"seedss": [1]}, "Unknown key 'seedss': did you mean 'seeds'"),
    ({"budget": {"second": 3}}, "Unknown key in budget 'second': did you mean 'seconds'"),
    ({"methods": [METHOD, METHOD | {"lable": 1}]}, "Unknown key in methods 2 'lable': did you mean 'label'"),
    (
        {"data": [DATA | {"split": {"kid": "last"}}]},
        "Unknown key in data 1, split 'kid': did you mean 'kind'",
    ),
    ({"data": [DATA | {"split": {"kind": "none"}}]}, "data 1, split, kind: Input should be 'auto', 'last'"),
    ({"data": [{"name": "d"}]}, "Data 'd' needs either source or dataset"),
    ({"data": [DATA | {"source": "x.csv"}]}, "Data 'd' needs either source or dataset"),
    ({"data": [{"dataset": "ciao"}]}, "data 1 lacks 'name'"),
    ({"data": [DATA | {"name": "../d"}]}, "data 1, name: String should match"),
    ({"data": []}, "There are no data"),
    ({"data": [DATA | {"acros": True}]}, "Unknown key in data 1 'acros': did you mean 'across'"),
    ({"data": [DATA | {"across": "maybe"}]}, "data 1, across: Input should be a valid boolean"),
    ({"data": [DATA | {"candidates": []}]}, "There are no candidates of data 'd'"),
    ({"data": [DATA | {"candidates": [-1]}]}, "data 1, candidates 1: Input should be greater"),
    ({"data": [DATA, DATA]}, "'d' stands 2 times among the data"),
    ({"methods": [METHOD, METHOD]}, "'a' stands 2 times among the methods"),
    ({"methods": [{"name": "ials"}]}, "methods 1 lacks 'label'"),
    ({"methods": [METHOD | {"name": "iasl"}]}, "Unknown method 'iasl': did you mean 'ials'"),
    ({"methods": [METHOD | {"settings": {"factor": 8}}]}, "Unknown setting of ials 'factor': did you mean"),
    (
        {"methods": [METHOD | {"name": "auto", "settings": {"factors": 8}}]},
        "auto chooses the settings itself",
    ),
    ({"reference": "b"}, "Unknown reference 'b'"),
    ({"metrics": ["ndgc@10"]}, "Unknown metric 'ndgc@10': did you mean 'ndcg@10'"),
    ({"metrics": []}, "There are no metrics"),
    ({"by": ["activty"]}, "Unknown segment 'activty': did you mean 'activity'"),
    ({"seeds": []}, "There are no seeds: a benchmark needs at least one"),
    ({"seeds": [1, 1]}, "1 stands 2 times among the seeds"),
    ({"seeds": [-1]}, "seeds 1: Input should be greater than or equal to 0"),
    ({"budget": {"seconds": 0}}, "budget, seconds: Input should be greater than 0"),
    ({"budget": {"jobs": 0}}, "budget, jobs: Input should be greater than or equal to 1"),
]


@pytest.mark.parametrize(("change", "sentence"), MISTAKES, ids=[sentence for _, sentence in MISTAKES])
def test_mistakes_are_one_sentence(change: dict[str, Any], sentence: str) -> None:
    tables = {"data": [DATA], "methods": [METHOD]} | change
    with pytest.raises(LandbridgeError) as caught:
        benchmark_spec(tables)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["data", "methods"])
def test_data_and_methods_are_needed(lacking: str) -> None:
    tables = {"data": [DATA], "methods": [METHOD]}
    del tables[lacking]
    with pytest.raises(SettingsError, match=f"There are no {lacking}"):
        benchmark_spec(tables)


def test_defaults_and_the_resolved_file(tmp_path: Path) -> None:
    import tomllib

    spec = benchmark_spec({"data": [DATA], "methods": [METHOD]})
    assert (spec.seeds, spec.reference, spec.by) == ((1, 2, 3), "a", USUAL)
    for given in (spec, benchmark_spec(small_spec(tmp_path))):
        assert benchmark_spec(tomllib.loads(given.toml().decode())) == given


def test_a_spec_without_across_is_written_as_ever(tmp_path: Path) -> None:
    """Folders begun before there was such a key can be gone on with."""
    import tomllib

    for across, written in ((None, None), (True, True)):
        data = {**DATA, **({} if across is None else {"across": across})}
        spec = benchmark_spec({"data": [data], "methods": [METHOD]})
        assert tomllib.loads(spec.toml().decode())["data"][0].get("across") is written
        assert not spec.data[0].experiment().split.across  # choices are made within domains


def test_data_and_method_as_an_experiment_has_them(tmp_path: Path) -> None:
    spec = benchmark_spec(small_spec(tmp_path))
    experiment = spec.data[0].experiment()
    assert (experiment.split.kind, experiment.split.candidates) == ("random", 0)
    assert experiment.data.users == "shared"
    assert spec.methods[1].model().settings == {"factors": 4, "epochs": 2}


def test_a_spec_of_names() -> None:
    spec = benchmark_spec(spec_of_names(["popularity", "auto"], ["ciao", "some/folder"], 2))
    assert spec.seeds == (1, 2)
    assert [source.name for source in spec.data] == ["ciao", "folder"]
    assert [entry.label for entry in spec.methods] == ["popularity", "auto"]
    with pytest.raises(SettingsError, match="seeds must be 1 or more"):
        spec_of_names(["ials"], ["ciao"], 0)


BASE = {"label": "base", "name": "ials", "settings": {"factors": 8}}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"settings": {"factors": 8, "reg": 2.0, "epochs": 3}},
            "differ in epochs, reg: an ablation changes one",
        ),
        ({"settings": {"factors": 8}}, "differ in nothing"),
        ({"settings": {"factors": 8, "reg": 2.0}, "trials": 4}, "must not be tuned apart"),
        ({"name": "cdimf", "settings": {"factors": 8}}, "must be one method"),
        ({"ablates": "other"}, "Unknown method that 'one' ablates"),
        ({"settings": {"factors": 8, "reg": 2.0, "epochs": 3}, "changes": ["reg"]}, "differ in epochs, reg"),
    ],
)
def test_an_ablation_of_two_things_is_refused(entry: dict[str, Any], sentence: str) -> None:
    one = {"label": "one", "name": "ials", "ablates": "base"} | entry
    with pytest.raises(SettingsError, match=sentence):
        benchmark_spec({"data": [DATA], "methods": [BASE, one]})


def test_an_ablation_of_one_thing_or_of_named_ones() -> None:
    one = {"label": "one", "name": "ials", "ablates": "base", "settings": {"factors": 8, "reg": 2.0}}
    two = {"label": "two", "name": "ials", "ablates": "base", "changes": ["reg", "epochs"]}
    two["settings"] = {"factors": 8, "reg": 2.0, "epochs": 3}
    spec = benchmark_spec({"data": [DATA], "methods": [BASE, one, two]})
    assert (
        spec.methods[1].model()
        == benchmark_spec({"data": [DATA], "methods": [{**one, "ablates": None}]}).methods[0].model()
    )
    assert b"ablates" not in benchmark_spec({"data": [DATA], "methods": [BASE]}).toml()
