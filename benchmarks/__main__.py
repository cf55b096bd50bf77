"""``python -m benchmarks``: every table, one after the other."""

from benchmarks import identify, linear_light, noise, quality, speed

for table in (speed, quality, linear_light, noise, identify):
    print(f"\n## {table.__name__.rpartition('.')[2]}\n")
    table.main()
