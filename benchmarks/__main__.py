"""``python -m benchmarks``: every table, one after the other."""

from benchmarks import identify, noise, quality, speed

for table in (speed, quality, noise, identify):
    print(f"\n## {table.__name__.rpartition('.')[2]}\n")
    table.main()
