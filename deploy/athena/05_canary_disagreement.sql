-- Images that two versions were asked about: how often their decisions differ.
SELECT a.model, a.version AS version_a, b.version AS version_b, COUNT(*) AS compared,
  SUM(CASE WHEN a.decision <> b.decision THEN 1 ELSE 0 END) AS differ
FROM hilum_audit AS a
JOIN hilum_audit AS b ON a.model = b.model AND a.audit_id = b.audit_id AND a."row" = b."row" AND a.version < b.version
WHERE a.dt BETWEEN '2026-11-23' AND '2026-11-29' AND b.dt BETWEEN '2026-11-23' AND '2026-11-29'
  AND a.status = 'OK' AND b.status = 'OK'
GROUP BY a.model, a.version, b.version
ORDER BY a.model, version_a, version_b
