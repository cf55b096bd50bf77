"""``python -m benchmarks``: every table, one after the other; the long ones with --quick."""

import sys

from benchmarks import (
    blind,
    filters,
    identify,
    linear_light,
    map_speed,
    momentum,
    night,
    noise,
    quality,
    restoration,
    speed,
)

QUICK = (restoration, blind)

for table in (
    speed,
    map_speed,
    quality,
    restoration,
    filters,
    night,
    momentum,
    linear_light,
    noise,
    identify,
    blind,
):
    print(f"\n## {table.__name__.rpartition('.')[2]}\n")
    sys.argv[1:] = ["--quick"] if table in QUICK else []
    table.main()
