-- How often each warning was given, and each reason of an error. Refusals before admission are one row a reason and
-- second: "count" says how many they are.
SELECT model, version, warning, SUM("count") AS n
FROM hilum_audit
CROSS JOIN UNNEST(warnings) AS t (warning)
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29'
GROUP BY model, version, warning
ORDER BY n DESC, model, version, warning
