export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
cd /work/cache/chest
/work/cache/training-venv/bin/python start.py pneumonia-3 1
/work/cache/training-venv/bin/python start.py pneumonia-3 1
cd /work/rooms/chest; HILUM_BIN=/work/cache/hilum /work/cache/training-venv/bin/python -m training pneumonia-3 --data /work/shared/data/chest_xray --out models/pneumonia/3 --epochs 3 --strangers /work/shared/data; sleep 100000
