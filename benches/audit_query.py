"""Times an aggregate over the store that `cargo bench --bench audit -- ROWS FOLDER` left: DuckDB, median of five.

    python benches/audit_query.py FOLDER
"""

import statistics
import sys
import time

import duckdb

QUERY = """
SELECT model, version, COUNT(*) AS n, AVG(total_us) AS mean_us, approx_quantile(total_us, 0.95) AS p95_us,
  AVG(CASE WHEN decision = 'positive' THEN 1.0 ELSE 0.0 END) AS positive
FROM read_parquet('{folder}/store/audit/model=*/dt=*/*.parquet', hive_partitioning = true)
GROUP BY model, version ORDER BY model
"""


def main() -> None:
    query = QUERY.format(folder=sys.argv[1])
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        rows = duckdb.execute(query).fetchall()
        took.append(time.perf_counter() - begun)
    print(f"aggregate over {sum(row[2] for row in rows)} rows: {statistics.median(took):.2f} s (median of five)")


if __name__ == "__main__":
    main()
