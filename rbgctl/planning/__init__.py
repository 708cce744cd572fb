"""Decisions that more than one controller, the webhooks or the CLI need, as pure functions.

In: decoded objects, as read; out: values, templates and `rbgctl.machinery.plan` steps. No I/O, no clock, no
randomness, and nothing given is ever changed. May import rbgctl.api and rbgctl.machinery, never the runtime.
"""
