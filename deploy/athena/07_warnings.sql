-- How often each warning was given.
SELECT model, version, warning, COUNT(*) AS n
FROM hilum_audit
CROSS JOIN UNNEST(warnings) AS t (warning)
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29'
GROUP BY model, version, warning
ORDER BY n DESC, model, version, warning
