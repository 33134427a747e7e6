"""The liberties that every compiled loop of sums may take, in one place.

Sums may be reordered and products contracted, so that they use vector units; NaN stays NaN. No "arcp": a
quotient or 1/√x would be an estimate in the vector form of a loop alone, and LLVM chooses the form by memory
addresses: two fits, two results.
"""

FAST = {"reassoc", "contract", "nsz"}
