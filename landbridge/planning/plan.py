"""What a fit takes on several nodes: time, memory, traffic and disk of method × factors × nodes, from counts.

A method says its work (:mod:`landbridge.models.cost`) and how an epoch of it divides. On N nodes of T
threads, with t seconds of one thread for an epoch (:mod:`landbridge.planning.estimate`), r of it repeated on
every node, a share s(N) of the rest on the busiest, m bytes moved and B bytes per second of the network, an
epoch takes

    (r + s(N) (t - r)) / T + 2 m / B                            the last term where N > 1                  (1)

seconds, since what comes to one node goes back. A node holds what every node holds, w, and its share of the
rest of the p bytes of the data and of what the fit adds,

    process + w + s(N) (p - w);                                                                       (2)

the node that starts the fit holds process + p, as it reads the data and keeps the model. Methods without
epochs have one, the fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from landbridge.core.errors import SettingsError
from landbridge.core.sizes import size
from landbridge.core.types import Record, Values
from landbridge.data.counts import Counts
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.cost import Cost, Division
from landbridge.planning.estimate import (
    FITS,
    cost_of,
    data_bytes,
    duration,
    process_of,
    says_cost,
    stored_bytes,
)
from landbridge.planning.machine import Machine


@dataclass(frozen=True)
class Cluster:
    """Nodes that are alike: processor ``threads`` of each, bytes per second between two of them, and bytes of
    memory, None for any."""

    threads: int = 1
    network: float = 1.25e9
    memory: float | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "network"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} must be above 0, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Plan:
    """One method on so many nodes. ``epoch``, ``fit`` and ``total`` (of ``landbridge fit``) are seconds;
    ``node``, ``first`` (of the node that starts the fit), ``moved`` (in an epoch) and ``disk`` are bytes.
    ``fits``: whether the memory of the nodes is enough, None where it was not given."""

    method: str
    factors: int | None
    nodes: int
    epochs: int
    epoch: float
    fit: float
    total: float
    node: float
    first: float
    moved: float
    disk: float
    fits: bool | None

    def record(self) -> Record:
        """As a JSON object: seconds and bytes."""
        return {
            "method": self.method,
            "factors": self.factors,
            "nodes": self.nodes,
            "epochs": self.epochs,
            "epoch_seconds": self.epoch,
            "fit_seconds": self.fit,
            "total_seconds": self.total,
            "node_bytes": round(self.node),
            "first_node_bytes": round(self.first),
            "moved_bytes": round(self.moved),
            "disk_bytes": round(self.disk),
            "fits": self.fits,
        }

    def row(self) -> Record:
        """The same for reading."""
        return {
            "method": self.method,
            "factors": "" if self.factors is None else str(self.factors),
            "nodes": self.nodes,
            "epoch": duration(self.epoch) if self.epochs else "",
            "one fit": duration(self.fit),
            "landbridge fit": duration(self.total),
            "memory": size(self.node) if self.nodes > 1 else size(self.first),
            "first node": size(self.first),
            "traffic": size(self.moved) if self.nodes > 1 else "",
            "disk": size(self.disk),
            "enough": {None: "", True: "yes", False: "no"}[self.fits],
        }


def plans(
    methods: Iterable[Method], counts: Counts, machine: Machine, nodes: Sequence[int], cluster: Cluster
) -> list[Plan]:
    """Every method on every number of nodes; one that does not divide is planned on one node alone.

    SettingsError for a method that does not say its cost, and for a number of nodes below 1.
    """
    for number in nodes:
        if number < 1:
            raise SettingsError(f"nodes must be 1 or more, not {number}.")
    costs = [(method, cost_of(method, counts)) for method in methods]
    return [
        _plan(method, cost, counts, machine, number, cluster)
        for method, cost in costs
        for number in (nodes if cost.division is not None else [1])
    ]


def methods_of(
    names: Sequence[str], settings: Values, factors: Sequence[int], counts: Counts
) -> list[Method]:
    """The named methods, by default all that divide among nodes, with the settings and each number of
    factors; one without factors as it is. SettingsError for a name or a setting that is none."""
    if names:
        chosen = [registry.method(name).from_settings(settings) for name in names]
    else:
        kinds = [kind for kind in registry.methods()[0].values() if says_cost(kind)]
        chosen = [kind() for kind in kinds if cost_of(kind(), counts).division is not None]
        if settings:
            raise SettingsError("Name the method (--model) that these settings are of.")
    return [each for method in chosen for each in _with_factors(method, factors)]


def _with_factors(method: Method, factors: Sequence[int]) -> list[Method]:
    if "factors" not in method.flat():
        return [method]
    return [method.with_settings({"factors": number}) for number in factors]


def _plan(method: Method, cost: Cost, counts: Counts, machine: Machine, nodes: int, cluster: Cluster) -> Plan:
    division = cost.division or Division()
    repeated = division.repeated.seconds(machine.unit)
    share = division.share(nodes, machine.unit)
    crossing = 2 * division.moved / cluster.network if nodes > 1 else 0.0

    def seconds(alone: float, crossings: float) -> float:
        kept = min(repeated, alone)
        return (kept + share * (alone - kept)) / cluster.threads + crossings * crossing

    epoch = seconds(cost.epoch.seconds(machine.unit), 1.0)  # Eq. (1)
    once = seconds(cost.once.seconds(machine.unit), 0.0 if cost.epochs else 1.0)
    fit = once + cost.epochs * epoch if cost.epochs else once
    process, start = process_of(cost, machine)
    held = data_bytes(counts) + cost.peak
    node = process + division.whole + share * max(held - division.whole, 0.0)  # Eq. (2)
    enough = cluster.memory is None or process + held <= cluster.memory
    return Plan(
        method.name,
        method.flat().get("factors"),
        nodes,
        cost.epochs,
        epoch if cost.epochs else 0.0,
        fit,
        start + FITS * fit,
        node,
        process + held,
        division.moved if nodes > 1 else 0.0,
        cost.model + stored_bytes(counts),
        None if cluster.memory is None else enough,
    )
