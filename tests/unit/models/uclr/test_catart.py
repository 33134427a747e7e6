"""CAT-ART: its loss against plain torch, its limits, and what it carries from domain to domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import own_group
from resuming import Kill, same_state
from worlds import of_tables, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.synthetic import planted_transfer
from landbridge.models.base import Queries
from landbridge.models.common.attention import presence
from landbridge.models.popularity import Popularity
from landbridge.models.uclr.catart import CATART
from landbridge.models.uclr.concatenated import ConcatenationEncoder, UserRows, symmetric_contrast
from landbridge.models.uclr.transfer import Transfer, TransferModel, encoded, transferred
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

ONE = FitOptions(threads=1, seed=3, device="cpu")
SMALL: dict[str, Any] = {
    "factors": 6, "pretrain.settings": {"epochs": 5, "lr": 0.03, "batch_size": 16}, "lr": 0.01,
    "batch_size": 25, "epochs": 3, "adaptation.epochs": 2,
}  # fmt: skip


def small(**settings: Any) -> CATART:
    return CATART.from_settings({**SMALL, **{key.replace("__", "."): v for key, v in settings.items()}})


def base_of(data: MultiDomain) -> Any:
    return small().pretrainer().fit(data, ONE)


def scores(fitted: Any) -> dict[str, Any]:
    all_users = Queries.of_users(np.arange(-1, fitted.history.n_users))
    return {name: fitted.score(name, all_users) for name in fitted.history.domain_names}


def batch(users: int = 9, factors: int = 4) -> tuple[ConcatenationEncoder, Any, UserRows]:
    """Three domains; the first user is in all, the others in random ones, one in none."""
    rng = np.random.default_rng(0)
    encoder = ConcatenationEncoder(("a", "b", "c"), factors)
    weights = {name: w.detach().double() for name, w in encoder.initial(0).items()}
    rows = {d: torch.tensor(rng.standard_normal((users, factors))) for d in encoder.domains}
    here = rng.random((users, 3)) < 0.6
    here[0], here[1] = True, False
    present = {d: torch.tensor(here[:, [k]].astype(float)) for k, d in enumerate(encoder.domains)}
    return encoder, weights, UserRows(rows, present)


def plain_autoencoder(weights: Any, users: UserRows, kept: Any) -> tuple[Any, Any]:
    """Code and reconstruction through whole matrices, with torch's own layers."""
    names = list(users.rows)
    x = torch.cat([torch.where(kept[d] > 0, users.rows[d], weights["pad"]) for d in names], dim=1)
    first = torch.cat([weights[f"encoder.in.{d}"] for d in names], dim=1)
    hidden = functional.prelu(
        functional.linear(x, first, weights["encoder.0.bias"]), weights["encoder.0.slope"]
    )

    def layer(name: str, below: Any) -> Any:
        return functional.linear(below, weights[f"{name}.weight"], weights[f"{name}.bias"])

    code = layer("encoder.2", functional.prelu(layer("encoder.1", hidden), weights["encoder.1.slope"]))
    up = functional.prelu(layer("decoder.0", code), weights["decoder.0.slope"])
    up = functional.prelu(layer("decoder.1", up), weights["decoder.1.slope"])
    last = torch.cat([weights[f"decoder.out.{d}"] for d in names])
    return code, functional.linear(up, last, torch.cat([weights[f"decoder.bias.{d}"] for d in names]))


