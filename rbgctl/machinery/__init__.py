"""Pure Kubernetes values and algorithms, what apimachinery is in Go.

In: plain JSON objects and strings. Out: keys, kinds, selectors, quantities, hashes, patches.
No I/O, no clock, no randomness; imports nothing else of rbgctl.
"""
