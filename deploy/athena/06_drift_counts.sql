-- Counts by bin for drift, one an input: image brightness in ten bins of equal width, missing ones as bin -1.
WITH first_seen AS (
  SELECT model, version, mean,
    ROW_NUMBER() OVER (PARTITION BY model, version, input_hmac ORDER BY ts, audit_id, "row") AS place
  FROM hilum_audit
  WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND route IN ('champion', 'canary', 'pinned')
    AND input_kind IN ('png', 'jpeg', 'dicom')
),
binned AS (
  SELECT model, version, CASE WHEN mean IS NULL OR is_nan(mean) THEN -1 ELSE floor(mean / 25.6) END AS bin
  FROM first_seen
  WHERE place = 1
)
SELECT model, version, CAST(bin AS bigint) AS bin, COUNT(*) AS n
FROM binned
GROUP BY model, version, CAST(bin AS bigint)
ORDER BY model, version, bin