class TestCat:
    def test_the_loss_is_the_published_one_in_plain_torch(self) -> None:
        encoder, weights, users = batch()
        kept = {**users.present, "b": users.present["b"].clone()}
        kept["b"][0] = 0
        terms = encoder.terms(weights, users, kept, 0.2, 0.1)
        (code, rebuilt), (other, other_rebuilt) = (
            plain_autoencoder(weights, users, mask) for mask in (users.present, kept)
        )
        cosine = functional.cosine_similarity(code[:, None], other[None], dim=2) / 0.1
        label = torch.arange(len(code))
        pairs = [functional.cross_entropy(c, label, reduction="none") for c in (cosine, cosine.T)]
        assert float(terms["contrast"]) == pytest.approx(float(0.2 * (pairs[0] + pairs[1])[0] / 2))
        original, own = (
            torch.cat(list(users.rows.values()), dim=1),
            torch.cat([users.present[d].expand(-1, 4) for d in encoder.domains], dim=1),
        )
        wanted = 0.0
        for user in range(len(code)):
            chosen = own[user] > 0
            if chosen.any():
                for each in (rebuilt, other_rebuilt):
                    wanted += 0.4 * float(((each - original)[user, chosen] ** 2).mean()) / len(code)
        assert float(terms["rebuilt"]) == pytest.approx(wanted)

    def test_without_a_mask_there_is_no_contrast(self) -> None:
        encoder, weights, users = batch()
        terms = encoder.terms(weights, users, users.present, 0.2, 0.1)
        assert set(terms) == {"rebuilt"}
        fitted = small(encoder__mask_ratio=0.0).fit(uneven(), ONE)
        cat = [record for record in fitted.log if record["phase"] == "cat"]
        assert not any("contrast" in key for record in cat for key in record)
        assert len(cat) == 3
        assert any("contrast" in key for record in small().fit(uneven(), ONE).log for key in record)

    def test_the_contrast_is_the_same_in_both_directions(self) -> None:
        one, other = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
        np.testing.assert_allclose(
            symmetric_contrast(one, other, 0.1), symmetric_contrast(other, one, 0.1), rtol=1e-5
        )

    def test_an_absent_domain_cannot_change_a_code(self) -> None:
        encoder, weights, users = batch()
        other = {d: torch.where(users.present[d] > 0, rows, 99.0) for d, rows in users.rows.items()}
        one, two = (encoder.encode(weights, rows, users.present) for rows in (users.rows, other))
        assert torch.equal(one, two)

    def test_only_a_domain_of_users_with_several_is_masked(self) -> None:
        data = uneven()
        found = list(small(encoder__mask_ratio=1.0)._users(data, 0, 0))
        users, masked = (np.concatenate(column) for column in zip(*found, strict=True))
        assert sorted(users) == np.flatnonzero(data.activity_UD.any(axis=1)).tolist()
        several_N = (data.activity_UD[users] > 0).sum(axis=1) > 1
        np.testing.assert_array_equal(masked >= 0, several_N)
        assert (data.activity_UD[users[several_N], masked[several_N]] > 0).all()
        assert len(set(masked[several_N])) == 3
        assert not any(
            np.array_equal(a.masked_B, b.masked_B)
            for a, b in zip(found, small(encoder__mask_ratio=1.0)._users(data, 0, 1), strict=True)
        )


def plain_user(head: Any, transfer: Transfer, base: Any, code: Any, user: int, target: str) -> Any:
    """Eqs. (1) to (3) for one user, in float64."""
    here = {d: events.user_counts[user] > 0 for d, events in base.history.domains.items()}
    p = {d: base.user_UF[d][user].astype(float) for d in here}
    x = p[target] if here[target] else 0 * p[target]
    sources = [d for d in here if d != target and here[d]]
    adapted = {s: head[f"adapter.{s}"] @ p[s] + head[f"adapter_bias.{s}"] for s in sources}
    if sources:
        query = head["query"] @ x if transfer.pooling == "attention" else 0
        products = [
            query @ (head["key"] @ adapted[s]) / np.sqrt(len(x)) if transfer.pooling == "attention" else 0.0
            for s in sources
        ]
        share = np.exp(products) / np.exp(products).sum()
        x = x + head["value"] @ sum(w * adapted[s] for w, s in zip(share, sources, strict=True))
    return x + head["code"] @ code[user] + head["code_bias"]


