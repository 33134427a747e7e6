"""Hashes of what every method learns on small fixed data: they show that a refactoring changed nothing.

    python tests/golden/fingerprints.py --write     fits every case and replaces fingerprints.json
    python tests/golden/fingerprints.py             fits every case and names those whose hashes differ

A hash covers exact bytes, and these depend on the processor and the versions of NumPy, OpenBLAS and torch.
So the test suite does not compare them: run ``--write`` before a refactoring and the check after it, on one
machine. Arrays are hashed without their names, so that renaming an array is no difference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from worlds import uneven

import landbridge as lb
from landbridge.models import registry
from landbridge.models.base import Fitted

KEPT = Path(__file__).with_name("fingerprints.json")
SMALL: dict[str, Any] = {"factors": 4, "epochs": 3, "lr": 0.03, "batch_size": 16}
TOWER: dict[str, Any] = {"factors": 4, "epochs": 3, "lr": 0.01, "batch_size": 16}
SEQUENCE: dict[str, Any] = {
    "encoder.factors": 4,
    "encoder.hidden": 8,
    "encoder.max_length": 8,
    "epochs": 3,
    "lr": 0.03,
    "batch_size": 16,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "ials separate": ("ials", {"factors": 4, "epochs": 3}),
    "ials joined": ("ials", {"factors": 4, "epochs": 3, "sharing": "joined"}),
    "cdimf": ("cdimf", {"factors": 4, "epochs": 3}),
    "cdimf active": ("cdimf", {"factors": 4, "epochs": 4, "consensus.domains": "active",
                               "consensus.reg": 0.1, "admm.rho_growth": 1.1}),
    "cdimf paper_code": ("cdimf", {"factors": 4, "epochs": 2, "admm.variant": "paper_code"}),
    "cdimf zero": ("cdimf", {"factors": 4, "epochs": 2, "cold_policy": "zero", "consensus.every": 2}),
    "bprmf": ("bprmf", SMALL),
    "bprmf joined": ("bprmf", {**SMALL, "sharing": "joined", "negatives": "popularity",
                               "optimizer": "adagrad"}),
    "lightgcn": ("lightgcn", {**SMALL, "sharing": "joined"}),
    "adc": ("adc", TOWER),
    "adc user none": ("adc", {**TOWER, "sharing": "user", "balance.kind": "none"}),
    "adc uncertainty": ("adc", {**TOWER, "sharing": "cross", "balance.kind": "uncertainty"}),
    "adc cross_stitch": ("adc", {**TOWER, "sharing": "cross_stitch"}),
    "adc sparsity": ("adc", {**TOWER, "balance.kind": "sparsity"}),
    "conet": ("conet", TOWER),
    "neumf": ("neumf", TOWER),
    "mvdnn": ("mvdnn", {**TOWER, "layers": [4, 3]}),
    "cmf": ("cmf", TOWER),
    "pepnet": ("pepnet", TOWER),
    "ease": ("ease", {"cross_ratio": 4.0, "neighbours": 8}),
    "ease exact": ("ease", {"form": "exact", "sharing": "joined", "denoise": 0.2, "half_life_days": 3.0}),
    "ease dual": ("ease", {"form": "dual", "max_diagonal": 0.3, "rank_exponent": 0.5}),
    "itemknn": ("itemknn", {"similarity": "bm25", "neighbours": 6}),
    "sasrec": ("sasrec", SEQUENCE),
    "sasrec sampled": ("sasrec", {**SEQUENCE, "loss.kind": "sampled", "loss.sampled_negatives": 5}),
    "sasrec gbce": ("sasrec", {**SEQUENCE, "loss.kind": "gbce", "loss.negatives_per_positive": 2,
                               "horizon": 2}),
    "dwl": ("dwl", SEQUENCE),
    "dwl several": ("dwl", {**SEQUENCE, "domain_weighting": "several",
                            "objectives": {"sparsity": 1.0, "worst_group": 0.5}}),
    "dwl gradient": ("dwl", {**SEQUENCE, "schedule.signal": "gradient"}),
    "dwl maps": ("dwl", {**SEQUENCE, "schedule.weight_map.kind": "affine", "schedule.initial_weights": "ones",
                         "schedule.sparsity.count_unit": "items", "schedule.update_every": 1}),
    "uclr": ("uclr", {"factors": 4, "epochs": 2, "adaptation.epochs": 2, "adaptation.lora_rank": 2,
                      "batch_size": 16}),
    "catart": ("catart", {"factors": 4, "epochs": 2, "adaptation.epochs": 2, "batch_size": 16}),
    "gamtcdr": ("gamtcdr", {"factors": 4, "epochs": 2, "batch_size": 64, "network.tower": [2, 1],
                            "network.alignment": 0.1}),
    "bitgcf": ("bitgcf", TOWER),
    "herograph": ("herograph", TOWER),
    "emcdr": ("emcdr", {"factors": 4}),
    "emcdr mlp": ("emcdr", {"factors": 4, "epochs": 3, "map.kind": "mlp", "map.hidden": 6}),
    "recsysdan": ("recsysdan", TOWER),
    "recsysdan reversal": ("recsysdan", {**TOWER, "adversary.form": "reversal",
                                         "adversary.direction": "unilateral"}),
    "unicdr": ("unicdr", TOWER),
    "unicdr attention": ("unicdr", {**TOWER, "histories.pooling": "attention"}),
    "disencdr": ("disencdr", {**SMALL, "warmup": 1}),
    "uclr ucl": ("uclr", {"factors": 4, "epochs": 2, "stage": "ucl", "pretrain.method": "ials",
                          "batch_size": 16,
                          "pretrain.settings": {"epochs": 2}, "encoder.layout": "B"}),
}  # fmt: skip


def digest(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """One hash of some arrays, whatever their names and order."""
    parts = sorted(
        hashlib.sha256(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        ).hexdigest()
        for array in arrays
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def lists_of(fitted: Fitted) -> list[np.ndarray[Any, Any]]:
    """Recommendation lists of all users in every domain, and of a new user with two items."""
    frames = [lb.recommend(fitted, domain, k=10) for domain in ("a", "b", "c")]
    frames += [lb.fold_in(fitted, {"a": [1, 5], "c": [2]}, domain, k=10) for domain in ("a", "b", "c")]
    return [frame[column].to_numpy() for frame in frames for column in ("item", "score")]


def reasons_of(fitted: Fitted) -> list[np.ndarray[Any, Any]]:
    """Contributions to one score per domain, where the model explains itself."""
    try:
        return [lb.explain(fitted, domain, 3, 7)["contribution"].to_numpy() for domain in ("a", "b", "c")]
    except lb.DataError:
        return []


def fingerprint(fitted: Fitted, split: Any) -> dict[str, str]:
    """The hashes of one fitted model."""
    arrays, _ = fitted.state()
    evaluation = lb.evaluate(fitted, split.test)
    figures = [evaluation.rows[column].to_numpy() for column in ("user", "item", "above", "ties")]
    figures += [np.array(list(evaluation.means(metric).values())) for metric in ("ndcg@10", "hr@10", "mrr@5")]
    return {
        "arrays": digest(arrays.values()),
        "lists": digest(lists_of(fitted)),
        "metrics": digest(figures),
        "explanations": digest(reasons_of(fitted)),
    }


def fingerprints() -> dict[str, dict[str, str]]:
    """Every case, and the mixture that ``auto`` makes of the fast ones."""
    split = lb.leave_last_out(uneven(users=80, seed=3), seed=1)
    options = lb.FitOptions(seed=5, threads=1, device="cpu")
    result = {}
    for label, (name, settings) in CASES.items():
        method = registry.method(name).from_settings(settings)
        result[label] = fingerprint(method.fit(split.test.history, options), split)
        print(label, result[label], file=sys.stderr)
    quick = ("popularity", "ease", "itemknn", "ials", "cdimf")  # without torch, whose sums differ by machine
    result["auto"] = fingerprint(lb.auto(split, options=options, trials=0, families=quick), split)
    return result


def main() -> int:
    """Write the hashes, or compare them with those kept: exit status 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    found = fingerprints()
    if parser.parse_args().write:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    kept = json.loads(KEPT.read_text())
    differing = [
        f"{label}: {part}"
        for label in kept.keys() | found.keys()
        for part in ("arrays", "lists", "metrics", "explanations")
        if kept.get(label, {}).get(part) != found.get(label, {}).get(part)
    ]
    print("\n".join(sorted(differing)) or f"{len(found)} cases, all as they were")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
