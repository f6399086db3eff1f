-- Inputs that two versions of a model were asked about: how often their decisions differ.
WITH answered AS (
  SELECT model, version, input_hmac, MIN(decision) AS decision
  FROM hilum_audit
  WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND status = 'OK' AND input_hmac IS NOT NULL AND decision IS NOT NULL
  GROUP BY model, version, input_hmac
  HAVING MIN(decision) = MAX(decision)
)
SELECT a.model, a.version AS version_a, b.version AS version_b, COUNT(*) AS compared,
  SUM(CASE WHEN a.decision <> b.decision THEN 1 ELSE 0 END) AS differ
FROM answered AS a
JOIN answered AS b ON a.model = b.model AND a.input_hmac = b.input_hmac AND a.version < b.version
GROUP BY a.model, a.version, b.version
ORDER BY a.model, version_a, version_b