class TestArt:
    @pytest.mark.parametrize("pooling", ["attention", "mean"])
    def test_a_users_embedding_is_that_of_the_equations(self, pooling: str) -> None:
        data = uneven()
        fitted = small(adaptation__pooling=pooling, adaptation__users="frozen").fit(data, ONE)
        code_UF = encoded(fitted.encoder, fitted.base.user_UF, presence(data))
        for name in data.domain_names:
            head = {key: w.astype(float) for key, w in fitted.heads[name].items()}
            assert np.abs(head["value"]).max() > 0
            wanted = [
                plain_user(head, fitted.transfer, fitted.base, code_UF, u, name) for u in range(data.n_users)
            ]
            np.testing.assert_allclose(fitted.user_UF[name], wanted, atol=1e-5)

    @pytest.mark.parametrize("parts", ["both", "d_in", "d_sp"])
    def test_zero_weights_give_the_single_domain_model(self, parts: str) -> None:
        """So does every fit before its first step."""
        data = uneven()
        base = base_of(data)
        for name in data.domain_names:
            sources = tuple(other for other in data.domain_names if other != name)
            head = Transfer(parts, "attention").initial(6, sources, 0, name)
            encoder = ConcatenationEncoder(data.domain_names, 6).initial(0)
            arrays = {key: w.detach().numpy() for key, w in encoder.items()}
            known_U1 = presence(data)[name]
            users = transferred(
                Transfer(parts, "attention"), arrays, head, name, base.user_UF, presence(data)
            )
            np.testing.assert_array_equal(users, base.user_UF[name] * known_U1)
            zero = {key: 0 * w for key, w in head.items()}
            again = transferred(
                Transfer(parts, "attention"), arrays, zero, name, base.user_UF, presence(data)
            )
            np.testing.assert_array_equal(again, base.user_UF[name] * known_U1)

    def test_nothing_transferred_is_the_pretrained_model(self) -> None:
        data = uneven()
        for method in (small(transfer="none"), small(transfer="d_sp", adaptation__epochs=0)):
            fitted, base = method.fit(data, ONE), replace(base_of(data), popularity_weight=3.0)
            assert all(np.array_equal(s, scores(base)[name]) for name, s in scores(fitted).items())
        assert small(transfer="none").single_domain

    @pytest.mark.parametrize("parts", ["both", "d_in", "d_sp"])
    def test_a_step_is_that_of_plain_torch(self, parts: str) -> None:
        """One step of Adam on the pairs of an epoch in one batch, free users, with a penalty."""
        data = uneven(weighted=True)
        method = small(transfer=parts, adaptation__epochs=1, batch_size=10_000, adaptation__reg=0.1)
        base, rule = base_of(data), Transfer(parts, "attention")
        fitted = method.fit_on(base, ONE)
        start = rule.initial(6, ("b", "c"), ONE.seed, "a")
        code_UF = encoded(fitted.encoder, base.user_UF, presence(data)) if parts != "d_sp" else None
        tables = {"items": base.item_IF["a"], "users": base.user_UF["a"], **start}
        wide = {key: torch.tensor(w, dtype=torch.float64, requires_grad=True) for key, w in tables.items()}
        present = {k: torch.tensor(w).double() for k, w in presence(data).items()}
        sources = {k: torch.tensor(base.user_UF[k]).double() for k in ("b", "c")}
        code = None if code_UF is None else torch.tensor(code_UF).double()
        x_UF = rule.combined(wide, wide["users"], sources, present, code)
        pairs = Pairwise(data["a"], {"a": slice(0, 40)}, "domain", ONE.seed, "a").epoch(0)
        loss: Any = 0.0
        for user, i, j, weight in zip(*pairs, strict=True):
            x, q, r = x_UF[user], wide["items"][i], wide["items"][j]
            size = (x**2).sum() + (q**2).sum() + (r**2).sum()
            loss = loss + float(weight) * -torch.log(torch.sigmoid(x @ q - x @ r)) + 0.05 * size
        (loss / len(pairs.user_N)).backward()
        torch.optim.Adam(wide.values(), lr=method.lr, eps=1e-8).step()
        found = {**fitted.heads["a"], "items": fitted.item_IF["a"]}
        for key, array in found.items():
            gradient = wide[key].grad
            # where the gradient is 0 but for rounding, Adam's step is of either sign
            clear = (gradient.abs() > 1e-7).numpy()
            assert clear.any() or key in ("query", "key") or key.startswith("adapter")
            np.testing.assert_allclose(
                array[clear], wide[key].detach().numpy()[clear], atol=2e-4, err_msg=key
            )

    def test_frozen_users_stay(self) -> None:
        data = uneven({"a": (40, 60)})
        base = base_of(data)
        moved = []
        for users in ("frozen", "free"):
            fitted = small(transfer="d_sp", adaptation__users=users).fit_on(base, ONE)
            moved.append(np.abs(fitted.user_UF["a"] - base.user_UF["a"] * presence(data)["a"]).max())
        assert moved[0] == 0 < moved[1]

    def test_each_domain_trains_its_own_items_only(self) -> None:
        data = uneven()
        base = base_of(data)
        only_a = small(adaptation__domain_epochs={"b": 0, "c": 0}).fit_on(base, ONE)
        assert not np.array_equal(only_a.item_IF["a"], base.item_IF["a"])
        assert all(np.array_equal(only_a.item_IF[name], base.item_IF[name]) for name in ("b", "c"))
        assert only_a.uses("b", np.array([[1, 0, 1]])).tolist() == [False]
        assert only_a.uses("a", np.array([[0, 0, 1]])).tolist() == [True]
        assert not only_a.comparable


