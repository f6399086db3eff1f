-- The share of each decision a day: what users saw, shadows left out.
SELECT dt, model, version, decision, COUNT(*) AS n,
  COUNT(*) * 1.0 / SUM(COUNT(*)) OVER (PARTITION BY dt, model, version) AS share
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND decision IS NOT NULL
  AND route IN ('champion', 'canary', 'pinned')
GROUP BY dt, model, version, decision
ORDER BY dt, model, version, decision
