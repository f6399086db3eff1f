-- How many rows were asked for a day, and how many were not answered.
SELECT dt, model, SUM("count") AS asked, SUM(CASE WHEN status = 'OK' THEN 0 ELSE "count" END) AS failed
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29'
GROUP BY dt, model
ORDER BY dt, model
