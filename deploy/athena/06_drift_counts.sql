-- Counts by bin for drift: image brightness in ten bins of the baseline's edges, missing ones apart.
SELECT model, version,
  CASE WHEN mean IS NULL OR is_nan(mean) THEN -1 ELSE CAST(floor(mean * 10) AS bigint) END AS bin,
  COUNT(*) AS n
FROM hilum_audit
WHERE dt BETWEEN '2026-11-23' AND '2026-11-29' AND route IN ('champion', 'canary', 'pinned')
  AND input_kind IN ('png', 'jpeg', 'dicom')
GROUP BY model, version, CASE WHEN mean IS NULL OR is_nan(mean) THEN -1 ELSE CAST(floor(mean * 10) AS bigint) END
ORDER BY model, version, bin
