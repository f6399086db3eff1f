#!/bin/bash
# After mnist-chain.sh (checkpoints in /work/cache/mnist-checkpoints): exports, measures and writes the five bundles into the
# room, then what goes with them. About 3 minutes a bundle on a free machine. Run again after an interruption.
set -e
cd /work/rooms/mnist
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 HILUM_BIN=/work/cache/hilum
D=/work/shared/data; P=/work/cache/training-venv/bin/python
for r in mnist-3/mnist/3 mnist-4/mnist/4 cifar10-1/cifar10/1 cifar10-2/cifar10/2 cifar10-3/cifar10/3; do
  IFS=/ read c m v <<< "$r"
  [ -f models/$m/$v/SHA256SUMS ] || $P -W ignore -m training $c --data $D/$m --out models/$m/$v --checkpoints /work/cache/mnist-checkpoints --strangers $D
done
# AlexNet is for the comparison only: its accuracy goes into docs/models.md by hand.
$P -W ignore -m training cifar10-alexnet --data $D/cifar10 --out /work/cache/mnist-out/cifar10/9 --checkpoints /work/cache/mnist-checkpoints --replace
[ -f models/cifar10/model.toml ] || printf '# The version that an empty registry takes as its first champion.\ndefault_version = "2"\n' > models/cifar10/model.toml
grep -q 'figures cifar10' docs/models.md || $P - <<'PY'
p = "docs/models.md"; s = open(p).read()
s = s.replace("## LeNet, AlexNet, VGG side by side", "## CIFAR-10\nThe images at hand are JPEG files of quality 75, so lossy: figures are a little below those of the lossless set.\n\n<!-- figures cifar10 -->\n<!-- end -->\n\n## LeNet, AlexNet, VGG side by side", 1)
open(p, "w").write(s)
p = "tests/it/describe.rs"; s = open(p).read()
s = s.replace('const PARAMETERS: [(&str, u64); 2] = [("mnist/1", 225_034), ("mnist/2", 421_642)];', 'const PARAMETERS: [(&str, u64); 7] = [\n    ("mnist/1", 225_034),\n    ("mnist/2", 421_642),\n    ("mnist/3", 61_706),\n    // Batch norms folded into convolutions leave one number a channel.\n    ("mnist/4", 72_594),\n    ("cifar10/1", 356_810),\n    ("cifar10/2", 389_834),\n    ("cifar10/3", 204_570),\n];')
open(p, "w").write(s)
PY
$P -m training report
for b in models/mnist/[34] models/cifar10/[123]; do /work/cache/hilum bundle check $b; done
/work/cache/hilum predict /tmp/pics/digit*.png --model mnist --version 4 --explain /tmp/pics/overlays
/work/cache/hilum predict /tmp/pics/cifar*.png --model cifar10 --explain /tmp/pics/overlays
echo "now: commit, land (Rust: tests/it/describe.rs), accuracy column of the side-by-side table by hand"
