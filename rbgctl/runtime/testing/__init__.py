"""Test kit: a local control plane (`envtest`), simulated nodes, waiting on watches, a fault proxy, clocks.

Usable by any operator built on rbgctl.runtime. Imports the runtime; nothing imports it but tests, benchmarks and
the playground.
"""
