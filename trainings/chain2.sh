export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
PY=/work/cache/training-venv/bin/python
cd /work/cache/chest
$PY start_lung.py
$PY start_cnn.py
$PY start.py pneumonia-2 1
