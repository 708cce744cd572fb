"""What rbgctl.runtime costs: `make bench-runtime`, or `PYTHONPATH=test python -m bench.runtime --help`.

load.py     objects and writes; runs here, so that making load is not measured
subject.py  the measured process: a manager on rbgctl.runtime alone, told what to do over pipes
measure.py  the scenarios of RT-AC-01 to RT-AC-04
report.py   figures with their limits, as a table and as JSON

The machine's speed cancels out where it can: CPU is compared with `orjson.loads` of the same bytes in the same
process, memory with the size of the JSON.
"""
