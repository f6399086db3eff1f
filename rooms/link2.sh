#!/bin/bash
while pgrep -f "cargo clippy --all-targets -- -D warnings" | xargs -r ps -o cwd= -p >/dev/null 2>&1 && [ -d /proc/$1 ]; do sleep 1; done
for n in record store rest me mnist chest; do for d in deps build .fingerprint; do cp -aln /work/main/target/debug/$d /work/cache/t-$n/debug/ 2>/dev/null; done; done; rm -rf /work/cache/t-*/debug/.fingerprint/hilum-*; touch /work/cache/clippy.ready
