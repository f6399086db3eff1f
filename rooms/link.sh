#!/bin/bash
while ! { [ -f /work/cache/build.done ]; }; do sleep 3; done
for n in record store rest me mnist chest; do mkdir -p /work/cache/t-$n/debug; for d in deps build .fingerprint; do cp -al /work/main/target/debug/$d /work/cache/t-$n/debug/; done; cp /work/main/target/.rustc_info.json /work/cache/t-$n/ 2>/dev/null; done
touch /work/cache/deps.ready
