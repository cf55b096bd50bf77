"""``python -m benchmarks``: every table, one after the other."""

from benchmarks import identify, linear_light, momentum, noise, quality, speed

for table in (speed, quality, momentum, linear_light, noise, identify):
    print(f"\n## {table.__name__.rpartition('.')[2]}\n")
    table.main()
