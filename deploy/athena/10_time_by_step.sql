-- Where the time goes, by the size of the batch that a row was part of.
SELECT model, version, batch_size, COUNT(*) AS n, AVG(queue_us) AS queue_us, AVG(decode_us) AS decode_us,
  AVG(infer_us) AS infer_us, AVG(total_us) AS total_us
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND status = 'OK'
GROUP BY model, version, batch_size
ORDER BY model, version, batch_size
