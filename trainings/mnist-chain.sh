cd /work/rooms/trainings/mnist-src
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 MKL_NUM_THREADS=2
D=/work/shared/data; C=/work/cache/mnist-checkpoints
for r in mnist-4/mnist/4 mnist-3/mnist/3 cifar10-1/cifar10/1 cifar10-2/cifar10/2 cifar10-3/cifar10/3 cifar10-alexnet/cifar10/9; do
  IFS=/ read c m v <<< "$r"
  echo "== $c $(date)"
  /work/cache/training-venv/bin/python -m training $c --data $D/$m --out /work/cache/mnist-out/$m/$v --checkpoints $C --train-only || echo FAILED $c
  echo "== done $c $(date)"
done
