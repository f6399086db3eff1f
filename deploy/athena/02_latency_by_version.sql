-- Time from admission to the answer by version, in milliseconds.
SELECT model, version, COUNT(*) AS answered,
  approx_percentile(total_us, 0.5) / 1000.0 AS p50_ms,
  approx_percentile(total_us, 0.95) / 1000.0 AS p95_ms,
  MAX(total_us) / 1000.0 AS max_ms
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND status = 'OK' AND route IN ('champion', 'canary', 'pinned')
GROUP BY model, version
ORDER BY model, version
