#!/bin/bash
echo 6 > /proc/self/autogroup
cd /work/rooms/me && ulimit -v 2097152 && FUZZ_SECONDS=3600 FUZZ_SEED=20261128 exec /work/cache/fuzz/fuzz --nocapture
