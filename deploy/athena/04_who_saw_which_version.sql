-- Which callers, as keyed hashes, were answered by which version, and when first and last.
SELECT lower(to_hex(principal)) AS who, model, version, route, COUNT(*) AS n, MIN(ts) AS first_seen, MAX(ts) AS last_seen
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND status = 'OK' AND route <> 'shadow' AND route <> 'mirror'
GROUP BY lower(to_hex(principal)), model, version, route
ORDER BY who, model, version, route
