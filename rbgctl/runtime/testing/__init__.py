"""Test kit: a real local control plane (`envtest`), simulated nodes, and waiting on watches.

Usable by any operator built on rbgctl.runtime. Imports the runtime; nothing imports it but tests, benchmarks and
the playground.
"""
