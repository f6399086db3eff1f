#!/bin/bash
# mkroom.sh NAME [rust]: a worktree /work/rooms/NAME on a branch NAME off main; rust: a target dir with the deps already built
set -e
cd /work/main; git worktree add -b "$1" /work/rooms/$1 main >/dev/null
ln -sfn /work/shared /work/rooms/shared
if [ "$2" = rust ]; then mkdir -p /work/cache/t-$1/debug; cp -al /work/main/target/debug/deps /work/cache/t-$1/debug/; cp -a /work/main/target/debug/{build,.fingerprint} /work/cache/t-$1/debug/; [ -f /work/main/target/.rustc_info.json ] && cp /work/main/target/.rustc_info.json /work/cache/t-$1/; fi
[ "$2" = rust ] && rm -rf /work/cache/t-$1/debug/.fingerprint/hilum-*
[ -d /work/main/.onnxruntime ] && cp -a /work/main/.onnxruntime /work/rooms/$1/ || true
echo /work/rooms/$1
