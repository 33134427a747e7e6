"""Answers about what serves and how it fares."""

from __future__ import annotations

from pydantic import ConfigDict

from landbridge.serving.http.schemas.answers import Answer


class GateDomain(Answer):
    """The metric of each model on the held-out pairs of a domain."""

    domain: str
    """The domain."""
    pairs: int
    """How many pairs of user and item were held out."""
    candidate: float
    """The metric of the refitted model, fitted without these pairs."""
    present: float
    """The metric of the model that served before."""
    popularity: float
    """The metric of the most popular items, for comparison."""
    p: float
    """The p-value of the difference of both models over users, after Holm's correction."""


class Gate(Answer):
    """How a refitted model compared with the one before it on the latest events."""

    decision: str
    """Either "passed", or "skipped" where there were too few pairs."""
    pairs: int
    """How many pairs of user and item were held out."""
    metric: str
    """What was compared, such as ndcg@10."""
    domains: list[GateDomain]
    """The metric in every domain with pairs; none where the gate was skipped."""


class Guarantee(Answer):
    """What differential privacy guarantees of the rows that a fit sent to other parties."""

    epsilon: float | None
    """ε; null where rows are sent without noise, which guarantees nothing."""
    delta: float
    """The probability δ at which ε may fail."""
    rounds: int
    """The most rounds that the guarantee is of."""
    clip: float
    """The largest norm of a row that is sent."""
    noise: float
    """The standard deviation of the noise, in units of that norm."""
    unit: str
    """What is protected."""
    not_protected: list[str]
    """What is not."""


class ModelAnswer(Answer):
    """What serves, as the run describes it; further keys depend on the method."""

    model_config = ConfigDict(extra="allow")

    model: str
    """The state of the run folder that serves."""
    version: str | None
    """The name of the version that serves; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run this is: "a" or "b"; null without one."""
    gate: Gate | None
    """What the gate of the refit reported; null for a fit, and for a refit without gate."""
    privacy: Guarantee | None
    """What is guaranteed of the rows that the fit sent; null where its method protects none."""
    approximate: dict[str, float]
    """The domains searched approximately, and the share of the exact lists that is found."""


class Alive(Answer):
    """The process lives."""

    status: str
    """Always "ok" (the process answers)."""


class FailedSwap(Answer):
    """The state of the run folder that could not be served, and why."""

    state: str
    """The state of the run folder."""
    why: str
    """Why it cannot be served."""
    at: str
    """When it was tried last, in ISO 8601."""


class RunState(Answer):
    """Which model of a run serves since when, and what became of later ones."""

    model: str
    """The state of the run folder that serves."""
    version: str | None
    """The name of the version that serves; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run this is: "a" or "b"; null without one."""
    since: str
    """Since when it serves, in ISO 8601."""
    swaps: int
    """How many later models have been loaded."""
    rollbacks: int
    """How many later states were refused."""
    failed: FailedSwap | None
    """The state that was refused last, null where the present one serves."""


class Ready(RunState):
    """Which model serves since when, and what became of later ones; of an A/B test: those of run a."""

    ready: bool
    """Whether lists are answered."""
    against: RunState | None
    """In an A/B test: the same of run b."""
    problems: list[str]
    """What an operator should look at: the store, the model, a pool that is full."""
