-- What was refused and why, by the hour. Refusals before admission come as one row a reason and second.
SELECT date_trunc('hour', ts) AS hour, model, status, SUM("count") AS refused
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND status <> 'OK'
GROUP BY date_trunc('hour', ts), model, status
ORDER BY hour, model, status