class TestAnyNumberOfDomains:
    def test_the_order_of_two_domains_makes_no_difference(self) -> None:
        data = uneven({"a": (40, 50), "b": (25, 40)})
        one, other = (small().fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"]))
        for name in data.domain_names:
            np.testing.assert_allclose(scores(one)[name], scores(other)[name], atol=1e-4)
        assert np.abs(scores(one)["a"] - scores(small(transfer="none").fit(data, ONE))["a"]).max() > 1e-3

    def test_one_domain_has_a_code_but_no_source_and_no_contrast(self) -> None:
        data = uneven({"only": (20, 60)})
        fitted = small().fit(data, ONE)
        assert set(fitted.heads["only"]) == {"code", "code_bias"}
        assert not any("contrast" in key for record in fitted.log for key in record)
        assert np.isfinite(scores(fitted)["only"]).all()

    def test_five_domains_and_users_of_one(self) -> None:
        data = uneven({name: (20 + 5 * n, 50 - 8 * n) for n, name in enumerate("abcde")})
        alone_U = (data.activity_UD > 0).sum(axis=1) == 1
        assert alone_U.sum() >= 3
        fitted = small().fit(data, ONE)
        assert all(np.isfinite(s).all() for s in scores(fitted).values())
        assert len([key for key in fitted.heads["c"] if key.startswith("adapter.")]) == 4

    def test_domains_without_common_users(self) -> None:
        data = uneven()
        apart = of_tables(
            {"a": data["a"].take(data["a"].user_idx < 30), "b": data["b"].take(data["b"].user_idx >= 30)}
        )
        fitted = small(encoder__mask_ratio=1.0).fit(apart, ONE)
        assert not any("contrast" in key for record in fitted.log for key in record)


class TestServing:
    def test_new_users_are_folded_in_and_then_combined(self) -> None:
        data = uneven()
        fitted = small().fit(data, ONE)
        own = {name: table.by_user for name, table in data.domains.items()}
        rows = {name: fitted.base.fold_in(name, own, data.n_users) for name in data.domain_names}
        wanted = transferred(fitted.transfer, fitted.encoder, fitted.heads["b"], "b", rows, presence(data))
        np.testing.assert_array_equal(fitted.fold_in("b", own, data.n_users), wanted)
        only_a = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[3, 9]])})
        assert not np.array_equal(fitted.score("b", only_a), fitted.score("b", Queries.of_users([-1])))


@pytest.mark.parametrize("at", [3, 7, 10], ids=["pretraining", "adapting a", "adapting c"])
def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, at: int) -> None:
    data, method = uneven(), small()
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(ONE, validate=Kill(at), work_dir=tmp_path))
    resumed = method.fit(data, replace(ONE, validate=Kill(), work_dir=tmp_path))
    assert same_state(resumed, method.fit(data, replace(ONE, validate=Kill())))


def test_a_transfer_that_is_never_better_is_dropped() -> None:
    data = uneven()
    fitted = small().fit_on(base_of(data), replace(ONE, validate=Kill(), patience=5))
    assert fitted.heads == {"a": {}, "b": {}, "c": {}}
    np.testing.assert_array_equal(fitted.user_UF["a"], fitted.base.user_UF["a"])


def test_the_best_epochs_of_every_phase() -> None:
    log: list[dict[str, Any]] = [
        {"phase": "pretrain", "valid": 0.1}, {"phase": "pretrain", "valid": 0.3}, {"phase": "cat"},
        {"phase": "adapt a", "valid": 0.2}, {"phase": "adapt b", "valid": 0.2},
        {"phase": "adapt b", "valid": 0.4},
    ]  # fmt: skip
    found = small().stopped(log)
    settings = {**SMALL["pretrain.settings"], "epochs": 2}
    wanted = {"pretrain.settings": settings, "adaptation.domain_epochs": {"a": 0, "b": 2}}
    assert found == CATART.from_settings({**SMALL, **wanted})
    assert small().stopped(()) == small()


def test_what_is_planted_elsewhere_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6, sparse=2)
    train = world.split.test.history
    method = CATART.from_settings(
        {
            "factors": 8, "lr": 0.01, "epochs": 30, "batch_size": 64, "adaptation.epochs": 40,
            "pretrain.settings": {"epochs": 30, "lr": 0.03, "batch_size": 256},
        }
    )  # fmt: skip
    both, alone = (
        own_group(method.with_settings({"transfer": t}).fit(train, ONE), world) for t in ("both", "none")
    )
    assert both > alone + 0.08
    assert both > own_group(Popularity().fit(train, ONE), world) + 0.2


def test_impossible_settings() -> None:
    for wrong, says in (
        ({"transfer": "d_s"}, "d_sp"), ({"pretrain.method": "ease"}, "pretrain.method"),
        ({"encoder.mask_ratio": 1.5}, "from 0 to 1"), ({"pretrain.settings": {"reg": -1}}, "bprmf.reg"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            CATART.from_settings(wrong)
    assert isinstance(small().fit(uneven(), ONE), TransferModel)
