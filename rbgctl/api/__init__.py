"""What users write and what we write on objects: models of every kind and version, literals, defaults,
validation and CRD generation.

In: JSON objects as the API server sends them. Out: typed, frozen models (`v1alpha2`), names, labels,
annotations, environment variables, conditions and event reasons as constants, CRD manifests (`crd`).
No I/O (but for the generator's command line), no clock. Imports `rbgctl.machinery` only.
"""
