"""Writes a database file with the DuckDB that is installed, for later ones to read: `python tests/warehouse/stored`.

Made-up rows of every type that a mart has. The file lands beside this one, packed, named by the version of DuckDB; what was
written is what `EXPECTED` says. Needs DuckDB and nothing else of the platform. A new version of DuckDB in the lock file comes with a
file of its own.
"""

import gzip
import tempfile
from pathlib import Path

import duckdb

EXPECTED = """
    select
        printf('%032x', number) as client_id,
        cast(number as integer) as days,
        number / 7 as score,
        number % 3 = 0 as event,
        date '2024-02-28' + cast(number as integer) as registered_on,
        case when number % 5 > 0 then 'reden ' || chr(cast(233 + number % 4 as integer)) end as reason
    from range(3000) as made(number)
"""

if __name__ == "__main__":
    target = Path(__file__).parent / f"duckdb-{duckdb.__version__}.duckdb.gz"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("create schema marts")
            connection.execute(f"create table marts.followup as {EXPECTED}")
            connection.execute("create view marts.event as select client_id from marts.followup where event")
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    print(target.name, target.stat().st_size)
