"""``python -m benchmarks``: every table, one after the other; the long ones with --quick."""

import sys

from benchmarks import (
    identify,
    linear_light,
    map_speed,
    momentum,
    noise,
    quality,
    restoration,
    speed,
)

QUICK = (restoration,)

for table in (speed, map_speed, quality, restoration, momentum, linear_light, noise, identify):
    print(f"\n## {table.__name__.rpartition('.')[2]}\n")
    sys.argv[1:] = ["--quick"] if table in QUICK else []
    table.main()
