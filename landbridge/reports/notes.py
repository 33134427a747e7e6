"""Notes on pictures and statistics, in every report alike."""

from __future__ import annotations

from landbridge.reports.words import Paragraph, Strong

GAINS = (
    "Gains over the reference in per cent of its mean. Where there are lines, these are 95 % intervals, to "
    "the right of the dashed line is better, and a hollow mark is not significant after correction. In the "
    "tiles blue gains and orange loses; ▲ ▼ and full colour: significant after correction; pale: not "
    "significant. An empty place has no test rows."
)
BY_ACTIVITY = (
    "Dots: the mean over a group's users; bars: one standard deviation up and down; both as means over the "
    "seeds."
)
IMBALANCE = (
    "Per cent of the row's users or events by the user's number of events in the domain, held-out events "
    "included: where few users have most of the events, a method can serve the others worse without a loss "
    "in the mean. Sizes of the domains: per cent of the column's sum."
)
PARETO = "Filled marks, joined by the dashed line: no other method is both better and quicker."
SERVED = (
    "Share of each model in the scores served, mean over the seeds. 1.00: it serves alone; a dot: not used."
)
TRANSFER = (
    "Each row is a domain, each column the domain added to it in training. Pale: the interval includes zero. "
    "The prediction is made before training, from the data alone."
)
READING: tuple[Paragraph, ...] = (
    (
        Strong("Means and intervals. "),
        "A domain's value is the mean over its users' lists (over pairs where it is sampled), averaged over "
        "the seeds; intervals are 95 % bootstraps over users. They say how much the value depends on which "
        "users were drawn, not how it would be on other data.",
    ),
    (
        Strong("Full and sampled. "),
        "Full ranking puts a held-out item among all items the user does not know. Sampled 1+999 puts it "
        "among 999 drawn ones: the values are much higher, and can put methods in another order. One list "
        "over all domains puts it among the unknown items of all of them, so scores must be on one scale.",
    ),
    (
        Strong("Significance. "),
        "p is that of the difference of means, users and seeds drawn; p (Holm) corrects it for all "
        "comparisons of its family: one data set, metric, protocol and kind of segment, all methods. "
        "▲ and ▼ stand where that is below "
        "0.05 and the interval of the difference leaves out zero.",
    ),
    (
        Strong("Small groups. "),
        "A group with few users can only show large differences; the notes in the tables say where. No mark "
        "means not shown, not equal.",
    ),
)
