"""Command lines: `rbgctl` (manager, playground) and the kubectl plugin `kubectl rbg`.

Imports are lazy: showing help must not cost the import of a controller runtime.
"""
